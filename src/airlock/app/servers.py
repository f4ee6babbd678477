"""Wiring: the servers behind the gateway, how each is reached, and who watches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.app import linking, responders
from airlock.app.linking import Linking, Seal
from airlock.app.responders import Responders
from airlock.core.clock import Clock
from airlock.core.config import Config, ServerEntry
from airlock.core.sealed import Sealer
from airlock.gateway import echo
from airlock.gateway.forward import Upstream
from airlock.gateway.watch import Drifted, Watch
from airlock.incident.regulation import known
from airlock.model.server import PinState
from airlock.model.snapshot import Current
from airlock.store import pins
from airlock.store.database import Store
from airlock.upstream import credentials
from airlock.upstream.breaker import Gate
from airlock.upstream.frames import Event as RunnerEvent
from airlock.upstream.holding import Holder
from airlock.upstream.http import HttpUpstream
from airlock.upstream.legacy import CHANGED
from airlock.upstream.personal import Personal
from airlock.upstream.stdio import StdioUpstream
from airlock.upstream.stdio_link import RunnerLink

Heard = Callable[[str, str, str, dict[str, Any]], None]
"""Hears (server, session of a legacy client or empty, method, params) of what belongs to no call."""


def runner_socket(config: Config) -> Path:
    """Where the runner of stdio servers listens for workers."""
    return Path(config.data_dir) / "run" / "runner.sock"


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
        self,
        *,
        link: RunnerLink,
        environ: Mapping[str, str],
        own: Mapping[str, Upstream],
        heard: Heard,
        holder: Holder,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`own` are servers inside of the gateway, `holder` has the credentials of people."""
        self._holder = holder
        self._heard = heard
        self._link = link
        self._own = own
        self._environ = environ
        self._clock = clock
        self._log = log

    def __call__(self, entry: ServerEntry) -> Upstream:
        if entry.name in self._own:
            return self._own[entry.name]
        if entry.transport == "stdio":
            gate = Gate(clock=self._clock)
            told = partial(self._heard, entry.name)
            return StdioUpstream(
                name=entry.name,
                link=self._link,
                gate=gate,
                clock=self._clock,
                isolation=entry.isolation,
                told=told,
            )
        told = partial(self._heard, entry.name)
        if entry.credential is not None and entry.credential.mode != "static":
            grantor = credentials.load_grantor(entry, self._environ, warn=self._warn)
            return Personal(
                entry=entry,
                grantor=grantor,
                holder=self._holder,
                clock=self._clock,
                logger=self._log,
                told=told,
            )
        credential = credentials.load(entry, self._environ, warn=self._warn)
        return HttpUpstream(
            entry=entry, credential=credential, clock=self._clock, logger=self._log, told=told
        )

    def _warn(self, text: str) -> None:
        self._log.warning("config_warning", text=text)


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """The servers of one worker."""

    link: RunnerLink
    linking: Linking
    watch: Watch
    upstreams: dict[str, Upstream]
    updated: list[Callable[[str, str, dict[str, Any]], None]]
    """Called with (server, session, params) where a server says that a resource has changed."""


def wire(
    *,
    config: Config,
    environ: Mapping[str, str],
    current: Current,
    store: Store,
    sealer: Sealer,
    seal: Seal,
    drifted: Drifted,
    clock: Clock,
    log: FilteringBoundLogger,
) -> Servers:
    """Nothing is connected yet: `watch` does that when it runs."""
    upstreams: dict[str, Upstream] = {echo.NAME: echo.Echo()}
    watch: Watch

    def event(happened: RunnerEvent) -> None:
        if happened.event != "updated":
            watch.wake(happened.server)
        elif isinstance(upstream := upstreams.get(happened.server), StdioUpstream):
            upstream.updated(happened.uri, happened.owner)

    updated: list[Callable[[str, str, dict[str, Any]], None]] = []

    def heard(server: str, session: str, method: str, params: dict[str, Any]) -> None:
        if method in CHANGED:
            watch.wake(server)
            return
        for tell in updated:
            tell(server, session, params)

    own = Responders(store=store, law=lambda: known(config.incident.regulations_file), clock=clock)

    def news(server: str) -> None:
        watch.wake(server)

    logins = linking.wire(
        config=config,
        sealer=sealer,
        store=store,
        seal=seal,
        news=news,
        clock=clock,
    )
    link = RunnerLink(path=runner_socket(config), clock=clock, on_event=event)
    watch = Watch(
        current=current,
        upstreams=upstreams,
        connect=Connector(
            link=link,
            environ=environ,
            own={responders.NAME: own},
            heard=heard,
            holder=logins.holder,
            clock=clock,
            log=log,
        ),
        pins=Pins(store=store, clock=clock),
        drifted=drifted,
        clock=clock,
        log=log,
    )
    return Servers(link=link, linking=logins, watch=watch, upstreams=upstreams, updated=updated)
