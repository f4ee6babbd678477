"""A server goes out of service and comes back by two people; a dry run says what a lease then does; calls are
narrowed in every worker; a frozen policy stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from airlock.core.clock import SYSTEM
from airlock.identity.local import LocalIssuer
from airlock.identity.scopes import SUPPORTED
from airlock.model.incident import Incident
from airlock.store import incidents
from airlock.store.database import FILE, open_store
from tests.system.deployment import AMPLE, Answer, Deployment, until
from tests.system.lines import Endless, Line, Lines

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
"""What `curl -d` sends."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Endless]:
    with Endless(4) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Endless) -> Iterator[Deployment]:
    servers = [
        {"name": name, "transport": "http", "url": upstream.url, "sensitivity": sensitivity}
        for name, sensitivity in (("low", "low"), ("evil", "low"), ("mid", "medium"))
    ]
    with Deployment(tmp_path_factory.mktemp("proposals"), servers) as deployment:
        yield deployment


def person(gateway: Deployment, name: str, *, fresh: bool = True, role: str = "admin") -> dict[str, str]:
    issuer = LocalIssuer.open(gateway.data, gateway.url)
    token = issuer.issue(
        subject=name, tenant="acme", roles=(role,), scopes=SUPPORTED, ttl=600, signed_in=fresh,
        now=SYSTEM.wall(),
    )  # fmt: skip
    return {"Authorization": f"Bearer {token}"}


def ask(
    gateway: Deployment, method: str, path: str, body: object = None, *, who: str = "olga", fresh: bool = True
) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    return gateway.send(method, path, data, {**FORM, **person(gateway, who, fresh=fresh)})


def opened(gateway: Deployment, id: str, *, server: str) -> None:
    now = SYSTEM.wall()
    record = Incident(
        id=id, title="a trial", type="security_incident", severity="P2", status="INVESTIGATING",
        detection_source="security_alert", affected_services=(server,), opened_at=now, detected_at=now,
        clocks_from=now,
    )  # fmt: skip
    with closing(open_store(gateway.data / FILE)) as store:
        incidents.create(store, record, [])


def every(lines: Lines, tool: str, token: str, code: int | None) -> None:
    """Wait until every worker answers a call with this code; None: the call is served."""

    def so(line: Line) -> bool:
        said = line.call(tool, token).message["result"]
        return said.get("_meta", {}).get("dev.airlock/refusal", {}).get("code") == code

    until(lambda: all(so(line) for line in lines.each), within=30, what=f"{tool}: {code} in both workers")


def test_a_server_is_isolated_as_the_runbook_does_and_restored_by_two_people(gateway: Deployment) -> None:
    token = gateway.token("visitor")
    opened(gateway, "INC-20261122-120000", server="evil")
    with Lines(gateway) as lines, ThreadPoolExecutor(2) as pool:
        for line in lines.each:
            line.open("evil__watch_1", token, modern=True)
        ends = [pool.submit(line.end) for line in lines.each]
        answer = ask(gateway, "PATCH", "/api/v1/servers/evil", {"status": "inactive"})
        assert answer.status in {200, 207}, answer.body
        told = answer.json
        assert (told["id"], told["before"], told["after"]) == (
            "evil", {"status": "active"}, {"status": "inactive"},
        )  # fmt: skip
        assert told["replicas_total"] == 2
        for end in ends:
            assert end.result(60).refusal["code"] == 40302
        assert answer.status == 207 or told["calls_cancelled"] in {2, None}  # None: a worker is slow to say
        every(lines, "evil__echo", token, 40302)
        every(lines, "low__echo", token, None)
        lease = ask(gateway, "GET", f"/api/v1/leases/{told['lease_id']}").json["lease"]
        assert (lease["origin"], lease["expires_at"]) == ("registry", None)
        assert (
            ask(gateway, "PATCH", "/api/v1/servers/evil", {"status": "inactive"}).json["lease_id"]
            == (told["lease_id"])
        )

        alone = ask(gateway, "PATCH", "/api/v1/servers/evil", {"status": "active"})
        assert (alone.status, alone.json["code"]) == (409, "containment_active")
        again = ask(gateway, "DELETE", f"/api/v1/leases/{told['lease_id']}")
        assert (again.status, again.json["code"]) == (409, "containment_active")

        order = {"action": "server.restore", "selector": {"server": "evil"}, "reason": "cleaned"}
        proposal = ask(gateway, "POST", "/api/v1/proposals", order).json["proposal"]
        assert (proposal["needs"], proposal["people"]) == ("D", 2)
        path, seen = f"/api/v1/proposals/{proposal['id']}/approve", {"digest": proposal["digest"]}
        stale = ask(gateway, "POST", path, seen, fresh=False)
        assert (stale.status, stale.json["code"]) == (403, "login_insufficient")
        assert ask(gateway, "POST", path, seen).status == 202
        twice = ask(gateway, "POST", path, seen)
        assert (twice.status, twice.json["code"]) == (409, "approved_already")
        done = ask(gateway, "POST", path, seen, who="otto")
        assert done.status in {200, 207}, done.body
        every(lines, "evil__echo", token, None)
    used = ask(gateway, "POST", path, seen, who="third")
    assert (used.status, used.json["code"]) == (409, "proposal_ended")
    with closing(open_store(gateway.data / FILE)) as store:
        kinds = [line.event.kind for line in incidents.timeline(store, "INC-20261122-120000")]
    assert "containment_approved" not in kinds  # the order named no incident
    gateway.recorded("action='approval' AND metadata LIKE ?", f"%{proposal['id']}%", count=3)


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("nobody", {"status": "inactive"}, 404, "server_unknown"),
        ("low", {"status": "asleep"}, 422, "server_status_invalid"),
        ("low", {}, 422, "invalid_params"),
    ],
)
def test_what_is_no_state_of_a_server_changes_nothing(
    gateway: Deployment, name: str, body: dict[str, str], status: int, code: str
) -> None:
    answer = ask(gateway, "PATCH", f"/api/v1/servers/{name}", body)
    assert (answer.status, answer.json["code"]) == (status, code)


def test_a_dry_run_says_what_the_lease_then_does(gateway: Deployment) -> None:
    tokens = {name: gateway.token(name) for name in ("noisy", "quiet")}

    def traffic(code: int | None) -> None:
        for token in tokens.values():
            for _ in range(3):
                refused = gateway.call("low__echo", {}, token)
                assert (refused.status == 403) == (code is not None and token == tokens["noisy"])

    traffic(None)
    gateway.recorded("subject IN ('noisy', 'quiet') AND decision='allow'", count=6)
    order = {
        "action": "subject.suspend",
        "selector": {"subject": "noisy"},
        "ttl": "30m",
        "reason": "too much",
    }
    proposal = ask(gateway, "POST", "/api/v1/proposals", order).json["proposal"]
    seen = proposal["prediction"]
    assert (proposal["needs"], proposal["state"]) == ("B", "DRY_RUN")
    assert (seen["flipped"], seen["users"], seen["unknown"], seen["tenants"]) == (3, 1, 0, ["acme"])
    held = gateway.get("/api/v1/leases", person(gateway, "olga")).json["leases"]
    assert not [lease for lease in held if lease["selector"].get("subject") == "noisy"]

    path = f"/api/v1/proposals/{proposal['id']}"
    other = ask(gateway, "POST", f"{path}/approve", {"digest": "0" * 64})
    assert (other.status, other.json["code"]) == (409, "approval_void")
    done = ask(gateway, "POST", f"{path}/approve", {"digest": proposal["digest"]}, fresh=False)
    assert done.status in {200, 207}, done.body
    lease = done.json["lease"]["id"]
    every_refused(gateway, tokens["noisy"])
    before = ask(gateway, "GET", path).json["proposal"]["actual"]["hits"]
    traffic(403)
    hits = until(
        lambda: (
            found := ask(gateway, "GET", path).json["proposal"]["actual"]["hits"]
        ) >= before + seen["flipped"] and found,
        within=30,
        what="the hits of the lease",
    )  # fmt: skip
    assert hits >= seen["flipped"]
    ask(gateway, "POST", f"/api/v1/leases/{lease}/release", {"reason": "over"})


def every_refused(gateway: Deployment, token: str) -> None:
    with Lines(gateway) as lines:
        until(
            lambda: all(line.call("low__echo", token).status == 403 for line in lines.each),
            within=30,
            what="the suspension in both workers",
        )


def test_calls_are_narrowed_in_every_worker_and_free_again_afterwards(gateway: Deployment) -> None:
    token = gateway.token("narrowed")

    def give(action: str, **selector: str) -> str:
        order = {"action": action, "selector": selector, "ttl": "10m", "reason": "a trial"}
        answer = ask(gateway, "POST", "/api/v1/leases", order)
        assert answer.status in {200, 207}, answer.body
        return str(answer.json["lease_id"])

    with Lines(gateway) as lines:
        for action, more, refused in (
            ("policy.deny_overlay", {"risk": "medium"}, 40302),
            ("egress.restrict", {"allow": "low,evil"}, 40302),
            ("egress.restrict", {"server": "mid", "max_bytes": "1"}, 40302),
        ):
            lease = give(action, subject="narrowed", **more)
            every(lines, "mid__echo", token, refused)
            every(lines, "low__echo", token, None)
            ask(gateway, "DELETE", f"/api/v1/leases/{lease}")
            every(lines, "mid__echo", token, None)
        lease = give("stepup.require", subject="narrowed", server="mid", tool="echo")
        until(
            lambda: all(line.call("mid__echo", token).status == 401 for line in lines.each),
            within=30,
            what="the demand for a sign-in",
        )
        fresh = person(gateway, "narrowed", role="developer")["Authorization"].removeprefix("Bearer ")
        every(lines, "mid__echo", fresh, None)
        told = ask(gateway, "GET", "/api/v1/leases/effective?scope=subject=narrowed,server=mid,tool=echo")
        assert {each["setting"] for each in told.json["settings"]} == {"stepup.selectors", "stepup.max_age"}
        assert all(each["decided_by"] == [lease] for each in told.json["settings"])
        ask(gateway, "DELETE", f"/api/v1/leases/{lease}")
        every(lines, "mid__echo", token, None)


def test_while_administration_is_frozen_nothing_is_loosened_and_nothing_reloaded(gateway: Deployment) -> None:
    def give(action: str, **selector: str) -> Any:
        order = {"action": action, "selector": selector, "reason": "a trial"}
        return ask(gateway, "POST", "/api/v1/leases", order)

    held = give("subject.suspend", subject="somebody").json["lease_id"]
    freeze = give("admin.freeze").json["lease_id"]
    try:
        refused = ask(gateway, "DELETE", f"/api/v1/leases/{held}")
        assert (refused.status, refused.json["code"]) == (409, "admin_frozen")
        tuned = give("cache.tune", cache_size="100")
        assert (tuned.status, tuned.json["code"]) == (409, "admin_frozen")
        gateway.sections["rate_limiting"] = {**AMPLE, "burst": 60_000}
        gateway.write()
        reload = ask(gateway, "POST", "/admin/policy/reload")
        assert (reload.status, reload.json["code"]) == (409, "reload_refused")
        assert freeze in reload.json["detail"]
    finally:
        gateway.sections["rate_limiting"] = AMPLE
        gateway.write()
        assert ask(gateway, "DELETE", f"/api/v1/leases/{freeze}").status in {200, 207}
    assert ask(gateway, "DELETE", f"/api/v1/leases/{held}").status in {200, 207}


def test_the_command_line_tries_approves_explains_and_isolates(gateway: Deployment) -> None:
    config = ("--config", str(gateway.config))
    access = {"AIRLOCK_TOKEN": person(gateway, "olga")["Authorization"].removeprefix("Bearer ")}

    def airlock(*words: str, codes: set[int] | None = None) -> Any:
        done = gateway.airlock(*words, *config, "--json", **access)
        assert done.returncode in (codes or {0, 3}), (done.stdout, done.stderr)
        return json.loads(done.stdout)

    tried = airlock(
        "contain", "tool.quarantine", "--selector", "server=low", "--selector", "tool=watch_3",
        "--ttl", "10m", "--reason", "a look", "--dry-run",
    )  # fmt: skip
    assert tried["proposal"]["prediction"]["flipped"] == 0
    lease = airlock("approve", tried["proposal"]["id"])["lease"]["id"]
    told = airlock("lease", "explain", "server=low,tool=watch_3")
    assert [each["setting"] for each in told["settings"]] == ["quarantine.tools"]
    airlock("lease", "extend", lease, "--ttl", "20m", "--reason", "longer")
    airlock("lease", "release", lease, "--reason", "seen")
    assert airlock("server", "isolate", "mid", "--reason", "a drill")["after"]["status"] == "inactive"
    assert airlock("server", "restore", "mid", "--reason", "over")["after"]["status"] == "active"
