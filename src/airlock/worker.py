"""The life of one gateway worker: told what to run, opens its log, serves, reloads, drains.

`python -m airlock.worker --line FD --listen FD --counts FD` is what the supervisor starts. A worker takes no
connection before its log is open and every server and identity provider was asked once (or had its chance):
the port is shared, and others may be ready. A worker drains when it is told to, on SIGTERM, and when the line
ends.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Literal

import msgspec
import uvloop

from airlock.app import responders
from airlock.app.facts import facts
from airlock.app.gateway import Gateway, compose, engine
from airlock.app.limits import open_counts
from airlock.app.outbox import record_outbox
from airlock.approvals import record_approvals
from airlock.audit.recovery import open_log
from airlock.audit.writer import Writer
from airlock.channel import Channel, Message
from airlock.core import log as logs
from airlock.core import metrics
from airlock.core.clock import SYSTEM, Clock, rfc3339
from airlock.core.config import Config, ServerEntry
from airlock.core.errors import AuditFault, Fault
from airlock.core.log_store import KeptLines, Place
from airlock.core.settings import environment
from airlock.edge.server import Server
from airlock.gateway import drift
from airlock.model.entry import Event
from airlock.model.health import COMPONENTS, State
from airlock.policy.bundle import Bundle
from airlock.store import pins, revocations
from airlock.upstream.http import HttpUpstream
from airlock.upstream.personal import Personal

POLL = 0.25
"""Seconds between two looks at the store's versions: any change is known within a second everywhere."""

WARM = 2.0
"""Seconds that the first answer waits for servers that were never asked (F-7)."""

SWEEP = 15.0
"""Seconds between two rounds that close idle sessions at servers."""

LAST_WORDS = 10.0
"""Seconds for which a worker whose log takes nothing any more still says so, before it exits non-zero."""

GARBAGE = 10_000
"""Objects that may come to life before the youngest are walked for cycles: a call makes no cycle."""

CLOCK_STEP = 1.0
"""Seconds by which wall and monotonic clock may part before it is said."""


class Worker:
    """One gateway process, once it knows what to run."""

    def __init__(
        self,
        *,
        start: Message,
        line: Channel,
        listener: socket.socket,
        counts: int,
        kept: KeptLines,
        clock: Clock,
    ) -> None:
        self._line = line
        self._listener = listener
        self._clock = clock
        self._slot: int = start["slot"]
        self._config = msgspec.convert(start["config"], Config)
        self._bundle = Bundle.from_bytes(base64.b64decode(start["bundle"]))
        self._policy = self._config.policy
        """By which the running engine was made."""
        self._counts = open_counts(counts, workers=self._config.server.workers, slot=self._slot)
        self._start = start
        self._kept = kept
        self._log = logs.get("gateway")
        self._drain = asyncio.Event()
        self._look = asyncio.Event()
        self._offset = clock.wall() - clock.monotonic()
        self._store_trouble = ""
        self._policy_trouble = ""
        self._decided = 0.0
        self._writer: Writer
        self._group: asyncio.TaskGroup

    async def run(self) -> None:
        """Open the log, serve until drained, close the log."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain.set)
        self._writer = writer = await asyncio.to_thread(self._open_log)
        gateway = compose(
            config=self._config,
            bundle=self._bundle,
            writer=writer,
            environ=environment(),
            drifted=self._drifted,
            counts=self._counts,
            slot=self._slot,
            clock=self._clock,
            log=self._log,
        )
        gateway.insight.peers.line = self._line
        gateway.reloading.send = self._line.send
        try:
            await self._serve(gateway)
        finally:
            await gateway.strangers.close_windows(everything=True)
            await asyncio.to_thread(writer.close)
            gateway.store.close()

    def _open_log(self) -> Writer:
        """The audit log of this worker, recovered; whatever keeps it from being open ends the worker."""
        config = self._config
        writer = open_log(
            data_dir=Path(config.data_dir),
            audit=config.audit,
            workers=config.server.workers,
            facts=facts(config, self._start["digest"]),
            clock=self._clock,
            log=self._log,
        )
        writer.start()
        return writer

    async def _serve(self, gateway: Gateway) -> None:
        tls = gateway.tls.renewed.context if gateway.tls is not None else None
        http = Server(gateway.application, self._config.server, tls)
        gateway.tuning.tell(
            lambda config: http.limit(config.server.max_connections),
            lambda config: self._in_force(gateway, config),
        )
        async with asyncio.TaskGroup() as group:
            self._group = group
            tasks = [
                group.create_task(work)
                for work in (
                    gateway.link.run(),
                    gateway.watch.run(responders.entries(self._config)),
                    gateway.strangers.run(),
                    self._follow_store(gateway),
                    self._housekeeping(gateway),
                    self._listen(gateway),
                    self._relay(gateway),
                    *(work() for work in gateway.background),
                )
            ]
            serving = group.create_task(self._open(gateway, http))
            await self._drain.wait()
            gateway.streams.drain()
            gateway.listens.drain()
            http.drain()
            await serving
            for task in tasks:
                task.cancel()

    async def _open(self, gateway: Gateway, http: Server) -> None:
        """Take connections once the servers had their chance: until then, workers that are ready get them."""
        await asyncio.sleep(0)
        await asyncio.gather(gateway.watch.warm(WARM), gateway.providers.first())
        gc.freeze()  # modules, catalogs and compiled schemas live as long as the worker: do not walk them
        self._log.info("policy_load", revision=gateway.authorize.engine.revision, slot=self._slot)
        self._assess(gateway)
        self._acknowledge(gateway)
        await http.serve(sockets=[self._listener])

    def _acknowledge(self, gateway: Gateway) -> None:
        revision = gateway.authorize.engine.revision
        self._line.send(
            {
                "op": "active",
                "slot": self._slot,
                "active_sha256": revision,
                "digest": self._start["digest"],
                "reload": self._start["reload"],
                "cache": gateway.insight.remembering(),
            }
        )

    async def _listen(self, gateway: Gateway) -> None:
        """Follow the supervisor; its silence for good means drain."""
        while (message := await self._line.receive()) is not None:
            if message["op"] == "world":
                self._note_world(gateway, message)
                self._assess(gateway)
            elif message["op"] == "reload":
                self._reload(gateway, message)
            elif message["op"] == "look":
                self._look.set()
            elif message["op"] == "reloaded":
                gateway.reloading.heard(message)
            elif message["op"] == "ask":
                self._group.create_task(gateway.insight.peers.reply(message))
            elif message["op"] == "gathered":
                gateway.insight.peers.heard(message)
        self._drain.set()

    def _note_world(self, gateway: Gateway, message: Message) -> None:
        world = gateway.world
        world.desired, world.replicas = message["desired"], message["replicas"]
        world.digest = message["digest"]
        world.refused, world.parts = message["refused"], message["parts"]
        world.health = message["health"]
        world.reloads, world.rolled_back = message["reloads"], message["rolled_back"]
        world.report, world.overlay = message["report"], message["overlay"]

    def _reload(self, gateway: Gateway, message: Message) -> None:
        """Swap the policy and the servers. The supervisor has validated both."""
        config = msgspec.convert(message["config"], Config)
        bundle = Bundle.from_bytes(base64.b64decode(message["bundle"]))
        revision = gateway.authorize.engine.revision
        self._bundle, self._kept.place = bundle, Place.of(config)
        gateway.tuning.reload(config)
        if bundle.revision != revision:
            gateway.current.swap(policy_revision=bundle.revision)
            self._log.info("policy_load", revision=bundle.revision, slot=self._slot)
            self._group.create_task(self._record("policy_load", "policy", bundle.revision))
        gateway.config, self._start = config, message
        gateway.watch.configure(responders.entries(config))
        for take_over in gateway.reloaded:
            take_over(config)
        self._cut(gateway)
        self._assess(gateway)
        self._acknowledge(gateway)

    def _in_force(self, gateway: Gateway, config: Config) -> None:
        """Follow the configuration with what leases hold, and let the other processes log alike."""
        self._line.send({"op": "level", "level": config.logging.level})
        logs.configure(config.logging.level, kept=self._kept)
        gateway.record.all_requests = config.logging.audit_all_requests
        if (self._bundle.revision, config.policy) != (gateway.authorize.engine.revision, self._policy):
            gateway.authorize.engine = engine(self._bundle, config.policy, clock=self._clock, log=self._log)
            self._policy = config.policy

    async def _follow_store(self, gateway: Gateway) -> None:
        """Take over what other processes changed in the store."""
        seen = await asyncio.to_thread(gateway.store.versions)
        # What came since the parts were composed.
        await self._take_over(gateway, {"revocations", *gateway.followers})
        while True:
            await self._next_look()
            try:
                found = await asyncio.to_thread(gateway.store.versions)
                if found != seen:
                    await self._take_over(gateway, {part for part in found if found[part] != seen.get(part)})
                    seen = found
                await record_approvals(gateway.store, self._writer)
                await record_outbox(gateway.store, self._writer)
                self._store_trouble = ""
            except Fault as fault:
                self._store_trouble = fault.detail or fault.reason
            except TimeoutError:
                self._store_trouble = "rows wait for the audit log"

    async def _next_look(self) -> None:
        """When somebody changed the store, or after `POLL`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._look.wait()
        self._look.clear()

    async def _relay(self, gateway: Gateway) -> None:
        """Let every worker look at the store that was changed here."""
        while True:
            await gateway.changed.wait()
            gateway.changed.clear()
            self._line.send({"op": "look"})

    async def _take_over(self, gateway: Gateway, changed: set[str]) -> None:
        if changed & {"revocations", "sessions"}:
            now = self._clock.wall()
            fresh = await asyncio.to_thread(lambda: revocations.load(gateway.store, now=now))
            gateway.current.swap(revocations=fresh)
            self._cut(gateway)
        if "pins" in changed:
            decided = await asyncio.to_thread(pins.last_decision, gateway.store)
            gateway.watch.wake_all(decided=decided != self._decided)
            self._decided = decided
        for part in changed & gateway.followers.keys():
            await gateway.followers[part]()
            self._cut(gateway)

    def _cut(self, gateway: Gateway) -> None:
        """End the running calls that the snapshot of now would not let begin."""
        gateway.live.review(gateway.current.get(), self._clock.wall())

    async def _housekeeping(self, gateway: Gateway) -> None:
        swept = self._clock.monotonic()
        while True:
            gateway.health_api.tick()
            self._policy_trouble = gateway.authorize.engine.trouble()
            self._assess(gateway)
            if self._clock.monotonic() - swept > SWEEP:
                swept = self._clock.monotonic()
                await self._forget(gateway)
                for upstream in list(gateway.upstreams.values()):
                    if isinstance(upstream, HttpUpstream | Personal):
                        await upstream.sweep()
            if self._writer.failed:
                await asyncio.sleep(LAST_WORDS)
                self._log.error("lifecycle", what="audit_failed", reason=self._writer.failed)
                raise SystemExit(1)
            await asyncio.sleep(1.0)

    async def _forget(self, gateway: Gateway) -> None:
        """What clients did not come back for."""
        try:
            await gateway.streams.sweep()
        except AuditFault as fault:
            self._log.error("audit_event_lost", detail=fault.detail, action="undelivered")

    def _assess(self, gateway: Gateway) -> None:
        """Note the state of every component, and say what changed."""
        changed = False
        for name, (state, reason) in self._components(gateway).items():
            if gateway.health.set(name, state, reason, rfc3339(self._clock.wall())):
                metrics.ready(name, serving=state != "failed")
                self._log.info("lifecycle", what="component", part=name, state=state, reason=reason)
                changed = True
        if changed:
            self._line.send(
                {
                    "op": "health",
                    "pid": os.getpid(),
                    "chain_uid": self._writer.chain_uid,
                    "ready": gateway.health.ready,
                    "components": gateway.health.components,
                }
            )

    def _components(self, gateway: Gateway) -> dict[str, tuple[State, str]]:
        not_ready = ", ".join(self._start["not_ready"])
        audit = self._writer.healthy()
        projector = gateway.world.parts.get("projector", {})
        behind = str(projector.get("error") or projector.get("refused") or "")
        if engine := gateway.world.parts.get("engine", {}).get("error"):
            behind = behind or f"incident engine: {engine}"
        servers = gateway.current.get().registry.servers.values()
        away = sum(server.state != "ready" for server in servers)
        down = f"{away} of {len(servers)} servers are not ready" if away else ""
        step = self._clock.wall() - self._clock.monotonic() - self._offset
        trouble = self._store_trouble or behind
        found: dict[str, tuple[State, str]] = {
            "config": ("failed", not_ready)
            if not_ready
            else (("degraded", "fragment refused") if gateway.world.fragment_refused else ("ok", "")),
            "policy": self._policy_standing(gateway),
            "audit": ("failed", audit) if audit else ("ok", ""),
            "auth": gateway.providers.state(),
            "database": ("degraded", trouble) if trouble else ("ok", ""),
            "upstreams": ("degraded", down) if down else ("ok", ""),
            "clock": ("degraded", f"stepped by {step:.1f} s") if abs(step) > CLOCK_STEP else ("ok", ""),
        }
        return {name: found[name] for name in COMPONENTS}

    def _policy_standing(self, gateway: Gateway) -> tuple[State, str]:
        """A policy that decides nothing takes the worker out of traffic, unless two people let calls pass."""
        if not self._policy_trouble:
            return gateway.observe.standing()
        if until := gateway.loosened.until():
            return "degraded", f"read-only calls fail open until {until}: {self._policy_trouble}"
        return "failed", f"it decides nothing: {self._policy_trouble}"

    def _drifted(self, entry: ServerEntry, changed: tuple[tuple[str, str], ...]) -> None:
        """Definitions were seen that are not the pinned ones: that is recorded, whoever calls them later."""
        for event in drift.events_of(entry, changed):
            self._group.create_task(self._write(event))

    async def _record(self, action: str, event_type: Literal["policy", "system"], revision: str) -> None:
        await self._write(
            Event(event_type=event_type, action=action, policy_revision=revision, reason="activated")
        )

    async def _write(self, event: Event) -> None:
        """A row that no caller waits for; if it cannot be written, the audit component says so by itself."""
        try:
            await self._writer.seal(event)
        except AuditFault as fault:
            self._log.error("audit_event_lost", detail=fault.detail, action=event.action)


async def _main(line: socket.socket, listener: socket.socket, counts: int) -> None:
    channel = await Channel.over(line)
    start = await channel.receive()
    if start is None:
        return
    config = msgspec.convert(start["config"], Config)
    kept = KeptLines(Place.of(config), f"worker-{start['slot']}")
    logs.configure(config.logging.level, kept=kept)
    await Worker(start=start, line=channel, listener=listener, counts=counts, kept=kept, clock=SYSTEM).run()


def open_files() -> None:
    """Take as many open files as the system allows: every connection is one, and usual defaults are few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: list[str]) -> int:
    """See the module. Returns 0 when drained."""
    parser = argparse.ArgumentParser(prog="airlock.worker")
    parser.add_argument("--line", type=int, required=True)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--counts", type=int, required=True)
    given = parser.parse_args(arguments)
    gc.set_threshold(GARBAGE)
    open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        listener = socket.socket(fileno=given.listen)
        runner.run(_main(socket.socket(fileno=given.line), listener, given.counts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
