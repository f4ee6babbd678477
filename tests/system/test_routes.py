"""Every door of a running gateway, tried without a key. What is not in the table does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, cast

import msgspec
import pytest

from airlock.api.door import Door
from airlock.api.health import HealthApi
from airlock.api.leasing import Leasing
from airlock.api.metrics import MetricsApi
from airlock.api.overrides import OverridesApi
from airlock.api.policy import PolicyApi, World
from airlock.api.reload import ReloadApi
from airlock.api.status import StatusApi
from airlock.app.doors import routes
from airlock.app.management import behind
from airlock.core.clock import SYSTEM
from airlock.core.config import Config
from airlock.edge.endpoint import Endpoint
from airlock.edge.routes import Route
from airlock.model.health import Health
from airlock.model.snapshot import Current
from airlock.store.database import Store
from tests.system.deployment import Deployment
from tests.system.recorder import Recorder
from tests.system.wire import send


def _nobody(*_: object) -> NoReturn:
    raise AssertionError("only the table is looked at")


async def _nothing(*_: object) -> NoReturn:
    _nobody()


TABLE: tuple[Route, ...] = routes(
    endpoint=Endpoint(
        govern=_nothing,
        end_session=_nothing,
        explain=_nobody,
        why_closed=str,
        introduce=_nothing,
        known=lambda _: True,
        clock=SYSTEM,
        max_body=1024,
    ),
    health=HealthApi(health=Health(components={}), clock=SYSTEM),
    metrics=MetricsApi(directory=None, clock=SYSTEM),
    managed=msgspec.structs.replace(
        behind(
            Door(identify=_nothing, permit=_nobody, turned=_nothing, public_url="http://localhost"),
            cast("Leasing", None),
            PolicyApi(world=World(), active=str),
            OverridesApi(leasing=cast("Leasing", None), base=Config, overlay=lambda: None, clock=SYSTEM),
            SYSTEM,
        ),
        status=StatusApi(
            world=World(), store=cast("Store", None), current=cast("Current", None), clock=SYSTEM
        ),
        reload=ReloadApi(reload=_nothing, world=World()),
    ),
    public_url="http://localhost",
    issuers=("http://localhost",),
)

DECLARED = {
    ("GET", "/live", "none"),
    ("GET", "/ready", "none"),
    ("GET", "/health", "none"),
    ("GET", "/metrics", "none"),
    ("GET", "/.well-known/oauth-protected-resource", "none"),
    ("GET", "/.well-known/oauth-protected-resource/mcp", "none"),
    ("GET", "/.well-known/oauth-protected-resource/mcp/{server}", "none"),
    ("POST", "/mcp", "bearer"),
    ("DELETE", "/mcp", "bearer"),
    ("POST", "/mcp/{server}", "bearer"),
    ("DELETE", "/mcp/{server}", "bearer"),
    ("GET", "/admin/status", "admin"),
    ("GET", "/admin/policy/status", "admin"),
    ("POST", "/admin/policy/reload", "admin"),
    ("POST", "/admin/overrides", "admin"),
    ("GET", "/admin/overrides", "admin"),
    ("DELETE", "/admin/overrides/{key}", "admin"),
    ("GET", "/admin/routes", "admin"),
    ("POST", "/admin/security/block", "admin"),
    ("GET", "/admin/security/blocks", "admin"),
    ("DELETE", "/admin/security/blocks/{id}", "admin"),
    ("POST", "/api/v1/leases", "admin"),
    ("GET", "/api/v1/leases", "admin"),
    ("GET", "/api/v1/leases/{id}", "admin"),
    ("DELETE", "/api/v1/leases/{id}", "admin"),
}
"""A door that is not here needs a reviewer before it needs a test."""

PATHS = sorted({path for _, path, _ in DECLARED})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Recorder() as upstream:
        servers = [{"name": "low", "transport": "http", "url": upstream.url}]
        with Deployment(tmp_path_factory.mktemp("routes"), servers, workers=1) as deployment:
            yield deployment


def at(path: str, server: str = "low") -> str:
    return path.replace("{server}", server).replace("{id}", "nothing").replace("{key}", "nothing")


def test_the_table_is_the_reviewed_one() -> None:
    assert {(route.method, route.path, route.auth) for route in TABLE} == DECLARED


@pytest.mark.parametrize("server", ["low", "nobody"])
@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route.method} {route.path}")
def test_a_door_without_a_key(gateway: Deployment, route: Route, server: str) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}' if route.method == "POST" else None
    headers = {"Content-Type": "application/json"} if body else {}
    answer = gateway.send(route.method, at(route.path, server), body, headers)
    assert answer.status == (200 if route.auth == "none" else 401)
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


CLOSED = [
    (method, path)
    for path in PATHS
    for method in METHODS
    if not any(method == known and path == where for known, where, _ in DECLARED)
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_a_method_that_is_not_in_the_table(gateway: Deployment, method: str, path: str) -> None:
    answer = gateway.send(method, at(path), None, {"Authorization": f"Bearer {gateway.token()}"})
    assert answer.status == 405
    served = {known for known, where, _ in DECLARED if where == path}
    assert set(answer.headers["allow"].split(", ")) == served


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
    assert send(gateway, fields, method="GET", length=False).status == 405


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
