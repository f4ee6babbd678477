"""Keeps the registry part of the snapshot true: one task per server reads what it offers and compares it
with the pins.

One dead or slow server delays nobody else: each has its own task, its own back-off, and keeps its last
good catalog for a day while it is down. A changed definition is never served: pins are compared before
the catalog is swapped in.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.config import ServerEntry
from airlock.core.errors import ConfigError, Fault, Stage
from airlock.gateway import catalog
from airlock.gateway.forward import Upstream
from airlock.model.server import PinState, RegisteredServer, Registry
from airlock.model.snapshot import Current
from airlock.model.upstream import Offer

BACKOFF_LEAST, BACKOFF_MOST = 0.5, 30.0
"""Seconds between two attempts to read a server that failed."""

BREATH = 0.1
"""Seconds between two readings at least: a server may say without end that its list changed."""

MAX_DRIFT = 10_000
"""Changed definitions remembered as said; a server that changes for ever is said again, not remembered."""

CALM_LEAST, CALM_MOST = 1.0, 60.0
"""Seconds between two readings, doubling, of a server that showed a new definition each time: every one is
compiled, compared and recorded, and a server can make them up without end."""

MAX_JUDGED = 50_000
"""Definitions whose defects are remembered; the oldest go first."""

MAX_SAID = 20
"""Names of changed tools in one line of the log."""

LAST_GOOD = 24 * 3600.0
"""Seconds for which a catalog is served after its server went away (F-7)."""


class Pins(Protocol):
    """What operators approved. Called in a thread."""

    def observe(
        self, server: str, tenant: str, tools: Mapping[str, tuple[str, dict[str, Any]]]
    ) -> Mapping[str, PinState]: ...


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


Drifted = Callable[[ServerEntry, tuple[tuple[str, str], ...]], None]
"""Called with a server and (tool, digest) of all definitions that one reading showed for the first time and
that are not the pinned ones."""


class Watch:
    """The watchers of one worker. `upstreams` is shared with the forward stage and changed only here."""

    def __init__(
        self,
        *,
        current: Current,
        upstreams: dict[str, Upstream],
        connect: Callable[[ServerEntry], Upstream],
        pins: Pins,
        drifted: Drifted,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._current = current
        self._upstreams = upstreams
        self._connect = connect
        self._pins = pins
        self._drifted = drifted
        self._clock = clock
        self._log = log
        self._wake: dict[str, asyncio.Event] = {}
        self._urge: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._entries: dict[str, ServerEntry] = {}
        self._known_drift: set[tuple[str, str, str]] = set()
        self._defects: dict[str, str] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self, entries: tuple[ServerEntry, ...]) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.configure(entries)
            await asyncio.get_running_loop().create_future()  # a group without tasks would be over

    def configure(self, entries: tuple[ServerEntry, ...]) -> None:
        """Take over a new list of servers: start, stop and restart only what differs."""
        wanted = {entry.name: entry for entry in entries}
        for name in [name for name, entry in self._entries.items() if wanted.get(name) != entry]:
            self._stop(name)
        registry = self._current.get().registry
        servers = {name: server for name, server in registry.servers.items() if name in self._entries}
        for name, entry in wanted.items():
            if name not in self._entries:
                servers[name] = RegisteredServer(entry=entry)
                self._start(entry)
        self._swap(servers)

    def wake(self, server: str) -> None:
        """Read the server again soon: it said that its list changed."""
        if server in self._wake:
            self._wake[server].set()

    async def reread(self, server: str, within: float = 5.0) -> None:
        """Read the server again, and wait until that is done or has failed, at most so many seconds."""
        before, deadline = self._current.get().registry.servers.get(server), self._clock.monotonic() + within
        self.wake(server)
        while self._clock.monotonic() < deadline:
            if self._current.get().registry.servers.get(server) is not before:
                return
            await asyncio.sleep(0.02)

    def wake_all(self, *, decided: bool = True) -> None:
        """Read every server again: at once if an operator decided something, which no server can delay."""
        for name, event in self._wake.items():
            if decided:
                self._urge[name].set()
            event.set()

    async def warm(self, within: float) -> None:
        """Wait until every server was read once, at most `within` seconds."""
        deadline = self._clock.monotonic() + within
        while self._clock.monotonic() < deadline:
            servers = self._current.get().registry.servers.values()
            if all(server.state != "cold" for server in servers):
                return
            await asyncio.sleep(0.02)

    def _start(self, entry: ServerEntry) -> None:
        if self._group is None:
            raise RuntimeError("not running")
        self._wake[entry.name], self._urge[entry.name] = asyncio.Event(), asyncio.Event()
        self._entries[entry.name] = entry
        self._tasks[entry.name] = self._group.create_task(self._watch(entry))

    def _stop(self, name: str) -> None:
        del self._entries[name], self._wake[name], self._urge[name]
        self._upstreams.pop(name, None)
        self._tasks.pop(name).cancel()

    async def _watch(self, entry: ServerEntry) -> None:
        wake, urge = self._wake[entry.name], self._urge[entry.name]
        pause, calm = BACKOFF_LEAST, 0.0
        upstream: Upstream | None = None
        try:
            while True:
                wake.clear()
                urge.clear()
                try:
                    upstream = upstream or self._reach(entry)
                    wait, news = await self._read(entry, upstream)
                    pause = BACKOFF_LEAST
                    calm = min(max(calm * 2, CALM_LEAST), CALM_MOST) if news else 0.0
                except Fault as fault:
                    self._failed(entry, fault)
                    wait, pause = pause * jitter(), min(pause * 2, BACKOFF_MOST)
                await asyncio.sleep(BREATH)
                await _set_within(urge, calm)
                await _set_within(wake, wait - calm)
        finally:
            if upstream is not None:
                await upstream.close()

    def _reach(self, entry: ServerEntry) -> Upstream:
        try:
            upstream = self._upstreams[entry.name] = self._connect(entry)
        except ConfigError as error:
            text = "The server is not configured properly."
            raise Fault(Stage.FORWARD, 50301, "misconfigured", text, detail=str(error)) from error
        return upstream

    async def _read(self, entry: ServerEntry, upstream: Upstream) -> tuple[float, bool]:
        """Returns the seconds that the offer may be kept, and whether it was something new."""
        try:
            return await self._take_over(entry, await upstream.describe())
        except (Fault, asyncio.CancelledError):
            raise
        except Exception as defect:  # what one server says of itself must not end the worker of all
            text = "Airlock cannot read what the server offers."
            detail = f"{type(defect).__name__}: {defect}"
            raise Fault(Stage.FORWARD, -32603, "internal_error", text, detail=detail) from defect

    async def _take_over(self, entry: ServerEntry, offer: Offer) -> tuple[float, bool]:
        offered = await asyncio.to_thread(catalog.definitions, offer)
        pins = await asyncio.to_thread(self._pins.observe, entry.name, entry.tenant, offered)
        drifted = self._compare(entry, offered, pins)
        # In a thread: compiling some thousand schemas takes as long as some hundred calls.
        defects = await asyncio.to_thread(catalog.judged, offered, self._defects)
        unseen = remember(self._defects, defects)
        now = self._clock.monotonic()
        found = await asyncio.to_thread(catalog.build, entry, offer, pins, now, defects)
        before = self._current.get().registry.servers.get(entry.name)
        if before is None or before.entry is not entry:
            return offer.ttl, False
        if before.state != "ready":
            self._log.info("upstream_ready", server=entry.name, era=offer.era, tools=len(found.tools))
            for method, detail in offer.left_out.items():
                self._log.warning("upstream_list_left_out", server=entry.name, method=method, detail=detail)
        found = catalog.steady(before.catalog, found)
        self._put(msgspec.structs.replace(before, catalog=found, state="ready", reason=""))
        return offer.ttl, drifted or (unseen and before.catalog is not None)

    def _compare(
        self,
        entry: ServerEntry,
        offered: Mapping[str, tuple[str, dict[str, Any]]],
        pins: Mapping[str, PinState],
    ) -> bool:
        """Say what has changed and was not said before; whether there was such a thing."""
        changed = [
            (name, digest)
            for name, (digest, _) in offered.items()
            if pins.get(name) == "changed" and (entry.name, name, digest) not in self._known_drift
        ]
        if not changed:
            return False
        if len(self._known_drift) + len(changed) > MAX_DRIFT:
            self._known_drift.clear()
        self._known_drift.update((entry.name, name, digest) for name, digest in changed)
        tools = [name for name, _ in changed[:MAX_SAID]]
        self._log.warning("tool_drift", server=entry.name, tools=tools, count=len(changed))
        self._drifted(entry, tuple(changed))
        return True

    def _failed(self, entry: ServerEntry, fault: Fault) -> None:
        before = self._current.get().registry.servers.get(entry.name)
        if before is None or before.entry is not entry:
            return
        if before.state not in ("stale", "down"):
            self._log.warning("upstream_error", server=entry.name, reason=fault.reason, detail=fault.detail)
        kept = before.catalog
        if kept is not None and self._clock.monotonic() - kept.fetched_at > LAST_GOOD:
            kept = None
        self._put(
            msgspec.structs.replace(
                before, catalog=kept, state="stale" if kept else "down", reason=fault.reason
            )
        )

    def _put(self, server: RegisteredServer) -> None:
        self._swap({**self._current.get().registry.servers, server.entry.name: server})

    def _swap(self, servers: dict[str, RegisteredServer]) -> None:
        version = self._current.get().registry.version + 1
        self._current.swap(registry=Registry(servers=servers, version=version))


def remember(known: dict[str, str], defects: Mapping[str, str]) -> bool:
    """Keep what was found out; whether anything of it was new."""
    unseen = not defects.keys() <= known.keys()
    known.update(defects)
    for digest in list(known)[: max(0, len(known) - MAX_JUDGED)]:
        del known[digest]
    return unseen


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()


def jitter() -> float:
    """A factor around 1, so that workers which lost a server at once do not come back at once."""
    return (800 + secrets.randbelow(401)) / 1000
