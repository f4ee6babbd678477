"""From a configuration to the parts of a gateway worker, wired once.

Nothing starts here: `worker` runs what this returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.api.health import HealthApi
from airlock.api.metrics import MetricsApi
from airlock.api.policy import World
from airlock.app import callers, doors, servers, way
from airlock.app.containment import Containment
from airlock.app.detected import Reading
from airlock.app.facts import metrics_directory
from airlock.app.identity import Providers
from airlock.app.insight import Insight
from airlock.app.limits import limits
from airlock.app.loosening import Loosened
from airlock.app.metering import Metering
from airlock.app.monitoring import Monitoring
from airlock.app.peers import Peers
from airlock.app.reloads import Reloading
from airlock.app.tls import Certificates, follow_certificates
from airlock.app.tuning import Tuning
from airlock.audit.writer import Writer
from airlock.core import metrics, sealed
from airlock.core.clock import Clock
from airlock.core.config import Config, PolicySection
from airlock.core.counters import Shared
from airlock.edge.routes import Application
from airlock.gateway.authorize import Authorize, Engine
from airlock.gateway.crowd import Crowd
from airlock.gateway.forward import Upstream
from airlock.gateway.kept import Streams
from airlock.gateway.listens import Listens
from airlock.gateway.live import Live
from airlock.gateway.observe import Observe
from airlock.gateway.rates import request_ends
from airlock.gateway.record import Record
from airlock.gateway.strangers import Strangers
from airlock.gateway.watch import Drifted, Watch
from airlock.model.health import Health
from airlock.model.snapshot import Current
from airlock.policy.bundle import Bundle
from airlock.policy.cache import DecisionCache
from airlock.policy.embedded import EmbeddedEngine
from airlock.store.changes import GRANTS, LEASES, VAULT
from airlock.store.database import FILE, Store, open_store
from airlock.upstream.stdio_link import RunnerLink

Background = Callable[[], Coroutine[Any, Any, None]]
"""Work that runs as long as the worker serves. An exception ends the worker."""

Follower = Callable[[], Awaitable[None]]
"""Takes over what other processes changed in one part of the store."""

Reloaded = Callable[[Config], None]
"""Takes over a configuration that the supervisor has validated. Called on the event loop; does not block."""


class Gateway(msgspec.Struct, kw_only=True):
    """The parts of one worker that its life cycle touches."""

    config: Config
    application: Application
    current: Current
    authorize: Authorize
    observe: Observe
    record: Record
    watch: Watch
    strangers: Strangers
    live: Live
    streams: Streams
    listens: Listens
    link: RunnerLink
    store: Store
    tls: Certificates | None
    health: Health
    providers: Providers
    health_api: HealthApi
    insight: Insight
    world: World
    upstreams: dict[str, Upstream]
    background: list[Background]
    followers: dict[str, Follower]
    reloaded: list[Reloaded]
    reloading: Reloading
    tuning: Tuning
    """The configuration in force: that of `reloaded`, with what leases hold."""
    loosened: Loosened
    changed: asyncio.Event
    """Set by whoever changed the store here: every worker is to look at it."""


def engine(bundle: Bundle, settings: PolicySection, *, clock: Clock, log: FilteringBoundLogger) -> Engine:
    """The policy engine of this thread, behind a cache where what the policy reads is proved and
    `policy.cache_ttl` is not 0. An evaluation that took too long is said."""

    def slow(seconds: float) -> None:
        log.warning("policy_slow", revision=bundle.revision, ms=round(seconds * 1000, 1))

    embedded = EmbeddedEngine(bundle, clock=clock, on_slow=slow)
    if embedded.footprint.doubts or not settings.cache_ttl:
        return embedded
    return DecisionCache(
        embedded,
        paths=embedded.footprint.paths,
        ttl=settings.cache_ttl,
        size=settings.cache_size,
        clock=clock,
        counted=metrics.decision_cached,
    )


def compose(
    *,
    config: Config,
    bundle: Bundle,
    writer: Writer,
    environ: Mapping[str, str],
    drifted: Drifted,
    counts: Shared,
    slot: int,
    clock: Clock,
    log: FilteringBoundLogger,
) -> Gateway:
    """Wire the parts of a worker. Called on the event loop's thread: the policy engine belongs to it.

    1 the control data, and whose tokens count
    2 the servers, and what holds them and callers back
    3 the way of a call
    4 the doors
    """
    data = Path(config.data_dir)
    sealer, store = sealed.load_or_create_keys(data), open_store(data / FILE)  # 1
    who = callers.wire(
        config=config,
        revision=bundle.revision,
        sealer=sealer,
        store=store,
        writer=writer,
        clock=clock,
        log=log,
    )
    current, health, world, live = who.current, Health(components={}), World(), Live()
    behind = servers.wire(  # 2
        config=config,
        environ=environ,
        current=current,
        store=store,
        sealer=sealer,
        seal=writer.seal,
        drifted=drifted,
        clock=clock,
        log=log,
    )
    tuning = Tuning(config=config, current=current, clock=clock, log=log)
    containment = Containment(
        store=store,
        current=current,
        live=live,
        writer=writer,
        replica=writer.chain_uid,
        enforced=tuning.follow,
        clock=clock,
        log=log,
    )
    rates = limits(config=config, counts=counts, current=current, clock=clock)
    crowd = Crowd(section=config.server, when_done=request_ends)
    observe = Observe(config, clock=clock)
    peers = Peers()
    stages = way.wire(  # 3
        config=config,
        engine=engine(bundle, config.policy, clock=clock, log=log),
        sealer=sealer,
        writer=writer,
        who=who,
        behind=behind,
        contain=containment.contain,
        live=live,
        rates=rates,
        observe=observe,
        slot=slot,
        peers=peers,
        clock=clock,
        log=log,
    )

    background: list[Background] = [
        containment.run,
        who.providers.run,
        stages.record.floods.run,
        stages.beside.parks.run,
        stages.held.attending.run,
    ]
    if config.tracing.endpoint:
        from airlock.app import traces  # what it needs is loaded where it is used

        stages, sending = traces.follow(stages, config.tracing, clock=clock, log=log)
        background.append(sending)
    loosened = Loosened(store=store, current=current, clock=clock)
    background.append(loosened.run)
    followers: dict[str, Follower] = {
        LEASES: containment.follow,
        GRANTS: loosened.follow,
        VAULT: behind.linking.holder.follow,
    }
    reloaded: list[Reloaded] = [observe.take_over]
    reloaded += [stages.secrets.reload, stages.answers.reload, stages.decoys, stages.denials]

    reading = Reading(store=store, clock=clock)
    metering = Metering(
        writer=writer,
        world=world,
        active=lambda: stages.authorize.engine.revision,
        detected=reading.now,
        clock=clock,
    )
    insight = Insight(
        engine=lambda: stages.authorize.engine,
        verifier=who.verifier,
        hand_over=metering.look,
        peers=peers,
        clock=clock,
    )
    peers.answers["cut"] = live.told
    background += [metering.run, insight.run, reading.run]

    monitoring = Monitoring(stages.pipeline, config=config, clock=clock, log=log)
    tuning.tell(
        monitoring.take_over,
        lambda config: rates.configure(config.rate_limiting),
        lambda config: crowd.configure(config.server),
    )

    tls = follow_certificates(config.server.tls, log)
    if tls is not None:
        background.append(tls.follow)
        reloaded.append(lambda _: tls.look_now())

    health_api, reloading = HealthApi(health=health, clock=clock), Reloading()
    application = doors.wire(  # 4
        config=config,
        sealer=sealer,
        links=behind.linking.links,
        store=store,
        writer=writer,
        who=who,
        way=stages,
        containment=containment,
        rates=rates,
        crowd=crowd,
        monitoring=monitoring,
        tuning=tuning,
        reloading=reloading,
        health=health,
        health_api=health_api,
        metrics=MetricsApi(
            directory=metrics_directory(data),
            clock=clock,
            look=metering.look,
            allow=config.server.metrics_allow,
        ),
        world=world,
        peers=peers,
        clock=clock,
        log=log,
    )
    return Gateway(
        config=config,
        application=application,
        current=current,
        authorize=stages.authorize,
        observe=observe,
        record=stages.record,
        watch=behind.watch,
        upstreams=behind.upstreams,
        strangers=stages.strangers,
        live=live,
        streams=stages.held.streams,
        listens=stages.beside.listens,
        link=behind.link,
        store=store,
        tls=tls,
        health=health,
        providers=who.providers,
        health_api=health_api,
        insight=insight,
        world=world,
        background=background,
        followers=followers,
        reloaded=reloaded,
        reloading=reloading,
        tuning=tuning,
        loosened=loosened,
        changed=containment.changed,
    )
