"""The composition root: from a configuration to the parts of a gateway worker, wired once.

The only module that names concrete classes. Nothing starts here: `worker` runs what this returns.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

import airlock
from airlock.api.health import HealthApi
from airlock.api.policy import PolicyApi, World
from airlock.audit.occurrences import Facts
from airlock.audit.writer import Writer
from airlock.core import sealed
from airlock.core.clock import Clock
from airlock.core.config import Config, ServerEntry
from airlock.edge.doors import Doors
from airlock.edge.endpoint import Endpoint
from airlock.edge.problems import Problems
from airlock.edge.routes import Application, Route
from airlock.edge.wellknown import well_known
from airlock.gateway.admit import Admit
from airlock.gateway.answer import Answers
from airlock.gateway.authenticate import Authenticate
from airlock.gateway.authorize import Authorize
from airlock.gateway.forward import Forward, Upstream
from airlock.gateway.live import Live
from airlock.gateway.pipeline import Pipeline
from airlock.gateway.read import Read
from airlock.gateway.record import Record
from airlock.gateway.redact import redact_request, redact_response
from airlock.gateway.resolve import resolve
from airlock.gateway.sessions import EndSession, Sessions
from airlock.gateway.strangers import Strangers
from airlock.gateway.watch import Drifted, Watch
from airlock.identity import local, resources
from airlock.identity.tokens import Verifier, bearer
from airlock.model.health import Health
from airlock.model.http import HttpRequest
from airlock.model.principal import Principal
from airlock.model.server import PinState, Registry
from airlock.model.snapshot import Current, Keys, Snapshot
from airlock.policy.bundle import Bundle
from airlock.policy.embedded import EmbeddedEngine
from airlock.store import pins, revocations
from airlock.store import sessions as ended
from airlock.store.database import FILE, Store, open_store
from airlock.upstream import credentials
from airlock.upstream.breaker import Gate
from airlock.upstream.frames import Event as RunnerEvent
from airlock.upstream.http import HttpUpstream
from airlock.upstream.stdio import StdioUpstream
from airlock.upstream.stdio_link import RunnerLink


class Gateway(msgspec.Struct, kw_only=True):
    """The parts of one worker that its life cycle touches."""

    config: Config
    application: Application
    current: Current
    authorize: Authorize
    record: Record
    watch: Watch
    strangers: Strangers
    live: Live
    link: RunnerLink
    store: Store
    health: Health
    health_api: HealthApi
    world: World
    upstreams: dict[str, Upstream]


def runner_socket(config: Config) -> Path:
    """Where the runner of stdio servers listens for workers."""
    return Path(config.data_dir) / "run" / "runner.sock"


def facts(config: Config, digest: str) -> Facts:
    """What the log says of the program that writes it."""
    return Facts(
        origin=config.audit.origin,
        host=socket.gethostname(),
        version=airlock.__version__,
        configuration_digest=digest,
    )


def engine(bundle: Bundle, *, clock: Clock, log: FilteringBoundLogger) -> EmbeddedEngine:
    """The policy engine of this thread; an evaluation that took too long is said."""

    def slow(seconds: float) -> None:
        log.warning("policy_slow", revision=bundle.revision, ms=round(seconds * 1000, 1))

    return EmbeddedEngine(bundle, clock=clock, on_slow=slow)


class Pins:
    """The pins in the store, as the watch of one worker asks for them. Everything configured is local."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def observe(
        self, server: str, tenant: str, tools: Mapping[str, tuple[str, dict[str, Any]]]
    ) -> Mapping[str, PinState]:
        return pins.observe(
            self._store, server=server, tenant=tenant, tools=tools, pin_new=True, now=self._clock.wall()
        )


class Connector:
    """How a configured server is reached."""

    def __init__(
        self, *, link: RunnerLink, environ: Mapping[str, str], clock: Clock, log: FilteringBoundLogger
    ) -> None:
        self._link = link
        self._environ = environ
        self._clock = clock
        self._log = log

    def __call__(self, entry: ServerEntry) -> Upstream:
        if entry.transport == "stdio":
            gate = Gate(clock=self._clock)
            return StdioUpstream(name=entry.name, link=self._link, gate=gate, clock=self._clock)
        credential = credentials.load(entry, self._environ, warn=self._warn)
        return HttpUpstream(entry=entry, credential=credential, clock=self._clock, logger=self._log)

    def _warn(self, text: str) -> None:
        self._log.warning("config_warning", text=text)


def compose(
    *,
    config: Config,
    bundle: Bundle,
    writer: Writer,
    environ: Mapping[str, str],
    drifted: Drifted,
    clock: Clock,
    log: FilteringBoundLogger,
) -> Gateway:
    """Wire the parts of a worker. Called on the event loop's thread: the policy engine belongs to it."""
    data, public = Path(config.data_dir), config.server.public_url
    sealer, store = sealed.load_or_create_keys(data), open_store(data / FILE)
    for expired in (revocations.prune, ended.prune):
        expired(store, now=clock.wall())
    issuers = [local.trust(public)] if config.auth.local_issuer else []
    keys = local.LocalIssuer.open(data, public).keys() if config.auth.local_issuer else Keys()
    authorize = Authorize(engine=engine(bundle, clock=clock, log=log), clock=clock)
    current = Current(
        Snapshot(
            registry=Registry(servers={}),
            policy_revision=bundle.revision,
            keys=keys,
            revocations=revocations.load(store, now=clock.wall()),
        )
    )
    health, world, live = Health(components={}), World(), Live()
    verifier = Verifier(issuers=issuers)
    authenticate = Authenticate(current=current, verifier=verifier, clock=clock, public_url=public)
    strangers = Strangers(log=writer, clock=clock)
    record = Record(
        log=writer,
        strangers=strangers,
        clock=clock,
        sealer=sealer,
        intent=config.audit.intent,
        inputs=config.audit.inputs,
        all_requests=config.logging.audit_all_requests,
    )
    upstreams: dict[str, Upstream] = {}
    watch: Watch

    def event(happened: RunnerEvent) -> None:
        watch.wake(happened.server)

    link = RunnerLink(path=runner_socket(config), clock=clock, on_event=event)
    watch = Watch(
        current=current,
        upstreams=upstreams,
        connect=Connector(link=link, environ=environ, clock=clock, log=log),
        pins=Pins(store=store, clock=clock),
        drifted=drifted,
        clock=clock,
        log=log,
    )
    sessions = Sessions(sealer)
    problems = Problems(public_url=public, conceal=authorize.conceal, clock=clock, log=log)
    tokens = itertools.count(1)
    pipeline = Pipeline(
        authenticate=authenticate,
        read=Read(sessions=sessions, clock=clock, one_shot=config.legacy.one_shot),
        resolve=resolve,
        admit=Admit(),
        authorize=authorize,
        redact_request=redact_request(clock, lambda: f"p{next(tokens)}"),
        forward=Forward(current=current, upstreams=upstreams, live=live, clock=clock, stale=watch.wake),
        redact_response=redact_response,
        record=record,
        answer=Answers(visible=authorize.visible, sessions=sessions, record=record, clock=clock),
        explain=problems.explain,
    )

    async def end(sid: str, expires_at: float) -> bool:
        return await asyncio.to_thread(ended.end, store, sid=sid, expires_at=expires_at)

    endpoint = Endpoint(
        govern=pipeline.govern,
        end_session=EndSession(
            authenticate=authenticate,
            sessions=sessions,
            end=end,
            record=record,
            explain=problems.explain,
            clock=clock,
        ),
        explain=problems.explain,
        why_closed=lambda: health.why_not(besides="audit"),
        known=authenticate.accepts,
        clock=clock,
        max_body=config.server.max_body,
    )

    def identify(request: HttpRequest) -> Principal:
        snapshot = current.get()
        return verifier.verify(
            bearer(request.authorization),
            audience=resources.accepted(public),
            keys=snapshot.keys,
            revocations=snapshot.revocations,
            now=clock.wall(),
        )

    health_api = HealthApi(health=health, clock=clock)
    policy_api = PolicyApi(
        world=world, active=lambda: authorize.engine.revision, identify=identify, public_url=public
    )
    known = tuple(issuer.identifier for issuer in issuers)
    application = Application(
        routes=routes(endpoint, health_api, policy_api, public, known),
        doors=Doors(
            host=config.server.host,
            public_url=public,
            hosts=config.server.allowed_hosts,
            origins=config.server.allowed_origins,
        ),
        explain=problems.explain,
        log=log,
    )
    return Gateway(
        config=config,
        application=application,
        current=current,
        authorize=authorize,
        record=record,
        watch=watch,
        upstreams=upstreams,
        strangers=strangers,
        live=live,
        link=link,
        store=store,
        health=health,
        health_api=health_api,
        world=world,
    )


def routes(
    endpoint: Endpoint, health: HealthApi, policy: PolicyApi, public_url: str, issuers: tuple[str, ...]
) -> tuple[Route, ...]:
    """Every door of a worker. What is not here does not exist."""
    documents = well_known(public_url=public_url, issuers=issuers)
    prefix = resources.WELL_KNOWN
    return (
        Route(method="GET", path="/live", auth="none", handler=health.live),
        Route(method="GET", path="/ready", auth="none", handler=health.ready),
        Route(method="GET", path="/health", auth="none", handler=health.health),
        Route(method="GET", path=prefix, auth="none", handler=documents),
        Route(method="GET", path=f"{prefix}/mcp", auth="none", handler=documents),
        Route(method="GET", path=f"{prefix}/mcp/{{server}}", auth="none", handler=documents),
        Route(method="POST", path="/mcp", auth="bearer", raw=endpoint.post),
        Route(method="DELETE", path="/mcp", auth="bearer", raw=endpoint.delete),
        Route(method="POST", path="/mcp/{server}", auth="bearer", raw=endpoint.post),
        Route(method="DELETE", path="/mcp/{server}", auth="bearer", raw=endpoint.delete),
        Route(method="GET", path="/admin/policy/status", auth="admin", handler=policy.status),
    )
