"""Every door of a running gateway, tried without a key. What is not in the table does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from airlock.app import connecting
from airlock.app.doors import routes
from airlock.edge.routes import Route
from tests.anything import Anything
from tests.system.deployment import Deployment
from tests.system.recorder import Recorder
from tests.system.wire import send

ANYTHING: Any = Anything()

TABLE: tuple[Route, ...] = routes(
    endpoint=ANYTHING,
    health=ANYTHING,
    metrics=ANYTHING,
    managed=ANYTHING,
    public_url="http://localhost",
    issuers=("http://localhost",),
    logins=connecting.routes(ANYTHING, ANYTHING),
)

DECLARED = {
    ("GET", "/live", "none"),
    ("GET", "/ready", "none"),
    ("GET", "/health", "none"),
    ("GET", "/metrics", "none"),
    ("GET", "/.well-known/oauth-protected-resource", "none"),
    ("GET", "/.well-known/oauth-protected-resource/mcp", "none"),
    ("GET", "/.well-known/oauth-protected-resource/mcp/{server}", "none"),
    ("GET", "/mcp", "bearer"),
    ("POST", "/mcp", "bearer"),
    ("DELETE", "/mcp", "bearer"),
    ("GET", "/mcp/{server}", "bearer"),
    ("POST", "/mcp/{server}", "bearer"),
    ("DELETE", "/mcp/{server}", "bearer"),
    ("GET", "/admin/status", "admin"),
    ("GET", "/admin/caches", "admin"),
    ("GET", "/admin/latency", "admin"),
    ("GET", "/admin/policy/status", "admin"),
    ("POST", "/admin/policy/reload", "admin"),
    ("POST", "/admin/overrides", "admin"),
    ("GET", "/admin/overrides", "admin"),
    ("DELETE", "/admin/overrides/{key}", "admin"),
    ("GET", "/admin/routes", "admin"),
    ("GET", "/api/v1/openapi.json", "admin"),
    ("GET", "/api/v1/alerts", "admin"),
    ("GET", "/api/v1/alerts/{id}", "admin"),
    ("POST", "/api/v1/alerts/{id}/ack", "admin"),
    ("POST", "/api/v1/alerts/{id}/declare", "admin"),
    ("POST", "/api/v1/alerts/{id}/attach", "admin"),
    ("POST", "/api/v1/alerts/{id}/dismiss", "admin"),
    ("POST", "/api/v1/alerts/{id}/suppress", "admin"),
    ("POST", "/api/v1/alerts/alertmanager", "admin"),
    ("GET", "/api/v1/rules", "admin"),
    ("GET", "/api/v1/rules/{id}", "admin"),
    ("PATCH", "/api/v1/rules/{id}", "admin"),
    ("POST", "/api/v1/rules/{id}/backtest", "admin"),
    ("GET", "/api/v1/drills", "admin"),
    ("POST", "/api/v1/drills", "admin"),
    ("GET", "/api/v1/incidents/{id}/comms", "admin"),
    ("POST", "/api/v1/incidents/{id}/comms", "admin"),
    ("POST", "/api/v1/incidents/{id}/comms/{message}/approve", "admin"),
    ("GET", "/api/v1/contacts", "admin"),
    ("GET", "/api/v1/grants", "admin"),
    ("POST", "/api/v1/grants/{id}/end", "admin"),
    ("GET", "/api/v1/incidents/{id}/debt", "admin"),
    ("POST", "/api/v1/incidents/{id}/debt/{item}/waive", "admin"),
    ("GET", "/api/v1/incidents/{id}/evidence", "admin"),
    ("POST", "/api/v1/incidents/{id}/evidence", "admin"),
    ("GET", "/api/v1/evidence/{bundle}", "admin"),
    ("POST", "/api/v1/evidence/{bundle}/seal", "admin"),
    ("GET", "/api/v1/evidence/{bundle}/custody", "admin"),
    ("POST", "/api/v1/evidence/{bundle}/custody", "admin"),
    ("POST", "/admin/security/block", "admin"),
    ("GET", "/admin/security/blocks", "admin"),
    ("DELETE", "/admin/security/blocks/{id}", "admin"),
    ("POST", "/api/v1/leases", "admin"),
    ("GET", "/api/v1/leases", "admin"),
    ("GET", "/api/v1/leases/{id}", "admin"),
    ("GET", "/api/v1/leases/effective", "admin"),
    ("POST", "/api/v1/leases/{id}/extend", "admin"),
    ("POST", "/api/v1/leases/{id}/release", "admin"),
    ("GET", "/api/v1/policy/revisions", "admin"),
    ("POST", "/api/v1/policy/rollback", "admin"),
    ("POST", "/api/v1/proposals", "admin"),
    ("GET", "/api/v1/proposals", "admin"),
    ("GET", "/api/v1/proposals/{id}", "admin"),
    ("POST", "/api/v1/proposals/{id}/dry-run", "admin"),
    ("POST", "/api/v1/proposals/{id}/approve", "admin"),
    ("POST", "/api/v1/proposals/{id}/reject", "admin"),
    ("GET", "/api/v1/playbooks", "admin"),
    ("GET", "/api/v1/playbooks/{id}", "admin"),
    ("GET", "/api/v1/playbooks/{id}/runs", "admin"),
    ("POST", "/api/v1/playbooks/{id}/runs", "admin"),
    ("GET", "/api/v1/runs/{id}", "admin"),
    ("POST", "/api/v1/runs/{id}", "admin"),
    ("POST", "/api/v1/runs/{id}/rollback", "admin"),
    ("POST", "/api/v1/runs/{id}/steps/{step}", "admin"),
    ("PATCH", "/api/v1/servers/{id}", "admin"),
    ("DELETE", "/api/v1/leases/{id}", "admin"),
    ("POST", "/api/v1/incidents", "admin"),
    ("GET", "/api/v1/incidents", "admin"),
    ("GET", "/api/v1/incidents/{id}", "admin"),
    ("PATCH", "/api/v1/incidents/{id}", "admin"),
    ("GET", "/api/v1/incidents/{id}/timeline", "admin"),
    ("GET", "/api/v1/incidents/{id}/notes", "admin"),
    ("POST", "/api/v1/incidents/{id}/notes", "admin"),
    ("POST", "/api/v1/incidents/{id}/acknowledge", "admin"),
    ("POST", "/api/v1/incidents/{id}/declare", "admin"),
    ("POST", "/api/v1/incidents/{id}/identify", "admin"),
    ("POST", "/api/v1/incidents/{id}/mitigate", "admin"),
    ("POST", "/api/v1/incidents/{id}/resolve", "admin"),
    ("POST", "/api/v1/incidents/{id}/verify", "admin"),
    ("POST", "/api/v1/incidents/{id}/watch", "admin"),
    ("GET", "/api/v1/reviews/{incident}/counterfactuals", "admin"),
    ("POST", "/api/v1/reviews/{incident}/counterfactuals", "admin"),
    ("POST", "/api/v1/incidents/{id}/reopen", "admin"),
    ("POST", "/api/v1/incidents/{id}/review", "admin"),
    ("POST", "/api/v1/incidents/{id}/close", "admin"),
    ("POST", "/api/v1/incidents/{id}/cancel", "admin"),
    ("POST", "/api/v1/incidents/{id}/merge", "admin"),
    ("POST", "/api/v1/incidents/{id}/severity", "admin"),
    ("POST", "/api/v1/incidents/{id}/escalate", "admin"),
    ("POST", "/api/v1/incidents/{id}/flags", "admin"),
    ("GET", "/api/v1/incidents/{id}/roles", "admin"),
    ("POST", "/api/v1/incidents/{id}/roles", "admin"),
    ("POST", "/api/v1/incidents/{id}/roles/{role}/renounce", "admin"),
    ("POST", "/api/v1/incidents/{id}/owners", "admin"),
    ("GET", "/api/v1/incidents/{id}/tasks", "admin"),
    ("POST", "/api/v1/incidents/{id}/tasks", "admin"),
    ("POST", "/api/v1/incidents/{id}/tasks/{key}/done", "admin"),
    ("GET", "/api/v1/incidents/{id}/actions", "admin"),
    ("POST", "/api/v1/incidents/{id}/actions", "admin"),
    ("POST", "/api/v1/incidents/{id}/actions/{item}/close", "admin"),
    ("GET", "/api/v1/incidents/{id}/clocks", "admin"),
    ("POST", "/api/v1/incidents/{id}/clocks", "admin"),
    ("POST", "/api/v1/incidents/{id}/clocks/met", "admin"),
    ("GET", "/api/v1/reviews/{id}", "admin"),
    ("POST", "/api/v1/reviews/{id}", "admin"),
    ("GET", "/api/v1/incidents/{id}/files/{name}", "admin"),
    ("GET", "/api/v1/incidents/{id}/exposure", "admin"),
    ("GET", "/api/v1/oauth/client-metadata.json", "none"),
    ("GET", "/api/v1/oauth/connect", "none"),
    ("POST", "/api/v1/oauth/connect", "none"),
    ("GET", "/api/v1/oauth/callback", "none"),
    ("GET", "/api/v1/connections", "bearer"),
    ("DELETE", "/api/v1/connections/{server}", "bearer"),
    ("POST", "/api/v1/connections/-/revoke", "admin"),
}
"""A door that is not here needs a reviewer before it needs a test."""

SEALED = ("/api/v1/oauth/connect", "/api/v1/oauth/callback")
"""Pages that open only with a link, a form or a state of the gateway."""

PATHS = sorted({path for _, path, _ in DECLARED})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Recorder() as upstream:
        servers = [{"name": "low", "transport": "http", "url": upstream.url}]
        with Deployment(tmp_path_factory.mktemp("routes"), servers, workers=1) as deployment:
            yield deployment


def at(path: str, server: str = "low") -> str:
    """The address with its variable parts filled in."""
    return re.sub(r"\{[a-z_]+\}", "nothing", path.replace("{server}", server))


def test_the_table_is_the_reviewed_one() -> None:
    assert {(route.method, route.path, route.auth) for route in TABLE} == DECLARED


@pytest.mark.parametrize("server", ["low", "nobody"])
@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route.method} {route.path}")
def test_a_door_without_a_key(gateway: Deployment, route: Route, server: str) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}' if route.method == "POST" else None
    headers = {"Content-Type": "application/json"} if body else {}
    answer = gateway.send(route.method, at(route.path, server), body, headers)
    public = 400 if route.path in SEALED else 200
    assert answer.status == (public if route.auth == "none" else 401)
    assert ("www-authenticate" in answer.headers) is (route.auth != "none")


def test_the_admins_door_is_closed_to_others(gateway: Deployment) -> None:
    door = "/admin/policy/status"
    for token, status in (
        (gateway.token(), 403),
        (gateway.token(roles=["admin"]), 200),
        (gateway.token(roles=["admin"], audience=f"{gateway.url}/mcp/low"), 401),
        ("x", 401),
    ):
        assert gateway.get(door, {"Authorization": f"Bearer {token}"}).status == status


@pytest.mark.parametrize("path", PATHS)
def test_a_method_that_is_not_in_the_table(gateway: Deployment, path: str) -> None:
    served = {known for known, where, _ in DECLARED if where == path}
    headers = {"Authorization": f"Bearer {gateway.token()}"}
    for method in METHODS:
        if method in served:
            continue
        answer = gateway.send(method, at(path), None, headers)
        assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, served), method


NOWHERE = (
    "/", "/mcpx", "/mcp/low/tools", "/admin", "/admin/policy", "/admin/policy/status/x", "/console",
    "/docs", "/openapi.json", "/api", "/api/v1/servers", "/debug", "/debug/heap", "/static",
    "/favicon.ico",
    "/.well-known", "/.well-known/openid-configuration", "/.well-known/oauth-protected-resource/other",
    "/.well-known/oauth-protected-resource/mcp/low/x", "/.well-known/oauth-authorization-server", "/LIVE",
    "/live.json", "/ready;x", "/sse", "/messages", "/health.",
)  # fmt: skip


@pytest.mark.parametrize("path", NOWHERE)
def test_nothing_else_exists(gateway: Deployment, path: str) -> None:
    headers = {"Authorization": f"Bearer {gateway.token(roles=['admin'])}"}
    for method in ("GET", "POST"):
        assert gateway.send(method, path, None, headers).status == 404


def test_a_websocket_is_not_opened(gateway: Deployment) -> None:
    fields = [("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x"), ("Sec-WebSocket-Version", "13")]
    assert send(gateway, fields, method="GET", length=False).status == 401
    token = ("Authorization", f"Bearer {gateway.token()}")
    assert send(gateway, [*fields, token], method="GET", length=False).status == 405


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/.well-known/oauth-protected-resource", ""),
        ("/.well-known/oauth-protected-resource/mcp", "/mcp"),
        ("/.well-known/oauth-protected-resource/mcp/anything", "/mcp/anything"),
    ],
)
def test_the_metadata_name_the_resource_of_their_address(
    gateway: Deployment, path: str, resource: str
) -> None:
    document: dict[str, Any] = gateway.get(path).json
    assert document["resource"] == gateway.url + resource
    assert document["bearer_methods_supported"] == ["header"]
    assert document["authorization_servers"]


def test_a_name_that_no_server_can_have_has_no_metadata(gateway: Deployment) -> None:
    assert gateway.get("/.well-known/oauth-protected-resource/mcp/No_Server").status == 404
