"""What must hold for every call through a real gateway: policy, server and log see the same arguments; the
client's token goes nowhere; tenants never see each other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.sealed import load_or_create_keys
from tests.system.deployment import MODERN, Deployment, envelope
from tests.system.recorder import Recorder, definition

OPEN_SCHEMA = {"type": "object"}


def tools(marker: str) -> dict[str, dict[str, Any]]:
    """One tool that takes anything; its texts carry the marker."""
    told = {**definition("take"), "description": f"Takes anything: {marker}.", "inputSchema": OPEN_SCHEMA}
    return {"take": told}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder(tools=tools("new")) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def old() -> Iterator[Recorder]:
    with Recorder(tools=tools("old"), modern=False) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, upstream: Recorder, old: Recorder
) -> Iterator[Deployment]:
    servers = [
        {"name": "new", "transport": "http", "url": upstream.url},
        {"name": "old", "transport": "http", "url": old.url, "sensitivity": "low", "read_only": True},
    ]
    # Numbers made at random look like those of cards now and then, and the record holds none of these.
    folder = tmp_path_factory.mktemp("invariants")
    with Deployment(folder, servers, redaction={"detectors": []}, audit={"inputs": "full"}) as deployment:
        yield deployment


def _distinct(members: dict[str, Any]) -> bool:
    """Keys that differ only in case are refused, and that is another test."""
    return len({key.casefold() for key in members}) == len(members)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4).filter(_distinct),
    max_leaves=12,
)
arguments = st.dictionaries(keys, values, max_size=5).filter(_distinct)


def test_policy_server_and_log_see_the_same_arguments(
    gateway: Deployment, upstream: Recorder, old: Recorder
) -> None:
    token = gateway.token("prover")
    sent: list[bytes] = []

    @settings(max_examples=60, deadline=None, database=None)
    @given(arguments, st.booleans(), st.sampled_from(["new", "old"]))
    def prove(told: dict[str, Any], modern: bool, server: str) -> None:
        answer = gateway.call(f"{server}__take", told, token, modern=modern)
        assert answer.status == 200
        assert "isError" not in answer.json["result"]
        seen = (upstream if server == "new" else old).calls()[-1]
        canonical = rfc8785.dumps(told)
        assert rfc8785.dumps(seen["params"]["arguments"]) == canonical
        sent.append(canonical)

    prove()
    rows = gateway.recorded("subject='prover' AND phase='outcome'", count=len(sent))
    assert len(rows) == len(sent)
    sealer = load_or_create_keys(gateway.data)
    personal = gateway.rows(
        "SELECT p.data FROM audit_personal p JOIN audit_log l USING (n) WHERE p.subject='prover'"
        " AND l.phase='outcome'"
    )
    recorded = [json.loads(data) for (data,) in personal]
    questions = [_question(sealer.open("inputs", _sealed(one["inputs"]))) for one in recorded]
    expected = Counter(hashlib.sha256(canonical).hexdigest() for canonical in sent)
    assert Counter(one["arguments_digest"] for one in recorded) == expected
    assert Counter(hashlib.sha256(question).hexdigest() for question in questions) == expected


def _sealed(text: str) -> str:
    return base64.b64decode(text).decode()


def _question(payload: bytes) -> bytes:
    return rfc8785.dumps(json.loads(payload)["arguments"])


@pytest.mark.parametrize("told", ['{"A":1,"a":2}', '{"o":{"x":1,"X":2}}', '{"a":1,"\\u0061":2}'])
def test_what_could_be_read_in_two_ways_reaches_neither_policy_nor_server(
    gateway: Deployment, upstream: Recorder, told: str
) -> None:
    before = len(upstream.calls())
    body = (
        f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"new__take","arguments":{told}}}}}'
    )
    answer = gateway.post(body.encode(), gateway.token())
    assert (answer.status, answer.json["error"]["code"]) == (400, -32600)
    assert len(upstream.calls()) == before


def parts_of(token: str) -> list[bytes]:
    """The token, its claims and its signature, and each of them once more in base64."""
    _, claims, signature = token.split(".")
    plain = [token.encode(), claims.encode(), signature.encode()]
    return [*plain, *(base64.b64encode(part).rstrip(b"=") for part in plain)]


def test_the_clients_token_goes_nowhere(tmp_path: Path, upstream: Recorder, old: Recorder) -> None:
    servers = [
        {"name": "new", "transport": "http", "url": upstream.url, "timeout": 5},
        {"name": "old", "transport": "http", "url": old.url},
        {"name": "theirs", "transport": "http", "url": old.url, "tenant": "other"},
    ]
    logging = {"level": "debug", "audit_all_requests": True}
    with Deployment(tmp_path, servers, logging=logging, audit={"intent": "all"}) as gateway:
        token = gateway.token("carrier")
        stale = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
        own = {"Authorization": f"Bearer {token}"}
        elsewhere = {
            "X-Api-Key": token, "Cookie": f"t={token}", "Proxy-Authorization": f"Bearer {token}",
            "X-Forwarded-Authorization": token, "Mcp-Param-Key": token,
        }  # fmt: skip
        heard = [
            *(
                gateway.call(tool, {"text": "x"}, token, modern=modern, headers=elsewhere)
                for tool in ("new__take", "old__take", "theirs__take", "new__nothing", "nowhere")
                for modern in (False, True)
            ),
            gateway.call("take", {}, token, path="/mcp/new"),
            gateway.call("new__take", {}, stale),
            gateway.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, token),
            gateway.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, token,
                         headers={"Mcp-Session-Id": token}),
            gateway.post(b'{"a":1,"a":2}', token),
            gateway.post(b"{}", None, headers={"Authorization": f"Basic {token}"}),
            gateway.post(b"{}", token, path=f"/mcp?access_token={token}"),
            gateway.get("/admin/policy/status", own),
            gateway.send("DELETE", "/mcp", None, {**own, "Mcp-Session-Id": token}),
        ]  # fmt: skip
        gateway.recorded("subject='carrier'", count=10)
        gateway.stop()
        seen = {
            "a server": b"".join(
                repr(one.headers).encode() + one.body for one in (*upstream.seen, *old.seen)
            ),
            "an answer": b"".join(one.body + repr(one.headers).encode() for one in heard),
            "the log": gateway.log.read_bytes(),
        }
        for file in gateway.data.rglob("*"):
            if file.is_file():
                seen[str(file)] = file.read_bytes()
        assert any("journal" in where for where in seen)
        assert any("audit.db" in where for where in seen)
        found = [
            (where, number)
            for number, part in enumerate(parts_of(token))
            for where in seen
            if part in seen[where]
        ]
        assert not found


TENANTS = ("red", "green", "blue")
"""The last one owns nothing."""


@pytest.fixture(scope="module")
def red() -> Iterator[Recorder]:
    with Recorder(tools=tools("marker-of-red")) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def green() -> Iterator[Recorder]:
    with Recorder(tools=tools("marker-of-green")) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, red: Recorder, green: Recorder, upstream: Recorder
) -> Iterator[Deployment]:
    servers = [
        {"name": "s-red", "transport": "http", "url": red.url, "tenant": "red"},
        {"name": "s-green", "transport": "http", "url": green.url, "tenant": "green"},
        {"name": "s-all", "transport": "http", "url": upstream.url},
    ]
    with Deployment(tmp_path_factory.mktemp("tenants"), servers) as deployment:
        yield deployment


class Tenant:
    """Somebody of one tenant who tries everything."""

    def __init__(self, gateway: Deployment, name: str) -> None:
        self.name = name
        self.gateway = gateway
        self.token = gateway.token(f"user-of-{name}", tenant=name, roles=["admin"])
        self.sessions: dict[str, str] = {}

    def ask(self, method: str, path: str, *, modern: bool, session: str = "") -> bytes:
        params: dict[str, Any] = {}
        headers = {"Mcp-Session-Id": session} if session else {}
        if modern:
            params = {"_meta": envelope()}
            headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        elif method == "initialize":
            params = {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self.gateway.post(body, self.token, path=path, headers=headers)
        if method == "initialize" and answer.status == 200:
            self.sessions[path] = answer.headers["mcp-session-id"]
        return answer.body + repr(answer.headers).encode()

    def call(self, target: str, *, modern: bool) -> bytes:
        text = {"text": f"said by {self.name}"}
        one = self.gateway.call(f"s-{target}__take", text, self.token, modern=modern)
        other = self.gateway.call("take", text, self.token, path=f"/mcp/s-{target}", modern=modern)
        return one.body + other.body


ACTIONS = ("list", "discover", "initialize", "call", "foreign session")
steps = st.tuples(
    st.sampled_from(TENANTS),
    st.sampled_from(ACTIONS),
    st.sampled_from(["red", "green", "all"]),
    st.booleans(),
)


def test_tenants_never_see_each_other(shared: Deployment, red: Recorder, green: Recorder) -> None:
    people = {name: Tenant(shared, name) for name in TENANTS}

    @settings(max_examples=25, deadline=None, database=None)
    @given(st.lists(steps, min_size=1, max_size=6))
    def prove(story: Sequence[tuple[str, str, str, bool]]) -> None:
        for who, action, target, modern in story:
            heard = act(people, who, action, target, modern=modern)
            for other in {"red", "green"} - {who}:
                assert f"marker-of-{other}".encode() not in heard
                assert f"said by {other}".encode() not in heard

    prove()
    for name, server in (("red", red), ("green", green)):
        callers = {call["params"]["arguments"].get("text") for call in server.calls()}
        assert callers <= {f"said by {name}"}
        own = people[name].ask("tools/list", "/mcp", modern=False)
        assert f"marker-of-{name}".encode() in own
    rows = shared.rows("SELECT tenant, server_id, decision FROM audit_events WHERE server_id IS NOT NULL")
    crossed = [
        (tenant, server)
        for tenant, server, decision in rows
        if decision == "allow" and server in ("s-red", "s-green") and server != f"s-{tenant}"
    ]
    assert not crossed


def act(people: dict[str, Tenant], who: str, action: str, target: str, *, modern: bool) -> bytes:
    """One step of somebody towards a server, theirs or not."""
    tenant = people[who]
    path = "/mcp" if target == "all" else f"/mcp/s-{target}"
    if action == "call":
        return tenant.call(target, modern=modern)
    if action == "foreign session":
        stolen = [session for other in people.values() for session in other.sessions.values()]
        return b"".join(tenant.ask("tools/list", path, modern=False, session=one) for one in stolen[-3:])
    method = {"list": "tools/list", "discover": "server/discover", "initialize": "initialize"}[action]
    return tenant.ask(method, path, modern=modern and method != "initialize")
