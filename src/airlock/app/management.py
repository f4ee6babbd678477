"""The management API of a worker: its door, and what is behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from airlock.api.blocks import BlocksApi
from airlock.api.door import BODY, Door, Guarded
from airlock.api.inventory import InventoryApi, Listed
from airlock.api.leases import LeasesApi
from airlock.api.leasing import Leasing
from airlock.api.overrides import OverridesApi
from airlock.api.policy import PolicyApi, World
from airlock.api.reload import ReloadApi
from airlock.api.replicas import ReplicasApi
from airlock.api.status import StatusApi
from airlock.app.containment import Containment
from airlock.app.peers import Peers
from airlock.app.reloads import Reloading
from airlock.app.tuning import Tuning
from airlock.core import ids, metrics
from airlock.core.clock import SYSTEM, Clock
from airlock.core.config import Config
from airlock.core.errors import Refused, Unauthenticated
from airlock.edge.routes import Route
from airlock.gateway.strangers import Strangers
from airlock.mcp.headers import Headers
from airlock.model.call import Authenticated, Inbound
from airlock.model.entry import Event, Personal, Receipt
from airlock.model.http import HttpRequest
from airlock.model.principal import Principal
from airlock.model.snapshot import Current
from airlock.store import replicas
from airlock.store.database import Store


class Management(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind the door, and the door."""

    door: Door
    policy: PolicyApi
    blocks: BlocksApi
    leases: LeasesApi
    overrides: OverridesApi
    status: StatusApi | None = None
    replicas: ReplicasApi | None = None
    reload: ReloadApi | None = None
    """All None where no gateway runs that they could tell of."""


class Log(Protocol):
    """The writer of the audit log. Raises `AuditFault` where it cannot write."""

    async def seal(self, event: Event) -> Receipt: ...


class Logger(Protocol):
    def warning(self, event: str, **fields: object) -> object: ...


class Turned:
    """Whoever the door turned away is in the log: strangers counted by network, known callers one by one."""

    def __init__(self, *, strangers: Strangers, writer: Log, log: Logger) -> None:
        self._strangers = strangers
        self._writer = writer
        self._log = log

    async def __call__(self, request: HttpRequest, principal: Principal | None, why: Refused) -> None:
        """Record it. Raises `AuditFault`."""
        correlation = ids.uuid7()
        event = "auth_failure" if isinstance(why, Unauthenticated) else "security_violation"
        self._log.warning(
            event,
            correlation_id=correlation,
            stage=why.stage.value,
            reason=why.reason,
            code=why.code,
            source_ip=request.source_ip,
        )
        if principal is None:
            metrics.auth_failed(why.reason)
            await self._strangers.refused(inbound(request), why)
        else:
            await self._writer.seal(_event(request, principal, why, correlation))


def inbound(request: HttpRequest) -> Inbound:
    """A request of the management API as the stage that authenticates takes it: its token, and no body."""
    token = request.authorization
    return Inbound(
        request_id=ids.uuid7(),
        route=request.path,
        server="",
        headers=Headers(() if token is None else ((b"authorization", token.encode("latin-1")),)),
        body=b"",
        source_ip=request.source_ip,
        source_port=0,
        received=SYSTEM.monotonic(),
    )


def management(
    *,
    config: Config,
    store: Store,
    world: World,
    peers: Peers,
    current: Current,
    active: Callable[[], str],
    authenticate: Callable[[Inbound], Awaitable[Authenticated]],
    containment: Containment,
    tuning: Tuning,
    reloading: Reloading,
    strangers: Strangers,
    writer: Log,
    clock: Clock,
    log: Logger,
) -> Management:
    """The management API of a running worker. `active` gives the policy revision that it decides by."""

    async def identify(request: HttpRequest) -> Authenticated:
        return await authenticate(inbound(request))

    def permit(caller: Authenticated) -> None:
        containment.administrator(caller.principal, caller.inbound.source_ip)

    guard = Door(
        identify=identify,
        permit=permit,
        turned=Turned(strangers=strangers, writer=writer, log=log),
        public_url=config.server.public_url,
    )
    leasing = Leasing(
        store=store, trusted_proxies=config.server.trusted_proxies, look=containment.look, clock=clock
    )
    overrides = OverridesApi(
        leasing=leasing, base=lambda: tuning.base, overlay=lambda: world.overlay, clock=clock
    )
    policy = PolicyApi(world=world, active=active, living=lambda: replicas.living(store, now=clock.wall()))
    parts = behind(guard, leasing, policy, overrides, clock)
    status = StatusApi(world=world, store=store, current=current, clock=clock)
    return msgspec.structs.replace(
        parts,
        status=status,
        replicas=ReplicasApi(ask=peers.ask, workers=config.server.workers),
        reload=ReloadApi(reload=reloading, world=world),
    )


def behind(
    guard: Door, leasing: Leasing, policy: PolicyApi, overrides: OverridesApi, clock: Clock
) -> Management:
    """What stands behind this door."""
    return Management(
        door=guard,
        policy=policy,
        blocks=BlocksApi(leasing=leasing, clock=clock),
        leases=LeasesApi(leasing=leasing, clock=clock),
        overrides=overrides,
    )


def routes(parts: Management) -> tuple[Route, ...]:
    """Every address of the management API; each handler is behind the door."""

    def route(method: str, path: str, handle: Guarded) -> Route:
        body = BODY if method in {"POST", "DELETE"} else 0
        return Route(method=method, path=path, auth="admin", handler=parts.door.guard(handle), max_body=body)

    status = () if parts.status is None else (route("GET", "/admin/status", parts.status.status),)
    if parts.replicas is not None:
        status += (
            route("GET", "/admin/caches", parts.replicas.caches),
            route("GET", "/admin/latency", parts.replicas.latency),
        )
    if parts.reload is not None:
        status += (route("POST", "/admin/policy/reload", parts.reload.reload),)
    return (
        *status,
        route("GET", "/admin/policy/status", parts.policy.status),
        route("POST", "/admin/security/block", parts.blocks.add),
        route("GET", "/admin/security/blocks", parts.blocks.list),
        route("DELETE", "/admin/security/blocks/{id}", parts.blocks.remove),
        route("POST", "/admin/overrides", parts.overrides.set),
        route("GET", "/admin/overrides", parts.overrides.list),
        route("DELETE", "/admin/overrides/{key}", parts.overrides.remove),
        route("POST", "/api/v1/leases", parts.leases.give),
        route("GET", "/api/v1/leases", parts.leases.list),
        route("GET", "/api/v1/leases/{id}", parts.leases.show),
        route("DELETE", "/api/v1/leases/{id}", parts.leases.release),
    )


def inventory(door: Door, table: tuple[Route, ...]) -> Route:
    """The address that lists every door: those of the table, and itself."""
    itself = Listed(method="GET", path="/admin/routes", auth="admin")
    doors = tuple(Listed(method=route.method, path=route.path, auth=route.auth) for route in table)
    handler = door.guard(InventoryApi((*doors, itself)).routes)
    return Route(method="GET", path=itself.path, auth="admin", handler=handler)


def _event(request: HttpRequest, principal: Principal, why: Refused, correlation: str) -> Event:
    escalation = why.reason == "admin_role_required"
    return Event(
        event_type="admin",
        action="privilege_escalation_attempt" if escalation else "admin_call",
        request_id=correlation,
        correlation_id=correlation,
        tenant=principal.tenant,
        identity={"auth": principal.auth, "roles": list(principal.roles)},
        decision="deny",
        reason=why.reason,
        severity="HIGH" if escalation else "MEDIUM",
        metadata={"method": request.method},
        personal=Personal(
            issuer=principal.issuer,
            subject=principal.subject,
            actor=principal.actor,
            source_ip=request.source_ip,
            token_id=principal.token_id,
        ),
    )
