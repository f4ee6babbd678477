"""What a message says: strict JSON, the era of its sender, its route and the scopes that it needs."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.core.errors import Rejected, Unauthenticated
from airlock.gateway.read import Read
from airlock.gateway.sessions import Sessions
from airlock.model.call import Identified
from tests.gateway.parts import (
    META,
    MODERN,
    NOW,
    HandClock,
    authenticated,
    call_message,
    principal,
    registered,
    sealer,
    snapshot,
)

SESSIONS = Sessions(sealer())
MODERN_HEADERS = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "docs__echo"}


def read(message: object, *, one_shot: bool = True, **caller: Any) -> Identified:
    stage = Read(sessions=SESSIONS, clock=HandClock(), one_shot=one_shot)
    return stage(authenticated(message, **caller))


def refused(message: object, **caller: Any) -> Rejected:
    with pytest.raises(Rejected) as error:
        read(message, **caller)
    return error.value


def request(method: str, params: dict[str, Any] | None = None, id: str | int = "mine") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}


def test_a_single_legacy_request_needs_no_session() -> None:
    found = read(request("tools/list"))
    assert (found.client.modern, found.client.version, found.id) == (False, "2025-03-26", "mine")


def test_a_modern_request_brings_its_version_and_capabilities() -> None:
    meta: dict[str, Any] = {f"{META}protocolVersion": MODERN, f"{META}clientCapabilities": {"sampling": {}}}
    found = read(call_message(_meta=meta), headers=MODERN_HEADERS)
    assert found.client.modern
    assert found.client.capabilities == {"sampling": {}}


def test_a_handshake_is_read_with_its_claims() -> None:
    info = {"name": "c", "version": "1"}
    params: dict[str, Any] = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info}
    found = read(request("initialize", params))
    assert (found.client.version, found.client.info) == ("2025-06-18", info)


def test_in_a_session_its_version_counts() -> None:
    text, sid = SESSIONS.mint(authenticated(), "2025-06-18", NOW)
    found = read(request("tools/list"), headers={"mcp-session-id": text})
    assert (found.client.version, found.client.session) == ("2025-06-18", sid)


def test_in_a_session_the_negotiated_version_counts_whichever_one_is_named() -> None:
    text, _ = SESSIONS.mint(authenticated(), "2025-06-18", NOW)
    found = read(
        request("tools/list"), headers={"mcp-session-id": text, "mcp-protocol-version": "2025-03-26"}
    )
    assert found.client.version == "2025-06-18"


def test_in_a_session_a_version_without_sessions_is_refused() -> None:
    text, _ = SESSIONS.mint(authenticated(), "2025-06-18", NOW)
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": "asked", "result": {}}
    error = refused(answer, headers={"mcp-session-id": text, "mcp-protocol-version": "2026-07-28"})
    assert (error.http, error.reason) == (400, "session_version_mismatch")


def test_params_in_a_session_are_checked_once_the_session_is_known() -> None:
    text, _ = SESSIONS.mint(authenticated(), "2025-06-18", NOW)
    error = refused(request("tools/call", {"name": 5}), headers={"mcp-session-id": text})
    assert (error.http, error.code, error.request_id) == (200, -32602, "mine")


def test_an_unknown_session_is_refused_with_the_id_of_the_request() -> None:
    error = refused(request("tools/list"), headers={"mcp-session-id": "x"})
    assert (error.http, error.request_id) == (404, "mine")


def test_one_shot_requests_can_be_switched_off() -> None:
    with pytest.raises(Rejected) as error:
        read(request("tools/list"), one_shot=False)
    assert (error.value.reason, error.value.request_id) == ("initialize_first", "mine")


def test_a_response_of_a_client_belongs_to_its_session_and_needs_no_scope() -> None:
    text, sid = SESSIONS.mint(authenticated(), "2025-06-18", NOW, can=0b100)
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "result": {}}
    found = read(body, headers={"mcp-session-id": text})
    assert (found.client.session, found.client.capabilities) == (sid, {"sampling": {}})
    assert (found.message.method, found.message.params, found.id) == ("", {}, None)
    assert refused(body).reason == "unexpected_response"


def test_a_request_without_an_id_is_no_notification() -> None:
    text, _ = SESSIONS.mint(authenticated(), "2025-06-18", NOW)
    body = {"jsonrpc": "2.0", "method": "tools/list"}
    error = refused(body, headers={"mcp-session-id": text})
    assert (error.http, error.reason) == (400, "id_missing")


def test_a_notification_is_read() -> None:
    text, _ = SESSIONS.mint(authenticated(), "2025-06-18", NOW)
    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert read(body, headers={"mcp-session-id": text}).id is None


@pytest.mark.parametrize(
    ("server", "reason"), [("nobody", "server_unknown"), ("theirs", "cross_tenant_attempt")]
)
def test_a_route_that_the_tenant_does_not_have_is_no_method(server: str, reason: str) -> None:
    at = snapshot(registered(), registered("theirs", tenant="other"))
    error = refused(request("tools/list"), server=server, at=at)
    assert (error.http, error.code, error.reason, error.request_id) == (404, -32601, reason, "mine")


@pytest.mark.parametrize(
    ("method", "scopes"),
    [("tools/call", ("mcp.call.docs",)), ("tools/list", ("mcp.list",))],
)
def test_a_token_without_the_scope_is_told_all_that_it_needs(method: str, scopes: tuple[str, ...]) -> None:
    params: dict[str, Any] = call_message()["params"] if method == "tools/call" else {}
    with pytest.raises(Unauthenticated) as error:
        read(request(method, params), who=principal(scopes=()))
    assert (error.value.http, error.value.scopes) == (403, scopes)


def test_a_search_for_tools_needs_what_a_list_needs() -> None:
    asked = request("tools/call", {"name": "airlock__find_tools", "arguments": {"query": "notes"}})
    assert read(asked, who=principal(scopes=("mcp.list",))).message.method == "tools/call"


def test_a_scope_for_one_server_opens_that_server() -> None:
    assert read(call_message(), who=principal(scopes=("mcp.call.docs",))).message.method == "tools/call"


@pytest.mark.parametrize(
    ("auth", "provider_scopes", "served"),
    [("oidc", True, False), ("oidc", False, True), ("local", False, False), ("login", False, False)],
)
def test_only_providers_may_be_excused_from_scopes(auth: str, provider_scopes: bool, served: bool) -> None:
    stage = Read(sessions=SESSIONS, clock=HandClock(), one_shot=True, provider_scopes=provider_scopes)
    caller = authenticated(call_message(), who=principal(scopes=(), auth=auth))
    if served:
        assert stage(caller).id == 1
    else:
        with pytest.raises(Unauthenticated):
            stage(caller)
