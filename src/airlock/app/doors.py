"""Wiring: every door of a worker, by the part that answers."""

from __future__ import annotations

import asyncio

from structlog.typing import FilteringBoundLogger

from airlock.api.connect import SignedIn
from airlock.api.health import HealthApi
from airlock.api.metrics import MetricsApi
from airlock.api.policy import World
from airlock.app import connecting, metering
from airlock.app.callers import Callers
from airlock.app.connecting import Announced
from airlock.app.containment import Containment, in_turn
from airlock.app.management import Management, listed, management
from airlock.app.management import routes as management_routes
from airlock.app.monitoring import Monitoring
from airlock.app.peers import Peers
from airlock.app.permissions import permissions
from airlock.app.reloads import Reloading
from airlock.app.tuning import Tuning
from airlock.app.way import Way
from airlock.audit.writer import Writer
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.sealed import Sealer
from airlock.edge.clients import Clients
from airlock.edge.doors import Doors
from airlock.edge.endpoint import Endpoint
from airlock.edge.routes import Application, Route
from airlock.edge.wellknown import well_known
from airlock.gateway.crowd import Crowd
from airlock.gateway.rates import Rates
from airlock.gateway.sessions import EndSession
from airlock.identity import resources
from airlock.model.health import Health
from airlock.store import sessions as ended
from airlock.store.database import Store
from airlock.upstream.linking import Links


def wire(
    *,
    config: Config,
    sealer: Sealer,
    store: Store,
    links: Links,
    writer: Writer,
    who: Callers,
    way: Way,
    containment: Containment,
    rates: Rates,
    crowd: Crowd,
    monitoring: Monitoring,
    tuning: Tuning,
    reloading: Reloading,
    health: Health,
    health_api: HealthApi,
    metrics: MetricsApi,
    world: World,
    peers: Peers,
    clock: Clock,
    log: FilteringBoundLogger,
) -> Application:
    """What answers every request of a worker: MCP, management, logins, health, metadata."""

    async def end(sid: str, expires_at: float) -> bool:
        over = await asyncio.to_thread(ended.end, store, sid=sid, expires_at=expires_at)
        await way.held.attending.ended(sid)
        return over

    endpoint = Endpoint(
        govern=monitoring.govern,
        end_session=metering.counted(
            EndSession(
                authenticate=who.authenticate,
                sessions=way.sessions,
                end=end,
                record=way.record,
                explain=way.explain,
                clock=clock,
            )
        ),
        explain=metering.refused(way.explain),
        why_closed=lambda: health.why_not(besides=("audit", "policy")),
        introduce=who.authenticate.introduce,
        known=who.authenticate.accepts,
        listening=way.held.listening,
        streams=way.held.streams,
        clock=clock,
        max_body=config.server.max_body,
    )
    announced = Announced(links, containment.changed)
    managed = management(
        config=config,
        store=store,
        world=world,
        peers=peers,
        current=who.current,
        active=lambda: way.authorize.engine.revision,
        authenticate=who.authenticate.patiently,
        allowed=permissions(engine=lambda: way.authorize.engine, clock=clock),
        containment=containment,
        tuning=tuning,
        reloading=reloading,
        connections=connecting.connections(announced, way.tickets, who.current),
        strangers=way.strangers,
        writer=writer,
        clock=clock,
        log=log,
    )
    signed_in = SignedIn(sealer=sealer, clock=clock)
    logins = who.login.doors(
        current=who.current,
        providers=who.providers,
        strangers=way.strangers,
        writer=writer,
        authenticate=who.authenticate.patiently,
        person=connecting.person(signed_in, config.server.public_url),
        log=log,
    )
    connects = connecting.doors(
        config=config,
        links=announced,
        tickets=way.tickets,
        current=who.current,
        authenticate=who.authenticate.patiently,
        permit=containment.administrator,
        sign_in=who.login.sign_in,
        signed_in=signed_in,
        sealer=sealer,
        strangers=way.strangers,
        writer=writer,
        clock=clock,
        log=log,
    )
    return Application(
        routes=routes(
            endpoint=endpoint,
            health=health_api,
            metrics=metrics,
            managed=managed,
            logins=(*logins, *connects),
            public_url=config.server.public_url,
            issuers=who.issuers,
        ),
        doors=Doors(
            host=config.server.host,
            public_url=config.server.public_url,
            hosts=config.server.allowed_hosts,
            origins=config.server.allowed_origins,
        ),
        clients=Clients(config.server.trusted_proxies),
        admit=in_turn(containment.address, rates.address, crowd.address),
        turned_away=way.strangers.turned_away,
        explain=way.explain,
        log=log,
    )


def routes(
    *,
    endpoint: Endpoint,
    health: HealthApi,
    metrics: MetricsApi,
    managed: Management,
    public_url: str,
    issuers: tuple[str, ...],
    logins: tuple[Route, ...] = (),
) -> tuple[Route, ...]:
    """Every door of a worker. What is not here does not exist."""
    documents = well_known(public_url=public_url, issuers=issuers)
    prefix = resources.WELL_KNOWN
    table = (
        Route(method="GET", path="/live", auth="none", handler=health.live),
        Route(method="GET", path="/ready", auth="none", handler=health.ready),
        Route(method="GET", path="/health", auth="none", handler=health.health),
        Route(method="GET", path="/metrics", auth="none", handler=metrics.metrics),
        Route(method="GET", path=prefix, auth="none", handler=documents),
        Route(method="GET", path=f"{prefix}/mcp", auth="none", handler=documents),
        Route(method="GET", path=f"{prefix}/mcp/{{server}}", auth="none", handler=documents),
        Route(method="GET", path="/mcp", auth="bearer", raw=endpoint.get),
        Route(method="GET", path="/mcp/{server}", auth="bearer", raw=endpoint.get),
        Route(method="POST", path="/mcp", auth="bearer", raw=endpoint.post),
        Route(method="DELETE", path="/mcp", auth="bearer", raw=endpoint.delete),
        Route(method="POST", path="/mcp/{server}", auth="bearer", raw=endpoint.post),
        Route(method="DELETE", path="/mcp/{server}", auth="bearer", raw=endpoint.delete),
        *logins,
        *management_routes(managed),
    )
    return (*table, listed(managed.door, table))
