"""Ways around containment, and ways to turn it against its owners (XC-7; XD-1, XD-2 where it is managed)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airlock.identity.jws import take_apart
from tests.system.deployment import Answer, Deployment, until
from tests.system.lines import Endless, Line, Lines
from tests.system.wire import bearer, message, routing, send

BLOCK = "/admin/security/block"
LEASES = "/api/v1/leases"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Endless]:
    with Endless(1) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Endless) -> Iterator[Deployment]:
    servers = [{"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
    folder = tmp_path_factory.mktemp("attacks")
    with Deployment(folder, servers, server={"trusted_proxies": ["127.0.0.1/32"]}) as deployment:
        yield deployment


@pytest.fixture
def lines(gateway: Deployment) -> Iterator[Lines]:
    with Lines(gateway) as opened:
        yield opened


def manage(
    gateway: Deployment, method: str, path: str, body: object = None, *, token: str = "", **headers: str
) -> Answer:
    """One request to the management API, of an administrator unless another token is given."""
    access = token or gateway.token("operator", roles=["admin"])
    fields = {"Authorization": f"Bearer {access}", **headers}
    return gateway.send(method, path, None if body is None else json.dumps(body).encode(), fields)


def give(gateway: Deployment, action: str, **selector: str) -> str:
    """A lease that holds; its id."""
    order = {"action": action, "selector": selector, "reason": "an attack"}
    answer = manage(gateway, "POST", LEASES, order)
    assert answer.status in {200, 207}, answer.body
    return str(answer.json["lease_id"])


def leases(gateway: Deployment) -> list[dict[str, Any]]:
    return manage(gateway, "GET", LEASES).json["leases"]


def ids(gateway: Deployment) -> list[str]:
    return [lease["id"] for lease in leases(gateway)]


def every(lines: Lines, status: Callable[[Line], int], wanted: int) -> None:
    """Wait until every worker answers with this status."""
    until(lambda: all(status(line) == wanted for line in lines.each), within=30, what=f"{wanted} everywhere")


def calls(token: str, **headers: str) -> Callable[[Line], int]:
    return lambda line: line.call("low__echo", token, headers=headers).status


def everywhere(gateway: Deployment, token: str, **headers: str) -> set[int]:
    """The statuses of a caller on both routes and in both eras, some of them on either worker."""
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    start = {**listing, "method": "initialize", "params": hello}
    answers = [
        *(gateway.call("low__echo", {}, token, modern=modern, headers=headers) for modern in (True, False)),
        *(
            gateway.call("echo", {}, token, path="/mcp/low", modern=modern, headers=headers)
            for modern in (True, False)
        ),
        *(
            gateway.post(body, token, path=path, headers=headers)
            for body in (listing, start)
            for path in ("/mcp", "/mcp/low")
        ),
        gateway.send("DELETE", "/mcp", None, {"Authorization": f"Bearer {token}", **headers}),
    ]
    return {answer.status for answer in answers}


def test_xc7_a_revoked_token_counts_on_no_worker(
    gateway: Deployment, upstream: Endless, lines: Lines
) -> None:
    stolen, own = gateway.token("xc7"), gateway.token("xc7")
    source = {"X-Forwarded-For": "198.18.7.5"}
    every(lines, calls(stolen, **source), 200)
    give(gateway, "token.revoke", token=str(take_apart(stolen).payload["jti"]))
    every(lines, calls(stolen, **source), 401)
    before = len(upstream.calls())
    assert everywhere(gateway, stolen, **source) == {401}
    assert len(upstream.calls()) == before
    every(lines, calls(own), 200)
    row = gateway.recorded("reason='token_revoked' AND metadata LIKE '%198.18.7.%'")[0]
    assert (row["action"], row["decision"]) == ("token_validate", "deny")


def test_xc7_a_revoked_token_of_an_administrator_opens_nothing(gateway: Deployment, lines: Lines) -> None:
    stolen = gateway.token("second-operator", roles=["admin"])
    assert manage(gateway, "GET", LEASES, token=stolen).status == 200
    give(gateway, "token.revoke", token=str(take_apart(stolen).payload["jti"]))
    every(lines, calls(stolen), 401)
    for _ in range(4):
        assert manage(gateway, "GET", LEASES, token=stolen).status == 401


def test_who_is_suspended_has_no_other_way_in(gateway: Deployment, upstream: Endless, lines: Lines) -> None:
    first, second = gateway.token("insider"), gateway.token("insider", roles=["admin"])
    namesake = gateway.token("insider", tenant="other")
    give(gateway, "subject.suspend", subject="insider", tenant="acme")
    every(lines, calls(first), 403)
    every(lines, calls(second), 403)
    before = len(upstream.calls())
    assert everywhere(gateway, first) == everywhere(gateway, second) == {403}
    assert len(upstream.calls()) == before
    every(lines, calls(namesake), 200)
    denied = gateway.recorded("subject='insider' AND tenant='acme' AND decision='deny'")
    assert {row["reason"] for row in denied} == {"contained"}


def test_who_is_suspended_does_not_release_himself(gateway: Deployment, lines: Lines) -> None:
    own = gateway.token("rogue", roles=["admin"])
    lease = give(gateway, "subject.suspend", subject="rogue")
    every(lines, calls(own), 403)
    for method, path in (("DELETE", f"{LEASES}/{lease}"), ("GET", LEASES), ("GET", "/admin/policy/status")):
        answer = manage(gateway, method, path, token=own)
        assert (answer.status, answer.json["code"]) == (403, "contained")
    row = gateway.recorded("subject='rogue' AND action='admin_call'")[0]
    assert (row["decision"], row["reason"]) == ("deny", "contained")
    assert manage(gateway, "DELETE", f"{LEASES}/{lease}").status in {200, 207}
    every(lines, calls(own), 200)


def test_who_is_no_administrator_neither_gives_nor_takes(gateway: Deployment) -> None:
    lease = give(gateway, "subject.suspend", subject="somebody")
    known = ids(gateway)
    token = gateway.token("climber")
    tries = (
        ("POST", BLOCK, {"ip_addresses": ["198.18.1.1"]}),
        ("POST", LEASES, {"action": "tenant.isolate", "selector": {"tenant": "other"}, "reason": "x"}),
        ("DELETE", f"{LEASES}/{lease}", None),
        ("DELETE", f"/admin/security/blocks/{lease}", None),
        ("GET", LEASES, None),
        ("GET", f"{LEASES}/{lease}", None),
        ("GET", "/admin/security/blocks", None),
    )
    for method, path, body in tries:
        answer = manage(gateway, method, path, body, token=token)
        assert (answer.status, answer.json["code"]) == (403, "admin_role_required")
    assert ids(gateway) == known
    rows = gateway.recorded("subject='climber'", count=len(tries))
    assert {(row["action"], row["decision"], row["severity"]) for row in rows} == {
        ("privilege_escalation_attempt", "deny", "HIGH")
    }


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Cookie", "session=TOKEN; token=TOKEN")],
        [("Authorization", "Basic YWRtaW46YWRtaW4=")],
        [("Authorization", "Bearer TOKEN"), ("Authorization", "Bearer TOKEN")],
        [("X-Authorization", "Bearer TOKEN"), ("X-Forwarded-User", "operator")],
    ],
    ids=["nothing", "cookie", "basic", "doubled", "made-up"],
)
def test_only_one_bearer_token_opens_the_door(gateway: Deployment, fields: list[tuple[str, str]]) -> None:
    token = gateway.token("operator", roles=["admin"])
    sent = [(name, value.replace("TOKEN", token)) for name, value in fields]
    body = b'{"ip_addresses":["198.18.2.2"]}'
    assert send(gateway, sent, body, target=BLOCK).status in {400, 401}
    assert send(gateway, sent, body, target=f"{BLOCK}?access_token={token}").status in {400, 401}
    assert not [lease for lease in leases(gateway) if lease["selector"].get("cidr") == "198.18.2.2/32"]


@pytest.mark.parametrize("claim", ["mcp/low", "other"])
def test_a_token_for_something_else_does_not_open_the_door(gateway: Deployment, claim: str) -> None:
    token = gateway.token("operator", roles=["admin"], audience=f"{gateway.url}/mcp/low")
    if claim == "other":
        token = token[:-8] + "AAAAAAAA"
    assert manage(gateway, "GET", LEASES, token=token).status == 401


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("0.0.0.0/0", "would_lock_out"),
        ("::/0", "would_lock_out"),
        ("127.0.0.1", "would_lock_out"),
        ("::ffff:127.0.0.1", "would_lock_out"),
        ("::1", "would_lock_out"),
        ("203.0.113.9", "would_lock_out"),
        ("203.0.113.0/24", "would_lock_out"),
        ("10.0.0.0/8", "network_too_wide"),
        ("203.0.113.9; rm -rf /", "invalid_ip"),
    ],
)
def test_nobody_is_locked_out_by_mistake(gateway: Deployment, address: str, word: str) -> None:
    own = {"X-Forwarded-For": "203.0.113.9"}
    body = {"ip_addresses": ["198.18.3.3", address], "duration": "1h"}
    answer = manage(gateway, "POST", BLOCK, body, **own)
    assert (answer.status, answer.json["code"]) == (422, word)
    order = {"action": "ip.block", "selector": {"cidr": address}, "reason": "x"}
    assert manage(gateway, "POST", LEASES, order, **own).json["code"] == word
    assert not [lease for lease in leases(gateway) if lease["selector"].get("cidr") == "198.18.3.3/32"]


def test_what_a_client_says_of_its_address_counts_only_behind_a_trusted_proxy(
    gateway: Deployment, upstream: Endless, lines: Lines
) -> None:
    token = gateway.token("spoofer")
    give(gateway, "ip.block", cidr="198.18.9.9")
    every(lines, calls(token, **{"X-Forwarded-For": "198.18.9.9"}), 403)
    before = len(upstream.calls())
    for spelled in (
        [("X-Forwarded-For", "192.0.2.1, 198.18.9.9")],
        [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "198.18.9.9")],
        [("X-Forwarded-For", "198.18.9.9:4711")],
        [("X-Forwarded-For", "::ffff:198.18.9.9")],
        [("X-Forwarded-For", "198.18.9.9, 127.0.0.1")],
        [("X-Forwarded-For", "198.18.9.9"), ("Forwarded", "for=192.0.2.1"), ("X-Real-IP", "192.0.2.1")],
    ):
        fields = [*bearer(token), *routing(), *spelled]
        assert send(gateway, fields, message(modern=True)).status == 403, spelled
    assert len(upstream.calls()) == before
    benign = [*bearer(token), *routing(), ("X-Forwarded-For", "198.18.9.9, 198.18.9.10")]
    assert send(gateway, benign, message(modern=True)).status == 200


PLAIN = [("POST", BLOCK), ("GET", "/admin/security/blocks"), ("POST", LEASES), ("GET", LEASES)]


@pytest.mark.parametrize(("method", "path"), PLAIN)
@pytest.mark.parametrize(
    "variant",
    ["/{}", "{}/", "/mcp/..%2f{}", "/live/..{}", "/.{}", "{}%00", "{};x", "{}#", "http://localhost{}", "*"],
)
def test_xd2_no_spelling_of_a_path_leads_around_the_door(
    gateway: Deployment, method: str, path: str, variant: str
) -> None:
    developer = gateway.token("mapper")
    known = ids(gateway)
    body = b'{"ip_addresses":["198.18.4.4"],"action":"tenant.isolate","selector":{"tenant":"x"},"reason":"x"}'
    for fields in ([], bearer(developer)):
        found = send(gateway, fields, body, method=method, target=variant.format(path))
        assert found.status in {400, 401, 403, 404, 405, 421}
    assert ids(gateway) == known


@pytest.mark.parametrize(
    ("fields", "host", "status"),
    [
        ([("Host", "evil.test")], False, 421),
        ([], False, 421),
        ([("Host", "localhost.evil.test")], False, 421),
        ([("Origin", "http://evil.test")], True, 403),
        ([("Origin", "null")], True, 403),
    ],
)
def test_xd1_a_page_that_rebinds_its_name_does_not_reach_the_door(
    gateway: Deployment, fields: list[tuple[str, str]], host: bool, status: int
) -> None:
    access = bearer(gateway.token("operator", roles=["admin"]))
    found = send(gateway, [*access, *fields], method="GET", target=LEASES, host=host)
    assert found.status in {status, 400}
    assert send(gateway, access, method="GET", target=LEASES).status == 200
