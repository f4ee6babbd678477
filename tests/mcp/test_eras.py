"""Classification of single messages, with the official SDK as second opinion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared import inbound as sdk

from airlock.core.errors import Rejected
from airlock.mcp.eras import (
    Initialize,
    InSession,
    Modern,
    OneShot,
    check_param_headers,
    check_version,
    classify,
    negotiate,
)
from airlock.mcp.headers import Headers, param_headers, render_param_headers
from airlock.mcp.jsonrpc import ClientResponse, Message, Notification, Request

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
NOW = "2026-07-28"
ENVELOPE: dict[str, Any] = {VERSION: NOW, CAPABILITIES: {}}
HELLO: dict[str, Any] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"roots": {}},
    "clientInfo": {"name": "agent", "version": "1"},
}


def fields(values: dict[str, str | None]) -> Headers:
    return Headers([(name.encode(), value.encode()) for name, value in values.items() if value is not None])


def routed(method: str, name: str | None = None, version: str | None = NOW) -> dict[str, str | None]:
    return {"mcp-protocol-version": version, "mcp-method": method, "mcp-name": name}


def call(name: str = "cheap", meta: Any = ENVELOPE) -> Request:
    return Request("r1", "tools/call", {"name": name, "_meta": meta})


def rejection(message: Message, headers: dict[str, str | None], **options: bool) -> Rejected:
    with pytest.raises(Rejected) as caught:
        classify(message, fields(headers), **options)
    return caught.value


def code(message: Message, headers: dict[str, str | None]) -> tuple[int, int]:
    rejected = rejection(message, headers)
    return rejected.http, rejected.code


def test_a_modern_call_brings_its_claims() -> None:
    meta: dict[str, Any] = {
        **ENVELOPE,
        CAPABILITIES: {"sampling": {}},
        CLIENT_INFO: {"name": "a"},
        LOG_LEVEL: "info",
    }
    era = classify(call(meta=meta), fields(routed("tools/call", "cheap")))
    assert era == Modern(NOW, {"sampling": {}}, {"name": "a"}, "info")


def test_e6_a_session_id_is_ignored_in_the_modern_era() -> None:
    headers = {**routed("tools/call", "cheap"), "mcp-session-id": "s"}
    assert classify(call(), fields(headers)) == Modern(NOW, {})


def test_h9_an_encoded_name_is_compared_decoded() -> None:
    headers = fields(routed("tools/call", "=?base64?w6k=?="))
    assert classify(call("é"), headers) == Modern(NOW, {})


@pytest.mark.parametrize(
    "meta",
    [
        None,
        7,
        {},
        {VERSION: NOW},
        {CAPABILITIES: {}},
        {**ENVELOPE, VERSION: 7},
        {**ENVELOPE, CAPABILITIES: []},
        {**ENVELOPE, CLIENT_INFO: "agent"},
        {**ENVELOPE, LOG_LEVEL: "loud"},
        {**ENVELOPE, LOG_LEVEL: []},
    ],
)
def test_ladder_3_an_incomplete_envelope_is_32602(meta: Any) -> None:
    assert code(call(meta=meta), routed("tools/call", "cheap")) == (400, -32602)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        routed("tools/call", "cheap", None),
        routed("tools/call", "cheap", "2025-11-25"),
        routed("tools/list", "cheap"),
        {**routed("", "cheap"), "mcp-method": None},
        routed("tools/call"),
        routed("tools/call", "Cheap"),
        routed("tools/call", "=?base64?!!!!?="),
        routed("tools/call", "=?base64?eA=?="),
    ],
)
def test_xd6_headers_that_disagree_are_32020(headers: dict[str, str | None]) -> None:
    assert code(call(), headers) == (400, -32020)


def test_ladder_4_a_name_only_in_the_header_is_32020() -> None:
    message = Request(1, "tools/call", {"_meta": ENVELOPE})
    assert code(message, routed("tools/call", "cheap")) == (400, -32020)


def test_ladder_7_a_call_without_any_name_is_32602() -> None:
    message = Request(1, "tools/call", {"_meta": ENVELOPE})
    assert code(message, routed("tools/call")) == (400, -32602)


@pytest.mark.parametrize("version", ["2025-11-25", "2024-11-05", "2027-01-01", "", "2026-07-28x"])
def test_e2_other_versions_are_32022_with_what_is_supported(version: str) -> None:
    meta = {**ENVELOPE, VERSION: version}
    rejected = rejection(call(meta=meta), routed("tools/call", "cheap", version))
    assert (rejected.http, rejected.code) == (400, -32022)
    assert rejected.data == {"supported": ["2026-07-28"], "requested": version}


def test_a_header_with_an_unknown_version_alone_is_modern() -> None:
    assert code(Request(1, "ping", {}), {"mcp-protocol-version": "1999-01-01"}) == (400, -32602)


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "tasks/get", "tools/call\n"]
)
def test_ladder_6_methods_of_other_eras_are_404(method: str) -> None:
    assert code(Request(1, method, {"_meta": ENVELOPE}), routed(method)) == (404, -32601)


def test_every_rejection_carries_the_id() -> None:
    assert rejection(call(), {}).request_id == "r1"


def test_a_modern_notification_needs_no_envelope() -> None:
    message = Notification("notifications/cancelled", {"requestId": 1})
    assert classify(message, fields(routed("notifications/cancelled"))) == Modern(NOW, {})


@pytest.mark.parametrize(
    ("params", "headers", "expected"),
    [
        ({"_meta": {VERSION: "2027-01-01"}}, {"mcp-protocol-version": NOW}, -32020),
        ({"_meta": {VERSION: NOW}}, {}, -32020),
        ({}, routed("notifications/other"), -32020),
        ({}, {"mcp-protocol-version": "2027-01-01"}, -32022),
        ({"_meta": {"progressToken": []}}, {"mcp-protocol-version": NOW}, -32602),
    ],
)
def test_a_modern_notification_must_agree_with_itself(
    params: dict[str, Any], headers: dict[str, str | None], expected: int
) -> None:
    rejected = rejection(Notification("notifications/x", params), headers)
    assert (rejected.code, rejected.request_id) == (expected, None)


def test_initialize_negotiates() -> None:
    era = classify(Request(1, "initialize", HELLO), fields({"mcp-session-id": "old"}))
    assert era == Initialize("2025-06-18", {"roots": {}}, {"name": "agent", "version": "1"})


def test_a_malformed_initialize_is_32602() -> None:
    assert code(Request(1, "initialize", {}), {}) == (400, -32602)


@pytest.mark.parametrize(
    ("requested", "answered"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("2026-07-28", "2025-11-25"),
        ("2025-12-01", "2025-11-25"),
        ("", "2025-11-25"),
    ],
)
def test_e1_versions_are_enumerated_not_ordered(requested: str, answered: str) -> None:
    assert negotiate(requested) == answered


@pytest.mark.parametrize(
    "message", [Request(1, "nope", {}), Notification("notifications/initialized", {}), ClientResponse(1)]
)
def test_a_session_id_makes_it_in_session(message: Message) -> None:
    headers = fields({"mcp-session-id": "s", "mcp-protocol-version": "2025-11-25"})
    assert classify(message, headers) == InSession("s", "2025-11-25")


@pytest.mark.parametrize("version", [None, "2025-11-25", "2025-03-26"])
def test_a_version_with_sessions_or_none_passes_in_session(version: str | None) -> None:
    check_version(InSession("s", version))


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-26", ""])
def test_another_version_in_session_is_400(version: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_version(InSession("s", version))
    assert (caught.value.http, caught.value.code) == (400, -32600)


def test_a_client_response_without_session_is_refused() -> None:
    assert code(ClientResponse("x", result={}), {}) == (400, -32600)


@pytest.mark.parametrize(("header", "version"), [(None, "2025-03-26"), ("2025-11-25", "2025-11-25")])
def test_e5_a_single_list_needs_no_handshake(header: str | None, version: str) -> None:
    message = Request("recovery-test", "tools/list", {})
    assert classify(message, fields({"mcp-protocol-version": header})) == OneShot(version)


@pytest.mark.parametrize(
    "message",
    [
        Request(1, "logging/setLevel", {}),
        Request(1, "nope", {}),
        Notification("notifications/initialized", {}),
        Notification("initialize", HELLO),
        Notification("tools/list", {}),
    ],
)
def test_e5_other_methods_must_initialize_first(message: Message) -> None:
    rejected = rejection(message, {})
    assert (rejected.http, rejected.code, rejected.reason) == (400, -32600, "initialize_first")


def test_e5_one_shot_can_be_switched_off() -> None:
    assert rejection(Request(1, "tools/list", {}), {}, one_shot=False).reason == "initialize_first"


def test_h11_a_malformed_one_shot_call_is_answered_200() -> None:
    assert code(Request(1, "tools/call", {}), {}) == (200, -32602)


METHODS = st.sampled_from(["tools/call", "tools/list", "prompts/get", "resources/read", "server/discover"])
NAMES = st.sampled_from(["a", "A", "é", "=?base64?YQ==?=", "=?base64?x?=", "=?base64?w6k=?="])
VERSIONS = st.sampled_from([NOW, "2025-11-25", "2027-01-01"])
NOTHING: dict[str, Any] = {}
ENVELOPES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {VERSION: VERSIONS}, optional={CAPABILITIES: st.just(NOTHING)}
)
ROUTING = st.fixed_dictionaries(
    {},
    optional={
        "mcp-protocol-version": VERSIONS,
        "mcp-method": METHODS,
        "mcp-name": NAMES.filter(str.isascii),
    },
)


@settings(max_examples=200, deadline=None)
@given(method=METHODS, meta=ENVELOPES, name=NAMES, uri=NAMES, sent=ROUTING)
def test_the_ladder_agrees_with_the_sdk(
    *, method: str, meta: dict[str, Any], name: str, uri: str, sent: dict[str, str]
) -> None:
    params = {"name": name, "uri": uri, "_meta": meta}
    message = Request(1, method, params)
    verdict = sdk.classify_inbound_request({"method": method, "params": params}, headers=sent)
    if isinstance(verdict, sdk.InboundLadderRejection):
        assert code(message, dict(sent))[1] == verdict.code
    else:
        assert classify(message, fields(dict(sent))) == Modern(verdict.protocol_version, {})


@settings(max_examples=100, deadline=None)
@given(method=METHODS, name=NAMES, encode=st.booleans())
def test_the_ladder_accepts_what_the_sdk_accepts(*, method: str, name: str, encode: bool) -> None:
    params = {"name": name, "uri": name, "_meta": ENVELOPE}
    mirrored = sdk.encode_header_value(name) if encode or not name.isascii() else name
    sent = {"mcp-protocol-version": NOW, "mcp-method": method, "mcp-name": mirrored}
    verdict = sdk.classify_inbound_request({"method": method, "params": params}, headers=sent)
    try:
        agreed = classify(Request(1, method, params), fields(dict(sent))) == Modern(NOW, {})
    except Rejected:
        agreed = False
    assert agreed == isinstance(verdict, sdk.InboundModernRoute)


PLACE = {"type": "object", "properties": {"line": {"type": "integer", "x-mcp-header": "Line"}}}
SCHEMA: dict[str, Any] = {
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "at": PLACE,
        "dry": {"type": "boolean", "x-mcp-header": "Dry"},
    }
}
DECLARED = param_headers(SCHEMA)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from(["eu", " eu", "é", "", "42"]) | st.none() | st.just([]),
        "at": st.fixed_dictionaries({"line": st.sampled_from([42, 42.0, -1, 0, 2**62, None, 1e16])})
        | st.just(7),
        "dry": st.booleans() | st.none(),
    },
)
SENT = st.fixed_dictionaries(
    {},
    optional={
        "mcp-param-region": st.sampled_from(["eu", "=?base64?IGV1?=", "=?base64?w6k=?=", "=?base64?!?=", ""]),
        "mcp-param-line": st.sampled_from(["42", "42.0", "42.00", "042", "4.2e1", "-1", "-0", "0", str(2**62),
                                           "10000000000000000"]),
        "mcp-param-dry": st.sampled_from(["true", "false", "True", "1"]),
        "mcp-param-other": st.just("x"),
    },
)  # fmt: skip


def agrees(arguments: dict[str, Any], sent: dict[str, str]) -> bool:
    try:
        check_param_headers(DECLARED, arguments, fields(dict(sent)))
    except Rejected as rejected:
        assert (rejected.http, rejected.code) == (400, -32020)
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(ARGUMENTS, SENT)
def test_ladder_7_mirrored_arguments_are_compared_as_by_the_sdk(
    arguments: dict[str, Any], sent: dict[str, str]
) -> None:
    assert agrees(arguments, sent) == (sdk.validate_mcp_param_headers(SCHEMA, arguments, sent) is None)


@settings(max_examples=100, deadline=None)
@given(ARGUMENTS)
def test_ladder_7_what_we_write_we_accept(arguments: dict[str, Any]) -> None:
    sent = {name.lower(): value for name, value in render_param_headers(DECLARED, arguments)}
    assert agrees(arguments, sent)


def test_ladder_7_a_tool_without_declarations_compares_nothing() -> None:
    check_param_headers((), {"a": 1}, fields({"mcp-param-a": "2"}))
