"""Bad input through a real gateway with two workers: each case gets its own answer and, where somebody is
known, its own row; no server hears of it; and the same request without the defect passes."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import msgspec
import pytest

from airlock.core.clock import SYSTEM
from airlock.identity.local import LocalIssuer
from tests.system.deployment import MODERN, Deployment, envelope, until
from tests.system.recorder import TOOLS, Recorder, definition
from tests.system.wire import Heard, bearer, message, routing, send

MISBEHAVIOUR = ("hang", "close", "garbage", "status500", "wrong_id", "huge")
REGION = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "region": {"type": "string", "x-mcp-header": "Region"}},
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    tools = {name: definition(name) for name in TOOLS}
    with Recorder(tools={**tools, "routed": {**definition("routed"), "inputSchema": REGION}}) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def old() -> Iterator[Recorder]:
    with Recorder(modern=False) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def doomed() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


def _server(name: str, of: Recorder, **more: Any) -> dict[str, Any]:
    return {"name": name, "transport": "http", "url": of.url, **more}


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, upstream: Recorder, old: Recorder, doomed: Recorder
) -> Iterator[Deployment]:
    """One entry per misbehaviour and era: each has a breaker of its own."""
    impatient = {"hang": {"first_byte_timeout": 0.6, "timeout": 2}}
    servers = [
        _server("low", upstream, sensitivity="low", read_only=True),
        _server("theirs", upstream, tenant="other"),
        _server("doomed", doomed),
        *(
            _server(f"new-{kind.replace('_', '-')}", upstream, **impatient.get(kind, {}))
            for kind in MISBEHAVIOUR
        ),
        *(_server(f"old-{kind.replace('_', '-')}", old, **impatient.get(kind, {})) for kind in MISBEHAVIOUR),
    ]
    with Deployment(tmp_path_factory.mktemp("bad"), servers) as deployment:
        yield deployment


def row_of(gateway: Deployment, subject: str) -> dict[str, Any]:
    """The one row of a subject that called once."""
    rows = gateway.recorded("subject=?", subject)
    assert len(rows) == 1, rows
    return rows[0]


def heard_of(server: Recorder, marker: str) -> int:
    return sum(marker in str(call) for call in server.calls())


def test_the_twin_of_every_case_passes(gateway: Deployment, upstream: Recorder) -> None:
    for modern in (False, True):
        marker = f'"arguments":{{"text":"twin {modern}"}}'
        fields = [*bearer(gateway.token()), *(routing() if modern else [])]
        answer = send(gateway, fields, message(modern=modern, arguments=marker))
        assert answer.status == 200
        assert heard_of(upstream, f"twin {modern}") == 1


DEEP = '{"a":' * 1000 + "1" + "}" * 1000
ARRAYS = "[" * 1000 + "]" * 1000

BODIES: dict[str, tuple[Callable[[bool], bytes], int, int, str]] = {
    # id: (body, HTTP status, JSON-RPC code, first word of the row's reason)
    "cut short": (lambda m: message(modern=m)[:-4], 400, -32700, "parse_error"),
    "empty": (lambda _: b"", 400, -32700, "parse_error"),
    "byte order mark": (lambda m: b"\xef\xbb\xbf" + message(modern=m), 400, -32700, "parse_error"),
    "utf-16": (lambda m: message(modern=m).decode().encode("utf-16"), 400, -32700, "parse_error"),
    "latin-1": (
        lambda m: message(modern=m, arguments='"arguments":{"text":"§"}').replace("§".encode(), b"\xa7"),
        400, -32700, "parse_error",
    ),
    "trailing": (lambda m: message(modern=m) + b"{}", 400, -32700, "parse_error"),
    "not a number": (
        lambda m: message(modern=m, arguments='"arguments":{"n":NaN}'), 400, -32700, "parse_error",
    ),
    "infinite": (
        lambda m: message(modern=m, arguments='"arguments":{"n":1e400}'), 400, -32600, "number_out_of_range",
    ),
    "too many bits": (
        lambda m: message(modern=m, arguments='"arguments":{"n":9223372036854775808}'),
        400, -32600, "integer_out_of_range",
    ),
    "half a character": (
        lambda m: message(modern=m, arguments='"arguments":{"text":"\\ud800"}'), 400, -32700, "parse_error",
    ),
    "name twice": (
        lambda m: message(modern=m, more='"params":{"name":"low__fail"}'), 400, -32600, "parser_differential",
    ),
    "name in name": (
        lambda m: message(modern=m, name='"name":"low__echo","name":"low__fail"'),
        400, -32600, "parser_differential",
    ),
    "escaped name": (
        lambda m: message(modern=m, name='"name":"low__echo","\\u006eame":"low__fail"'),
        400, -32600, "parser_differential",
    ),
    "arguments twice": (
        lambda m: message(modern=m, arguments='"arguments":{},"arguments":{"text":"x"}'),
        400, -32600, "parser_differential",
    ),
    "nested twice": (
        lambda m: message(modern=m, arguments='"arguments":{"o":{"a":1,"a":2}}'),
        400, -32600, "parser_differential",
    ),
    "Name": (
        lambda m: message(modern=m, name='"name":"low__echo","Name":"low__fail"'),
        400, -32600, "parser_differential",
    ),
    "Name alone": (
        lambda m: message(modern=m, name='"Name":"low__echo"'), 400, -32600, "parser_differential",
    ),
    "METHOD": (lambda m: message(modern=m, more='"METHOD":"x"'), 400, -32600, "parser_differential"),
    "Arguments": (
        lambda m: message(modern=m, arguments='"arguments":{},"Arguments":{}'),
        400, -32600, "parser_differential",
    ),
    "_Meta": (lambda m: message(modern=m, arguments='"_Meta":{}'), 400, -32600, "parser_differential"),
    "colliding arguments": (
        lambda m: message(modern=m, arguments='"arguments":{"Q":1,"q":2}'),
        400, -32600, "parser_differential",
    ),
    "1,000 objects deep": (
        lambda m: message(modern=m, arguments=f'"arguments":{DEEP}'), 400, -32600, "too_deep",
    ),
    "1,000 arrays deep": (lambda _: ARRAYS.encode(), 400, -32600, "too_deep"),
    "batch": (lambda m: b"[" + message(modern=m) + b"]", 400, -32600, "not_an_object"),
    "empty batch": (lambda _: b"[]", 400, -32600, "not_an_object"),
    "scalar": (lambda _: b'"tools/call"', 400, -32600, "not_an_object"),
    "null": (lambda _: b"null", 400, -32600, "not_an_object"),
    "id null": (lambda m: message(modern=m, id='"id":null'), 400, -32600, "bad_id"),
    "id float": (lambda m: message(modern=m, id='"id":1.5'), 400, -32600, "bad_id"),
    "id object": (lambda m: message(modern=m, id='"id":{}'), 400, -32600, "bad_id"),
    "id true": (lambda m: message(modern=m, id='"id":true'), 400, -32600, "bad_id"),
    "id long": (lambda m: message(modern=m, id=f'"id":"{"x" * 257}"'), 400, -32600, "bad_id"),
    "no method": (lambda m: message(modern=m, method=""), 400, -32600, "ambiguous_message"),
    "method number": (lambda m: message(modern=m, method='"method":5'), 400, -32600, "bad_method"),
    "params array": (lambda m: message(modern=m, params="[]"), 400, -32600, "bad_params"),
    "old JSON-RPC": (
        lambda m: message(modern=m, version='"jsonrpc":"1.0"'), 400, -32600, "bad_jsonrpc_version",
    ),
    "unknown key": (lambda m: message(modern=m, more='"extra":1'), 400, -32600, "unknown_envelope_key"),
    "result too": (lambda m: message(modern=m, more='"result":{}'), 400, -32600, "ambiguous_message"),
    "notification with id": (
        lambda m: message(modern=m, method='"method":"notifications/cancelled"'),
        400, -32600, "notification_with_id",
    ),
    "request without id": (lambda m: message(modern=m, id=""), 400, -32600, ""),
    "response to nothing": (
        lambda _: b'{"jsonrpc":"2.0","id":1,"result":{}}', 400, -32600, "unexpected_response",
    ),
}  # fmt: skip


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_no_message(gateway: Deployment, upstream: Recorder, case: str, modern: bool) -> None:
    body, status, code, _ = BODIES[case]
    before = len(upstream.calls())
    fields = [*bearer(gateway.token()), *(routing() if modern else [])]
    answer = send(gateway, fields, body(modern))
    assert (answer.status, answer.code) == (status, code)
    assert len(upstream.calls()) == before


def test_every_such_body_has_its_row(gateway: Deployment) -> None:
    expected: dict[str, str] = {}
    for case, (body, _, _, reason) in BODIES.items():
        for modern in (False, True):
            subject = f"body {case} {modern}"
            expected[subject] = reason
            fields = [*bearer(gateway.token(subject)), *(routing() if modern else [])]
            send(gateway, fields, body(modern))
    rows = gateway.recorded("subject LIKE 'body %'", count=len(expected))
    found = {row["subject"]: row["reason"].split(":")[0] for row in rows}
    assert len(rows) == len(expected)
    # A request without an id is an unknown notification here and a request without a session there.
    assert found == {subject: reason or found[subject] for subject, reason in expected.items()}
    assert {row["decision"] for row in rows} == {"deny"}
    # An answer to something that nobody asked is a matter of its session.
    actions = {row["subject"]: row["action"] for row in rows if row["action"] != "security_violation"}
    assert actions == {f"body response to nothing {modern}": "session" for modern in (False, True)}


SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "name number": ({"name": 5}, "invalid_params"),
    "name empty": ({"name": ""}, "invalid_params"),
    "arguments array": ({"arguments": []}, "invalid_params"),
    "arguments null": ({"arguments": None}, "invalid_params"),
    "task": ({"task": {}}, "invalid_params"),
    "case of a declared argument": ({"arguments": {"Text": "x"}}, "parser_differential"),
}


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
@pytest.mark.parametrize("case", SHAPES)
def test_params_of_the_wrong_shape(gateway: Deployment, upstream: Recorder, case: str, modern: bool) -> None:
    changed, reason = SHAPES[case]
    subject = f"shape-{case}-{modern}"
    before = len(upstream.calls())
    params: dict[str, Any] = {"name": "low__echo", "arguments": {"text": "x"}, **changed}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": str(params["name"])}
    if modern:
        params["_meta"] = envelope()
    answer = gateway.post(
        {"jsonrpc": "2.0", "id": "mine", "method": "tools/call", "params": params},
        gateway.token(subject),
        headers=headers if modern else {},
    )
    # The modern ladder compares `Mcp-Name` before it looks at shapes.
    expected = -32020 if modern and case == "name number" else -32602
    assert answer.json["error"]["code"] == expected
    assert answer.json["id"] == "mine"
    row = row_of(gateway, subject)
    assert row["decision"] == "deny"
    assert expected == -32020 or row["reason"].startswith(reason)
    assert len(upstream.calls()) == before


def test_a_state_counts_in_the_era_that_knows_it_and_goes_no_further_in_the_other(
    gateway: Deployment, upstream: Recorder
) -> None:
    params: dict[str, Any] = {
        "name": "low__echo", "arguments": {"text": "with a state"}, "requestState": "forged",
    }  # fmt: skip
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = gateway.post(body, gateway.token("state-legacy"))
    assert "error" not in answer.json
    (sent,) = [each for each in upstream.calls() if each["params"]["arguments"] == params["arguments"]]
    assert "requestState" not in sent["params"]
    params["_meta"] = envelope()
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "low__echo"}
    answer = gateway.post(body, gateway.token("state-modern"), headers=headers)
    assert answer.json["error"]["code"] == -32602
    assert row_of(gateway, "state-modern")["reason"].startswith("request_state_invalid")


def test_arguments_that_do_not_fit_are_a_tool_error(gateway: Deployment, upstream: Recorder) -> None:
    before = len(upstream.calls())
    answer = gateway.call("low__echo", {"n": "many"}, gateway.token("misfit"))
    assert answer.refusal["code"] == 40301
    assert answer.refusal["policy_reason"] == "arguments_invalid"
    assert row_of(gateway, "misfit")["decision"] == "deny"
    assert len(upstream.calls()) == before


@pytest.mark.parametrize(("modern", "status"), [(True, 404), (False, 200)])
def test_an_unknown_method(gateway: Deployment, modern: bool, status: int) -> None:
    subject = f"method-{modern}"
    token = gateway.token(subject)
    headers: dict[str, str] = {}
    params: dict[str, Any] = {}
    if modern:
        params = {"_meta": envelope()}
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/guess"}
    else:
        headers = {"Mcp-Session-Id": opened(gateway, token)}
    body = {"jsonrpc": "2.0", "id": "mine", "method": "tools/guess", "params": params}
    answer = gateway.post(body, token, headers=headers)
    assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (status, -32601, "mine")
    row = gateway.recorded("subject=? AND reason='method_not_found'", subject)[0]
    assert row["decision"] == "deny"


def test_an_unknown_method_without_a_session_is_told_to_shake_hands(gateway: Deployment) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/guess"}
    answer = gateway.post(body, gateway.token("no-session"))
    assert (answer.status, answer.json["error"]["code"]) == (400, -32600)
    assert row_of(gateway, "no-session")["reason"] == "initialize_first"


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        ("low__nothing", "unknown_tool"),
        ("nobody__echo", "unknown_tool"),
        ("echo", "unknown_tool"),
        ("theirs__echo", "cross_tenant_attempt"),
        ("low__" + "x" * 5000, "unknown_tool"),
    ],
)
def test_a_tool_that_does_not_exist_for_this_caller(
    gateway: Deployment, upstream: Recorder, tool: str, reason: str, modern: bool
) -> None:
    subject = f"tool-{tool[:20]}-{modern}"
    before = len(upstream.calls())
    answer = gateway.call(tool, {}, gateway.token(subject), modern=modern)
    assert (answer.status, answer.json["error"]["code"]) == (200, -32602)
    assert answer.json["error"]["message"] == f"Unknown tool: {tool[:256]}"
    assert (row_of(gateway, subject)["decision"], row_of(gateway, subject)["reason"]) == ("deny", reason)
    assert len(upstream.calls()) == before


def _encoded(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _unsigned(gateway: Deployment, alg: str) -> str:
    header = {"alg": alg, "typ": "at+jwt"}
    claims = msgspec.json.decode(base64.urlsafe_b64decode(gateway.token().split(".")[1] + "=="))
    return f"{_encoded(header)}.{_encoded(claims)}."


def _expired(gateway: Deployment) -> str:
    issuer = LocalIssuer.open(gateway.data, gateway.url)
    return issuer.issue(subject="late", tenant="acme", ttl=60, now=SYSTEM.wall() - 3600)


TOKENS: dict[str, tuple[Callable[[Deployment], list[tuple[str, str]]], str]] = {
    "none": (lambda _: [], "token_missing"),
    "another scheme": (lambda _: [("Authorization", "Basic YTpi")], "token_missing"),
    "expired": (lambda g: [("Authorization", f"Bearer {_expired(g)}")], "token_expired"),
    "alg none": (lambda g: [("Authorization", f"Bearer {_unsigned(g, 'none')}")], "token_unsigned"),
    "alg nOnE": (lambda g: [("Authorization", f"Bearer {_unsigned(g, 'nOnE')}")], "token_unsigned"),
    "no signature": (
        lambda g: [("Authorization", f"Bearer {g.token().rpartition('.')[0]}.")], "token_signature_stripped",
    ),
    "foreign signature": (
        lambda g: [("Authorization", f"Bearer {g.token().rpartition('.')[0]}.{'A' * 86}")], "token_signature",
    ),
    "of another route": (
        lambda g: [("Authorization", f"Bearer {g.token(audience=f'{g.url}/mcp/doomed')}")],
        "resource_mismatch",
    ),
    "not a token": (lambda _: [("Authorization", "Bearer x")], "token_malformed"),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/mcp", "/mcp/low"])
@pytest.mark.parametrize("case", TOKENS)
def test_a_credential_that_does_not_count(
    gateway: Deployment, upstream: Recorder, case: str, path: str
) -> None:
    fields, reason = TOKENS[case]
    before = len(upstream.calls())
    own = [*fields(gateway), ("Content-Type", "application/json")]
    answer = send(gateway, own, message(modern=False), target=path)
    assert answer.status == 401
    assert gateway.recorded("action='token_validate' AND reason=?", reason)[0]["decision"] == "deny"
    assert len(upstream.calls()) == before


def test_the_challenge_says_where_to_get_a_token(gateway: Deployment) -> None:
    answer = gateway.post(message(modern=False), None, path="/mcp/low")
    metadata = f"{gateway.url}/.well-known/oauth-protected-resource/mcp/low"
    assert f'resource_metadata="{metadata}"' in answer.headers["www-authenticate"]
    assert "error=" not in answer.headers["www-authenticate"]
    refused = gateway.post(message(modern=False), "x").headers["www-authenticate"]
    assert 'error="invalid_token"' in refused


def test_a_token_without_the_scope_is_told_which_one(gateway: Deployment, upstream: Recorder) -> None:
    before = len(upstream.calls())
    answer = gateway.call("low__echo", {}, gateway.token("lister", scopes=["mcp.list"]))
    assert answer.status == 403
    assert 'error="insufficient_scope", scope="mcp.call.low"' in answer.headers["www-authenticate"]
    row = row_of(gateway, "lister")
    assert (row["decision"], row["reason"], row["action"]) == ("deny", "scope_missing", "token_validate")
    assert len(upstream.calls()) == before


def test_a_token_in_the_address_is_refused(gateway: Deployment) -> None:
    token = gateway.token()
    answer = send(gateway, bearer(token), message(modern=False), target=f"/mcp?access_token={token}")
    assert answer.status == 400


HEADERS: dict[str, tuple[list[tuple[str, str]], int]] = {
    "version missing": (routing()[1:], -32020),
    "version of another era": ([("MCP-Protocol-Version", "2025-11-25"), *routing()[1:]], -32020),
    "version unknown": ([("MCP-Protocol-Version", "2030-01-01"), *routing()[1:]], -32020),
    "version twice": ([routing()[0], *routing()], -32600),
    "method missing": ([routing()[0], routing()[2]], -32020),
    "method wrong": (routing(method="tools/list"), -32020),
    "method in capitals": (routing(method="TOOLS/CALL"), -32020),
    "method twice": ([*routing(), routing()[1]], -32600),
    "name missing": (routing()[:2], -32020),
    "name wrong": (routing("low__fail"), -32020),
    "name twice": ([*routing(), routing()[2]], -32600),
    "name in broken base64": (routing("=?base64?bG93X19lY2hv!?="), -32020),
    "name in loose base64": (routing("=?base64?bG93X19lY2h?="), -32020),
    "name in wrong base64": (routing("=?base64?bG93X19mYWls?="), -32020),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_disagree_with_the_body(gateway: Deployment, upstream: Recorder, case: str) -> None:
    fields, code = HEADERS[case]
    before = len(upstream.calls())
    subject = f"header-{case}"
    answer = send(gateway, [*bearer(gateway.token(subject)), *fields], message(modern=True))
    assert (answer.status, answer.code) == (400, code)
    if code == -32020:
        assert row_of(gateway, subject)["reason"] == "header_mismatch"
    assert len(upstream.calls()) == before


def test_blanks_around_headers_are_no_part_of_them(gateway: Deployment) -> None:
    fields = [(name, f" {value} \t ") for name, value in routing()]
    assert send(gateway, [*bearer(gateway.token()), *fields], message(modern=True)).status == 200


def test_a_name_in_base64_passes(gateway: Deployment) -> None:
    fields = [*bearer(gateway.token()), *routing("=?base64?bG93X19lY2hv?=")]
    assert send(gateway, fields, message(modern=True)).status == 200


def test_an_unknown_version_in_envelope_and_header_is_told_the_known_ones(gateway: Deployment) -> None:
    body = message(modern=True).replace(MODERN.encode(), b"2030-01-01")
    answer = send(
        gateway, [*bearer(gateway.token()), ("MCP-Protocol-Version", "2030-01-01"), *routing()[1:]], body
    )
    assert (answer.status, answer.code) == (400, -32022)
    assert json.loads(answer.body)["error"]["data"] == {"supported": [MODERN], "requested": "2030-01-01"}


PARAMETERS: dict[str, tuple[list[tuple[str, str]], dict[str, str], int]] = {
    "missing": ([], {"region": "eu"}, -32020),
    "wrong": ([("Mcp-Param-Region", "us")], {"region": "eu"}, -32020),
    "without the argument": ([("Mcp-Param-Region", "eu")], {}, -32020),
    "broken base64": ([("Mcp-Param-Region", "=?base64?*?=")], {"region": "eu"}, -32020),
    "twice": ([("Mcp-Param-Region", "eu")] * 2, {"region": "eu"}, -32600),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_parameter_header_that_disagrees(gateway: Deployment, upstream: Recorder, case: str) -> None:
    fields, arguments, code = PARAMETERS[case]
    before = len(upstream.calls())
    told = f'"arguments":{json.dumps(arguments)}'
    body = message(modern=True, name='"name":"low__routed"', arguments=told)
    answer = send(gateway, [*bearer(gateway.token()), *routing("low__routed"), *fields], body)
    assert (answer.status, answer.code) == (400, code)
    assert len(upstream.calls()) == before


def test_a_parameter_header_is_written_again_for_the_server(gateway: Deployment, upstream: Recorder) -> None:
    told = '"arguments":{"region":"eu-west"}'
    body = message(modern=True, name='"name":"low__routed"', arguments=told)
    encoded = base64.b64encode(b"eu-west").decode()
    fields = [
        *bearer(gateway.token()),
        *routing("low__routed"),
        ("Mcp-Param-Region", f"=?base64?{encoded}?="),
    ]
    assert send(gateway, fields, body).status == 200
    seen = [one for one in upstream.seen if "eu-west" in str(one.body)][-1]
    assert seen.headers["mcp-param-region"] == "eu-west"
    assert seen.headers["mcp-name"] == "routed"


TRANSPORT: dict[str, tuple[dict[str, Any], int]] = {
    "no content type": ({"fields": []}, 415),
    "text": ({"fields": [("Content-Type", "text/plain")]}, 415),
    "other charset": ({"fields": [("Content-Type", "application/json; charset=latin-1")]}, 415),
    "compressed": ({"fields": [("Content-Type", "application/json"), ("Content-Encoding", "gzip")]}, 415),
    "nothing acceptable": ({"fields": [("Content-Type", "application/json"), ("Accept", "text/html")]}, 406),
    "GET": ({"method": "GET"}, 405),
    "HEAD": ({"method": "HEAD"}, 405),
    "PUT": ({"method": "PUT"}, 405),
    "PATCH": ({"method": "PATCH"}, 405),
    "OPTIONS from nowhere": ({"method": "OPTIONS"}, 405),
    "TRACE": ({"method": "TRACE"}, 405),
    "DELETE without a session": ({"method": "DELETE"}, 405),
    "double slash": ({"target": "//mcp"}, 400),
    "trailing slash": ({"target": "/mcp/"}, 400),
    "dots": ({"target": "/mcp/../mcp"}, 400),
    "dots to admin": ({"target": "/live/../admin/policy/status"}, 400),
    "escaped": ({"target": "/mcp%2flow"}, 400),
    "escaped dots": ({"target": "/mcp/..%2fadmin"}, 400),
    "backslash": ({"target": "/mcp%5clow"}, 400),
    "capitals": ({"target": "/MCP"}, 404),
    "below": ({"target": "/mcp/low/echo"}, 404),
    "nothing there": ({"target": "/"}, 404),
    "foreign host": ({"host": False, "fields": [("Host", "evil.test")]}, 421),
    "host with a path": ({"host": False, "fields": [("Host", "x/?")]}, 421),
    "host with a fragment": ({"host": False, "fields": [("Host", "x#")]}, 421),
    "host below ours": ({"host": False, "fields": [("Host", "localhost.evil.test")]}, 421),
    "host with a user": ({"host": False, "fields": [("Host", "localhost:80@evil.test")]}, 421),
    "no host": ({"host": False}, 421),
    "only a forwarded host": ({"host": False, "fields": [("X-Forwarded-Host", "localhost")]}, 421),
    "two hosts": ({"fields": [("Host", "localhost")]}, 421),
    "foreign origin": ({"fields": [("Origin", "http://evil.test")]}, 403),
    "null origin": ({"fields": [("Origin", "null")]}, 403),
    "origin below ours": ({"fields": [("Origin", "http://localhost.evil.test")]}, 403),
    "two origins": ({"fields": [("Origin", "http://localhost")] * 2}, 403),
    "both lengths": ({"fields": [("Transfer-Encoding", "chunked")]}, 400),
    "authorization twice": (
        {"fields": [("Content-Type", "application/json"), *[("Authorization", "Bearer x")] * 2]}, 400,
    ),
    "session twice": (
        {"fields": [("Content-Type", "application/json"), *[("Mcp-Session-Id", "x")] * 2]}, 400,
    ),
    "8 KiB header": ({"fields": [("Content-Type", "application/json"), ("X-Long", "x" * 8200)]}, 431),
    "1 MB session": ({"fields": [("Mcp-Session-Id", "x" * 1_000_000)]}, 431),
}  # fmt: skip


@pytest.mark.parametrize("case", TRANSPORT)
def test_a_request_that_is_wrong_before_anybody_reads_it(
    gateway: Deployment, upstream: Recorder, case: str
) -> None:
    told, status = TRANSPORT[case]
    before = len(upstream.calls())
    token = [] if "authorization" in case else [("Authorization", f"Bearer {gateway.token()}")]
    plain = [("Content-Type", "application/json")] if "Content-Type" not in str(told) else []
    if case == "no content type":
        plain = []
    fields = [*token, *plain, *told.get("fields", [])]
    rest = {name: value for name, value in told.items() if name != "fields"}
    answer = send(gateway, fields, message(modern=False), **rest)
    assert answer.status == status
    assert len(upstream.calls()) == before


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1", "http://[::1]:3000"])
def test_a_page_of_this_machine_may_ask_and_is_told_so(gateway: Deployment, origin: str) -> None:
    preflight = gateway.get("/mcp", {"Origin": origin}, method="OPTIONS")
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == origin
    answer = gateway.post(message(modern=False), gateway.token(), headers={"Origin": origin})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST:9"])
def test_the_names_of_this_machine_are_served(gateway: Deployment, host: str) -> None:
    fields = [("Host", host), *bearer(gateway.token())]
    assert send(gateway, fields, message(modern=False), host=False).status == 200


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/event-stream", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream;q=0, application/json", "application/json"),
    ],
)
def test_the_form_of_the_answer_is_the_one_that_is_accepted(
    gateway: Deployment, accept: str | None, kind: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = gateway.call("low__echo", {"text": "x"}, gateway.token(), headers=headers)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_ten_megabytes_are_refused_and_the_caller_reads_why(
    gateway: Deployment, upstream: Recorder, announced: bool
) -> None:
    before = len(upstream.calls())
    body = message(modern=False, arguments=f'"arguments":{{"text":"{"x" * 10_000_000}"}}')
    if announced:
        answer = gateway.post(body, gateway.token())
        assert (answer.status, answer.json["error"]["code"]) == (413, -32600)
    else:
        with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)) as connection:
            pieces = iter([body[:1_000_000]] * 10)
            connection.request("POST", "/mcp", pieces, dict(bearer(gateway.token())), encode_chunked=True)
            assert connection.getresponse().status == 413
    assert len(upstream.calls()) == before


def test_internal_headers_of_strangers_mean_nothing(gateway: Deployment, upstream: Recorder) -> None:
    tricks = {
        "X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Airlock-Subject": "admin",
        "X-Forwarded-User": "admin", "X-Original-URL": "/admin/policy/status", "Router-Key": "secret-api-key",
        "Mcp-Init-Host": "evil.test", "Cookie": "session=1", "X-Api-Key": "k",
    }  # fmt: skip
    answer = gateway.call("low__echo", {"text": "tricks"}, gateway.token("plain"), headers=tricks)
    assert answer.status == 200
    row = row_of(gateway, "plain")
    assert json.loads(row["metadata"])["source_ip"] == "127.0.0.1"
    seen = next(one for one in upstream.seen if b'"tricks"' in one.body)
    assert not {name.lower() for name in tricks} & set(seen.headers)
    assert "203.0.113.7" not in str(seen.headers)


def opened(gateway: Deployment, token: str, path: str = "/mcp") -> str:
    """The id of a new session."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    answer = gateway.post(body, token, path=path)
    assert answer.status == 200, answer.body
    return answer.headers["mcp-session-id"]


def in_session(gateway: Deployment, token: str, session: str, path: str = "/mcp") -> Heard:
    body = {"jsonrpc": "2.0", "id": "mine", "method": "tools/list"}
    answer = gateway.post(body, token, path=path, headers={"Mcp-Session-Id": session})
    return Heard(answer.status, answer.body)


def test_a_session_belongs_to_who_opened_it(gateway: Deployment) -> None:
    alice = gateway.token("owner")
    session = opened(gateway, alice)
    unknown = in_session(gateway, alice, "not-a-session")
    assert unknown.status == 404
    assert json.loads(unknown.body)["id"] == "mine"
    cases = {
        "thief": (gateway.token("thief"), "/mcp"),
        "owner elsewhere": (gateway.token("owner", tenant="other"), "/mcp"),
        "other route": (alice, "/mcp/low"),
    }
    for token, path in cases.values():
        assert in_session(gateway, token, session, path) == unknown
    assert in_session(gateway, alice, session[:-2] + "xx") == unknown
    for _ in range(6):  # both workers know it
        assert in_session(gateway, alice, session).status == 200
    row = gateway.recorded("subject='thief' AND reason='session_hijack_attempt'")[0]
    assert (row["action"], row["decision"], row["severity"]) == ("session", "deny", "CRITICAL")
    assert gateway.recorded("subject='owner' AND tenant='other'")[0]["reason"] == "session_hijack_attempt"


def test_a_session_takes_any_version_that_has_sessions_and_no_other(gateway: Deployment) -> None:
    token = gateway.token()
    session = opened(gateway, token)
    body = {"jsonrpc": "2.0", "id": "mine", "method": "tools/list"}
    for version, status in (("2025-06-18", 200), ("2030-01-01", 400), (MODERN, 400)):
        headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": version}
        answer = gateway.post(body, token, headers=headers)
        assert (answer.status, answer.json["id"]) == (status, "mine")


def test_a_closed_session_is_gone_on_every_worker(gateway: Deployment) -> None:
    token = gateway.token("closer")
    session = opened(gateway, token)
    header = {"Mcp-Session-Id": session, "Authorization": f"Bearer {token}"}
    foreign = {"Mcp-Session-Id": session, "Authorization": f"Bearer {gateway.token('thief2')}"}
    assert gateway.send("DELETE", "/mcp", None, {"Mcp-Session-Id": session}).status == 401
    assert gateway.send("DELETE", "/mcp", None, foreign).status == 404
    assert gateway.send("DELETE", "/mcp", None, header).status == 204
    assert gateway.send("DELETE", "/mcp", None, header).status == 404
    assert {in_session(gateway, token, session).status for _ in range(8)} == {404}
    assert gateway.recorded("subject='closer' AND reason='session_ended'")
    assert gateway.recorded("subject='closer' AND reason='session_unknown' AND action='session'")


EXPECTED = {
    "hang": (50401, "upstream_timeout"),
    "close": (50301, "upstream_unavailable"),
    "garbage": (50201, "upstream_protocol_error"),
    "status500": (50301, "upstream_unavailable"),
    "wrong_id": (50201, "upstream_protocol_error"),
    "huge": (50201, "upstream_protocol_error"),
}


@pytest.mark.parametrize("era", ["new", "old"])
@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
@pytest.mark.parametrize("kind", MISBEHAVIOUR)
def test_a_server_that_misbehaves(gateway: Deployment, kind: str, modern: bool, era: str) -> None:
    subject = f"server-{era}-{kind}-{modern}"
    name = f"{era}-{kind.replace('_', '-')}"
    headers = {"Accept": "application/json"}
    answer = gateway.call(f"{name}__{kind}", {}, gateway.token(subject), modern=modern, headers=headers)
    code, reason = EXPECTED[kind]
    assert answer.status == 200
    assert (answer.refusal["code"], answer.refusal["effect"]) == (code, "possible")
    assert ("resultType" in answer.json["result"]) is modern
    rows = gateway.recorded("subject=?", subject, count=2)
    assert [(row["phase"], row["decision"]) for row in rows] == [("intent", None), ("outcome", "error")]
    assert rows[1]["reason"] == reason
    assert gateway.call("low__echo", {"text": "still there"}, gateway.token()).status == 200


def test_an_error_of_the_server_is_told_as_its_own(gateway: Deployment) -> None:
    answer = gateway.call("low__rpc_error", {}, gateway.token("asker"))
    assert answer.json["error"] == {"code": -32602, "message": "no such thing"}
    row = row_of(gateway, "asker")
    assert (row["decision"], row["phase"]) == ("allow", "outcome")


def test_a_server_that_dies_takes_nobody_with_it(gateway: Deployment, doomed: Recorder) -> None:
    assert gateway.call("doomed__echo", {"text": "x"}, gateway.token()).status == 200
    doomed.close()
    answer = gateway.call("doomed__echo", {"text": "x"}, gateway.token("mourner"))
    assert answer.refusal["code"] == 50301
    assert "possible" in answer.refusal["effect"] or "none" in answer.refusal["effect"]
    assert gateway.call("low__echo", {"text": "x"}, gateway.token()).status == 200
    assert "low__echo" in gateway.tools(gateway.token())
    assert gateway.get("/ready").status == 200
    assert gateway.recorded("subject='mourner'", count=2)[-1]["decision"] == "error"


def hang_up(gateway: Deployment, upstream: Recorder, subject: str, tool: str, *, modern: bool) -> None:
    """Send a call, wait until the server has it, and leave."""
    marker = f'"arguments":{{"text":"{subject}"}}'
    body = message(modern=modern, name=f'"name":"{tool}"', arguments=marker)
    fields = [*bearer(gateway.token(subject)), *(routing(tool) if modern else [])]
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    with closing(socket.create_connection(("127.0.0.1", gateway.port))) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: heard_of(upstream, subject), what="the call at the server")


def test_a_modern_client_that_leaves_cancels_its_call(gateway: Deployment, upstream: Recorder) -> None:
    before = upstream.left
    hang_up(gateway, upstream, "leaver", "low__hang", modern=True)
    until(lambda: upstream.left > before, within=2.0, what="the cancellation at the server")
    row = row_of(gateway, "leaver")
    assert (row["phase"], row["decision"], row["reason"]) == ("outcome", "error", "client_disconnected")
    assert all(line.startswith("{") for line in gateway.log.read_text().splitlines())


def test_a_legacy_client_that_leaves_does_not(gateway: Deployment, upstream: Recorder) -> None:
    hang_up(gateway, upstream, "old leaver", "low__slow", modern=False)
    row = row_of(gateway, "old leaver")
    assert (row["phase"], row["decision"]) == ("outcome", "allow")


def test_a_call_that_brings_a_doomed_audience_is_bound_to_its_route(gateway: Deployment) -> None:
    token = gateway.token(audience=f"{gateway.url}/mcp/low")
    assert gateway.call("echo", {"text": "x"}, token, path="/mcp/low").status == 200
    assert gateway.call("low__echo", {"text": "x"}, token).status == 401
    assert gateway.call("echo", {"text": "x"}, token, path="/mcp/doomed").status == 401
