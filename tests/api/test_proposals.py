"""Proposals over HTTP: tried on recorded calls, agreed to word for word, carried out once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from airlock.core.clock import SYSTEM
from airlock.core.config import Config, ServerEntry
from airlock.incident import proposals
from airlock.model.entry import Event
from airlock.model.incident import Actor, Alert, Finding, Incident
from airlock.model.lease import Selector
from airlock.model.principal import Principal
from airlock.model.proposal import Order
from airlock.policy import kept
from airlock.store import incidents, leases
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from airlock.store.schema import alerts
from tests.api.containing import House
from tests.audit.conftest import Log
from tests.gateway.parts import NOW, principal
from tests.policy.revised import Files, text

PROPOSALS = "/api/v1/proposals"
SUSPEND = {"action": "subject.suspend", "selector": {"subject": "bob"}, "ttl": "30m", "reason": "stolen"}
ID = "INC-20270115-080000"


def somebody(name: str, *roles: str, **more: Any) -> Principal:
    told: dict[str, Any] = {"auth_time": int(NOW), **more}
    return principal(name, roles=roles or ("approver", "admin"), **told)


class Site:
    """One store, and people who come to its API."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.base = Config(
            data_dir=str(folder),
            servers=(ServerEntry(name="docs", transport="http", url="http://127.0.0.1:9/mcp"),),
        )
        self.house = self.of(somebody("alice"))

    def of(self, who: Principal) -> House:
        house = House(self.store, who=who)
        house.base = self.base
        return house

    def ask(
        self, method: str, path: str, body: object = b"", *, who: Principal | None = None
    ) -> tuple[int, Any]:
        house = self.house if who is None else self.of(who)
        return house.ask(method, path, body)

    def proposed(self, order: dict[str, Any] = SUSPEND, **more: Any) -> dict[str, Any]:
        status, answer = self.ask("POST", PROPOSALS, {**order, **more})
        assert status == 201, answer
        return answer["proposal"]

    def approve(self, found: dict[str, Any], who: Principal | None = None, **more: Any) -> tuple[int, Any]:
        body = {"digest": found["digest"], **more}
        return self.ask("POST", f"{PROPOSALS}/{found['id']}/approve", body, who=who)

    def opened(self, **more: Any) -> Incident:
        told: dict[str, Any] = {"status": "INVESTIGATING", **more}
        incident = Incident(
            id=ID, title="t", type="security_incident", severity="P1", detection_source="security_alert",
            opened_at=NOW, detected_at=NOW, clocks_from=NOW, **told,
        )  # fmt: skip
        return incidents.create(self.store, incident, []).incident

    def kinds(self) -> list[str]:
        return [line.event.kind for line in incidents.timeline(self.store, ID)]


@pytest.fixture
def site(store: Store, tmp_path: Path) -> Site:
    return Site(store, tmp_path)


def test_a_proposal_without_recorded_calls_has_no_prediction_and_waits(site: Site) -> None:
    found = site.proposed()
    assert (found["state"], found["needs"], found["people"], found["prediction"]) == (
        "PROPOSED",
        "B",
        1,
        None,
    )
    assert found["by"] == {"type": "human", "id": "https://issuer.example|alice"}
    assert site.ask("GET", PROPOSALS)[1]["proposals"] == [found]
    assert site.ask("GET", f"{PROPOSALS}/{found['id']}")[1]["proposal"] == found
    assert not leases.listing(site.store, now=NOW)


def test_nobody_agrees_to_a_policy_that_is_not_kept_any_more(site: Site, tmp_path: Path) -> None:
    files = Files(tmp_path)
    good = files.load(text("echo")).bundle.revision
    files.load(text("fail"))
    found = site.proposed({"action": "policy.rollback", "selector": {"to": good}, "reason": "too much"})
    shutil.rmtree(tmp_path / kept.FOLDER / good)
    assert site.approve(found) == (409, "revision_unknown")
    assert [each.kind for each in files.changes(site.store)] == ["reload", "reload"]


def test_an_approval_carries_it_out_once(site: Site) -> None:
    found = site.proposed()
    status, done = site.approve(found)
    assert status == 200, done
    assert (done["proposal"]["state"], done["proposal"]["lease"]) == ("ACTIVE", done["lease"]["id"])
    assert (done["lease"]["actor"], done["enforced"]["replicas_acked"]) == ("https://issuer.example|alice", 2)
    assert [each.selector.subject for each in leases.listing(site.store, now=NOW)] == ["bob"]
    assert site.approve(found, somebody("bea")) == (409, "proposal_ended")
    assert site.ask("GET", f"{PROPOSALS}/{found['id']}")[1]["proposal"]["actual"] is None


@pytest.mark.parametrize(
    ("order", "status", "word"),
    [
        ({**SUSPEND, "action": "ip.bless"}, 422, "action_unknown"),
        ({**SUSPEND, "ttl": "9d"}, 422, "duration_too_long"),
        ({**SUSPEND, "ttl": "soon"}, 422, "duration_invalid"),
        ({**SUSPEND, "reason": " "}, 422, "reason_invalid"),
        ({**SUSPEND, "minutes": 0}, 422, "invalid_params"),
        ({**SUSPEND, "action": "ip.block", "selector": {"cidr": "127.0.0.1"}}, 422, "would_lock_out"),
    ],
)
def test_what_cannot_be_done_is_not_kept(site: Site, order: dict[str, Any], status: int, word: str) -> None:
    assert site.ask("POST", PROPOSALS, order) == (status, word)
    assert site.ask("GET", PROPOSALS)[1]["proposals"] == []


def test_an_approval_of_something_else_is_void(site: Site) -> None:
    found = site.proposed()
    assert site.approve({**found, "digest": "0" * 64}) == (409, "approval_void")
    assert site.ask("POST", f"{PROPOSALS}/{found['id']}/approve", {}) == (422, "invalid_params")
    assert site.approve({**found, "id": "nothing"}) == (404, "proposal_unknown")
    assert site.ask("GET", f"{PROPOSALS}/nothing") == (404, "proposal_unknown")


def test_a_proposal_can_be_declined(site: Site) -> None:
    found = site.proposed()
    status, done = site.ask("POST", f"{PROPOSALS}/{found['id']}/reject", {"reason": "no need"})
    assert (status, done["proposal"]["state"], done["proposal"]["end_reason"]) == (200, "REJECTED", "no need")
    assert site.approve(found) == (409, "proposal_ended")
    other = site.proposed()
    assert site.ask("POST", f"{PROPOSALS}/{other['id']}/reject")[1]["proposal"]["end_reason"]


def test_a_program_that_asks_for_a_lease_gets_a_proposal(site: Site) -> None:
    robot = somebody("robot", actor=("agent",))
    status, answer = site.ask("POST", "/api/v1/leases", SUSPEND, who=robot)
    assert (status, answer["proposal"]["by"]["type"]) == (202, "agent")
    assert not leases.listing(site.store, now=NOW)
    assert site.approve(answer["proposal"], robot) == (403, "approver_automation")
    quiet = {"action": "logging.enhance", "selector": {"level": "debug"}, "reason": "look"}
    status, given = site.ask("POST", "/api/v1/leases", quiet, who=robot)
    assert status == 200
    block = {"ip_addresses": ["203.0.113.7"], "duration": "1h"}
    assert site.ask("POST", "/admin/security/block", block, who=robot) == (403, "approver_required")
    assert site.ask("DELETE", f"/api/v1/leases/{given['lease_id']}", who=robot) == (403, "approver_required")
    assert site.approve(answer["proposal"])[0] == 200
    held = answer["proposal"]["id"]
    lease = site.ask("GET", f"{PROPOSALS}/{held}")[1]["proposal"]["lease"]
    assert site.ask("DELETE", f"/api/v1/leases/{lease}", who=robot) == (403, "approver_required")


def test_an_incident_hears_of_what_is_proposed_approved_and_declined(site: Site) -> None:
    site.opened()
    site.approve(site.proposed(incident=ID))
    other = site.proposed(incident=ID)
    site.ask("POST", f"{PROPOSALS}/{other['id']}/reject")
    assert site.kinds() == [
        "containment_proposed", "containment_approved", "containment_proposed", "decision",
    ]  # fmt: skip
    assert len(site.ask("GET", f"{PROPOSALS}?incident={ID}")[1]["proposals"]) == 2
    assert site.ask("GET", f"{PROPOSALS}?incident=other")[1]["proposals"] == []
    site.proposed(incident="INC-20200101-000000")  # nobody keeps such a record, and nothing is written there


def isolate(site: Site, **more: str) -> dict[str, Any]:
    status, answer = site.ask("PATCH", "/api/v1/servers/docs", {"status": "inactive", **more})
    assert status == 200, answer
    return answer


def test_a_server_is_taken_out_of_service_and_put_back(site: Site) -> None:
    answer = isolate(site, reason="odd")
    assert answer == {
        "id": "docs", "before": {"status": "active"}, "after": {"status": "inactive"}, "sessions_closed": 0,
        "calls_cancelled": 0, "epoch": 1, "replicas_acked": 2, "replicas_total": 2, "missing": [],
        "lease_id": answer["lease_id"], "audit_seq": 1,
    }  # fmt: skip
    (lease,) = leases.listing(site.store, now=NOW + 1e9)
    assert (lease.origin, lease.expires_at, lease.max_until, lease.reason) == ("registry", None, None, "odd")
    again = isolate(site)
    assert (again["before"], again["lease_id"]) == ({"status": "inactive"}, lease.id)
    status, back = site.ask("PATCH", "/api/v1/servers/docs", {"status": "active"})
    assert (status, back["before"], back["after"]) == (200, {"status": "inactive"}, {"status": "active"})
    status, still = site.ask("PATCH", "/api/v1/servers/docs", {"status": "active"})
    assert (status, still["before"], still["lease_id"]) == (200, {"status": "active"}, "")


def test_a_server_that_a_lease_keeps_out_for_a_while_is_kept_out_for_good(site: Site) -> None:
    order = {"action": "server.disable", "selector": {"server": "docs"}, "reason": "odd"}
    site.ask("POST", "/api/v1/leases", order)
    assert isolate(site)["before"] == {"status": "inactive"}
    assert len(leases.listing(site.store, now=NOW)) == 2
    assert site.ask("PATCH", "/api/v1/servers/docs", {"status": "active"})[0] == 200
    assert not leases.listing(site.store, now=NOW)


def test_a_server_that_another_lease_keeps_out_meanwhile_is_not_said_to_be_in_service(site: Site) -> None:
    isolate(site)
    beat = site.house.workers.beat

    def meanwhile() -> None:
        site.house.workers.beat = beat
        leases.activate(
            site.store, action="server.disable", selector=Selector(server="docs"), ttl=None, reason="again",
            actor="bea", origin="api", now=NOW,
        )  # fmt: skip
        beat()

    site.house.workers.beat = meanwhile
    answer = site.ask("PATCH", "/api/v1/servers/docs", {"status": "active"})[1]
    assert answer["after"] == {"status": "inactive"}


class Cut:
    """What workers say that leases cut; None of one that says nothing."""

    def __init__(self, *answers: dict[str, tuple[int, list[str]]] | None) -> None:
        self.answers = answers


def test_the_answer_counts_what_every_worker_cut(site: Site) -> None:
    async def said() -> Cut:
        (lease,) = leases.listing(site.store, now=NOW)
        return Cut({lease.id: (2, ["s1", "s2"])}, {lease.id: (1, ["s2"])}, {})

    site.house.parts.servers.ask = said
    answer = isolate(site)
    assert (answer["sessions_closed"], answer["calls_cancelled"]) == (2, 3)


def test_where_a_worker_says_nothing_nobody_knows_what_was_cut(site: Site) -> None:
    async def said() -> Cut:
        return Cut({}, None)

    site.house.parts.servers.ask = said
    answer = isolate(site)
    assert (answer["sessions_closed"], answer["calls_cancelled"]) == (None, None)


@pytest.mark.parametrize("how", ["named by the lease", "among its services"])
def test_while_an_open_incident_names_a_server_two_people_put_it_back(site: Site, how: str) -> None:
    if how == "named by the lease":
        site.opened()
        lease = isolate(site, incident=ID)["lease_id"]
    else:
        site.opened(affected_services=("docs",))
        lease = isolate(site)["lease_id"]
    assert site.ask("PATCH", "/api/v1/servers/docs", {"status": "active"}) == (409, "containment_active")
    assert site.ask("DELETE", f"/api/v1/leases/{lease}") == (409, "containment_active")
    release = {"action": "lease.release", "selector": {"lease": lease}, "reason": "clean"}
    assert site.approve(site.proposed(release)) == (409, "containment_active")
    order = {"action": "server.restore", "selector": {"server": "docs"}, "reason": "clean"}
    found = site.proposed(order, incident=ID)
    assert (found["needs"], found["people"]) == ("D", 2)
    assert site.approve(found, somebody("old", auth_time=int(NOW - 600))) == (403, "login_insufficient")
    status, once = site.approve(found, somebody("alice"))
    assert (status, once["proposal"]["approvals"][0]["valid"]) == (202, True)
    assert site.approve(found, somebody("alice")) == (409, "approved_already")
    elsewhere = msgspec.structs.replace(somebody("alice"), issuer="https://other.example", tenant="globex")
    assert site.approve(found, elsewhere) == (409, "approved_already")
    status, done = site.approve(found, somebody("bea"))
    assert (status, done["lease"]["state"]) == (200, "released")
    assert not leases.listing(site.store, now=NOW)
    again = site.proposed(order)
    site.approve(again, somebody("alice"))
    assert site.approve(again, somebody("bea")) == (404, "lease_unknown")
    assert site.ask("GET", f"{PROPOSALS}/{again['id']}")[1]["proposal"]["state"] == "PROPOSED"


def test_who_agrees_is_not_locked_out_by_it(site: Site) -> None:
    block = {"action": "ip.block", "selector": {"cidr": "203.0.113.0/24"}, "reason": "scans"}
    found = site.proposed(block)
    body = {"digest": found["digest"]}
    path = f"{PROPOSALS}/{found['id']}/approve"
    assert site.house.ask("POST", path, body, source_ip="203.0.113.7") == (422, "would_lock_out")
    assert not leases.listing(site.store, now=NOW)
    assert site.house.ask("POST", path, body)[0] == 200


def test_a_lease_is_released_by_a_proposal_too(site: Site) -> None:
    lease = site.approve(site.proposed())[1]["lease"]["id"]
    order = {"action": "lease.release", "selector": {"lease": lease}, "reason": "over"}
    found = site.proposed(order)
    assert found["needs"] == "C"
    assert site.ask("POST", f"{PROPOSALS}/{found['id']}/dry-run") == (422, "dry_run_unavailable")
    assert site.approve(found)[1]["lease"]["state"] == "released"


def failing(site: Site) -> None:
    """An open incident, and an engine that answers nothing."""
    site.opened()
    finding = Finding(rule="MCP-024", severity="P1", summary="policy fails", since=NOW, until=NOW)
    alert = Alert(id="a1", fingerprint="f", finding=finding, first_seen=NOW, last_seen=NOW)
    row = {"id": "a1", "fingerprint": "f", "rule": "MCP-024", "state": "NEW", "incident": "",
           "last_seen": NOW, "version": 1, "document": msgspec.json.encode(alert).decode()}  # fmt: skip
    with site.store.change(INCIDENTS) as change:
        change.connection.execute(insert(alerts).values(**row))


def test_a_frozen_administration_tightens_and_loosens_nothing(site: Site) -> None:
    freeze = {"action": "admin.freeze", "reason": "witness"}
    held = site.ask("POST", "/api/v1/leases", SUSPEND)[1]["lease_id"]
    frozen = site.ask("POST", "/api/v1/leases", freeze)[1]["lease_id"]
    assert site.ask("DELETE", f"/api/v1/leases/{held}") == (409, "admin_frozen")
    tune = {"action": "limits.tune", "selector": {"max_clients": "100"}, "reason": "x"}
    assert site.ask("POST", "/api/v1/leases", tune) == (409, "admin_frozen")
    order = {"action": "lease.release", "selector": {"lease": held}, "reason": "over"}
    assert site.approve(site.proposed(order)) == (409, "admin_frozen")
    failing(site)
    order = {"action": "failmode.open", "selector": {"tools": "read-only"}, "reason": "policy is down"}
    found = site.proposed(order, incident=ID)
    assert site.approve(found)[0] == 202
    assert site.approve(found, somebody("bea")) == (409, "admin_frozen")
    assert site.ask("POST", "/api/v1/leases", {**SUSPEND, "selector": {"subject": "eve"}})[0] == 200
    assert site.ask("DELETE", f"/api/v1/leases/{frozen}")[0] == 200
    assert site.ask("DELETE", f"/api/v1/leases/{held}")[0] == 200


def test_a_lease_is_extended_and_released_by_its_address(site: Site) -> None:
    lease = site.ask("POST", "/api/v1/leases", SUSPEND)[1]["lease_id"]
    status, longer = site.ask("POST", f"/api/v1/leases/{lease}/extend", {"ttl": "2h", "reason": "still"})
    assert (status, longer["lease"]["remaining_seconds"]) == (200, 7200)
    assert site.ask("POST", f"/api/v1/leases/{lease}/extend", {"ttl": ""}) == (422, "duration_invalid")
    assert site.ask("POST", f"/api/v1/leases/{lease}/extend", {"ttl": "9d"}) == (422, "duration_too_long")
    assert site.ask("POST", f"/api/v1/leases/{lease}/release")[1]["lease"]["state"] == "released"


def test_what_is_in_force_for_a_scope_names_the_lease_that_decides(site: Site) -> None:
    lease = site.ask("POST", "/api/v1/leases", SUSPEND)[1]["lease_id"]
    status, told = site.ask("GET", "/api/v1/leases/effective?scope=subject=bob,tenant=acme")
    assert (status, told["scope"], told["epoch"]) == (200, {"subject": "bob", "tenant": "acme"}, 1)
    assert told["settings"] == [
        {"setting": "suspend.subjects", "value": [["*", "*", "bob"]], "decided_by": [lease]}
    ]
    assert [each["id"] for each in told["leases"]] == [lease]
    assert site.ask("GET", "/api/v1/leases/effective")[1]["settings"] == []
    assert site.ask("GET", "/api/v1/leases/effective?scope=nonsense") == (422, "scope_invalid")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "log")
    yield made
    made.release()


def test_a_dry_run_reads_the_log_and_counts_what_belongs_to_the_incident(site: Site, log: Log) -> None:
    log.clock.now = NOW - 60
    told = {"event_type": "call", "phase": "outcome", "action": "tool_call", "decision": "allow"}
    personal = {"subject": "bob", "source_ip": "203.0.113.7"}
    for n in range(4):
        log.append(
            msgspec.convert({**told, "request_id": f"r{n}", "tenant": "acme", "personal": personal}, Event)
        )
    log.project()
    site.base = msgspec.structs.replace(site.base, data_dir=str(log.data_dir))
    site.house.base = site.base
    site.opened()
    ids = [row[0] for row in log.rows("SELECT id FROM audit_log WHERE action = 'tool_call'")]
    finding = Finding(rule="MCP-001", severity="P2", summary="s", since=NOW, until=NOW)
    alert = Alert(
        id="A", fingerprint="f", finding=finding, incident=ID, first_seen=NOW, last_seen=NOW,
        event_ids=(ids[0], ids[1]),
    )  # fmt: skip
    with site.store.change(INCIDENTS) as change:
        change.connection.execute(
            insert(alerts).values(
                id="A", fingerprint="f", rule="MCP-001", state="ATTACHED", incident=ID, last_seen=NOW,
                version=1, document=msgspec.json.encode(alert).decode(),
            )
        )  # fmt: skip
    found = site.proposed(incident=ID)
    seen = found["prediction"]
    assert (found["state"], seen["requests"], seen["flipped"], seen["of_incident"]) == ("DRY_RUN", 4, 4, 2)
    status, again = site.ask("POST", f"{PROPOSALS}/{found['id']}/dry-run", {"minutes": 5})
    assert (status, again["proposal"]["prediction"]["requests"]) == (200, 4)
    assert again["proposal"]["digest"] != found["digest"]
    assert site.approve(found) == (409, "approval_void")
    done = site.approve(again["proposal"])[1]["proposal"]
    shown = site.ask("GET", f"{PROPOSALS}/{found['id']}")[1]["proposal"]
    assert (done["state"], shown["actual"]["hits"]) == ("ACTIVE", 0)


def test_a_detector_proposes_without_the_api(store: Store) -> None:
    by, order = (
        Actor(type="detector", id="MCP-002"),
        Order(action="ip.block", selector={"cidr": "203.0.113.7"}, reason="r"),
    )
    found = proposals.propose(store, order, by=by, now=SYSTEM.wall())
    assert (found.order.selector, found.by, found.state) == ({"cidr": "203.0.113.7/32"}, by, "PROPOSED")
