"""`airlock serve`: a small process that owns the port, the signals and the lives of the others.

It starts one projector, one runner of stdio servers and N gateway workers, restarts what dies, and hands
every worker the same configuration and policy, so that all decide by one revision. SIGHUP validates once
and then tells the workers; what fails validation changes nothing and is reported. SIGTERM and SIGINT
drain.

If this process dies, the others see the end of their line and stop: no worker serves without a supervisor.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import os
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import msgspec

from airlock.app.facts import facts, metrics_directory
from airlock.app.freezing import refuse_frozen
from airlock.app.heap import HeapDoor
from airlock.app.limits import make_counts
from airlock.app.overlay import Overlay
from airlock.app.peers import Gathered, Rounds
from airlock.app.reloads import acknowledged, changes, problems, sections
from airlock.app.revisions import Chosen, History, choose
from airlock.app.servers import runner_socket
from airlock.audit import recovery
from airlock.channel import Channel, Message
from airlock.core import metrics
from airlock.core.clock import Clock, rfc3339
from airlock.core.config import Config, Level
from airlock.core.errors import ConfigError
from airlock.core.log_store import Place, retire
from airlock.core.settings import BASELESS, Loaded, environment
from airlock.gateway.observe import unmarked
from airlock.model.reload import AskedBy, Report
from airlock.policy import told
from airlock.policy.bundle import Bundle
from airlock.processes import Kept, Logger, module

FIXED = ("data_dir", "server", "auth", "audit", "legacy", "tracing")
"""What a reload cannot change: it needs a restart, and a reload that tries is refused with that reason."""

STOP = 10.0
"""Seconds that a process gets to end after its work is drained."""

ACT = 5.0
"""Seconds in which workers say that they took over a reload, before that is reported without them."""

SILENT = 30.0
"""Seconds without a word of the engine, which says every few how it stands."""

BACKLOG = 2048
"""Connections that may wait while every worker is busy or starting."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run: one configuration and one policy."""

    loaded: Loaded
    chosen: Chosen

    @property
    def bundle(self) -> Bundle:
        """The policy that decides."""
        return self.chosen.bundle


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A reload that somebody asks for: of everything, or of the policy that people went back to. `answer`:
    the worker that waits for the report, and its number for it."""

    asked_by: AskedBy
    by: str
    rollback: bool = False
    answer: tuple[int, int] | None = None


HANGUP = Wish(asked_by="signal", by="SIGHUP")
"""Of an operator who sent the signal."""


class Supervisor:
    """One `airlock serve`."""

    def __init__(
        self,
        *,
        plan: Plan,
        read_plan: Callable[[], Plan],
        check: Callable[[Bundle], object],
        relog: Callable[[Config], None],
        clock: Clock,
        log: Logger,
        overlay: Path | None = None,
    ) -> None:
        """`check` raises `ConfigError` for a policy that may not decide. `relog` takes over the section
        `logging` for this process; `overlay` is the file that is laid over the configuration."""
        self._plan = plan
        self._read_plan = read_plan
        self._check = check
        self._relog = relog
        self._clock = clock
        self._log = log
        self._data = Path(plan.loaded.config.data_dir)
        self._history = History(self._data, clock=clock)
        self._workers: list[Kept] = []
        self._lines: dict[int, Channel] = {}
        self._rounds = Rounds(self._lines)
        self._active: dict[int, Message] = {}
        self._health: dict[int, Message] = {}
        self._parts: dict[str, Message] = {}
        self._refused: Message | None = None
        self._reloads = {"accepted": 0, "refused": 0}
        self._reload = 0
        """Number of the newest reload that was accepted; a worker says it when it runs what that brought."""
        self._report: Report | None = None
        self._wishes = asyncio.Queue[Wish]()
        self._acted = asyncio.Event()
        self._level: Level = plan.loaded.config.logging.level
        self._overlay = overlay and Overlay(
            overlay, config=lambda: self._plan.loaded.config, changed=self._overlaid, clock=clock, log=log
        )
        self._runner_line: Channel | None = None
        self._engine_line: Channel | None = None
        self._drain = asyncio.Event()
        self._ready = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to drain. Returns the exit status."""
        config = self._plan.loaded.config
        lock = claim(self._data)
        listener = listen(config)
        counts = make_counts(config.server.workers)
        host, port = listener.getsockname()[:2]
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain.set)
        loop.add_signal_handler(signal.SIGINT, self._drain.set)
        loop.add_signal_handler(signal.SIGHUP, self._wishes.put_nowait, HANGUP)
        await asyncio.to_thread(self._history.note, self._plan.chosen, kind="start", by="start")
        await asyncio.to_thread(self._retire)
        clear_metrics(self._data)
        slots = range(config.server.workers)
        retire(Place.of(config), {"supervisor", "runner", "engine", *(f"worker-{slot}" for slot in slots)})
        runner, projector = self._runner(), self._projector()
        engine = [self._engine()] if config.incident.engine else []
        self._workers = [self._worker(slot, listener, counts) for slot in slots]
        try:
            async with asyncio.TaskGroup() as group:
                for process in (projector, runner, *engine, *self._workers):
                    group.create_task(process.keep())
                own = [
                    group.create_task(work)
                    for work in (self._announce(host, port), self._reload_when_told(), self._show_heap())
                ]
                if self._overlay is not None:
                    own.append(group.create_task(self._overlay.run()))
                await self._drain.wait()
                self._log.info("lifecycle", what="draining")
                for task in own:
                    task.cancel()
                patience = config.server.drain + STOP
                await asyncio.gather(*(worker.stop(within=patience) for worker in self._workers))
                await asyncio.gather(*(each.stop(within=STOP) for each in engine))
                await runner.stop(within=STOP + 10)
                await projector.stop(within=STOP)
        finally:
            listener.close()
            os.close(counts)
            lock.close()
        self._log.info("lifecycle", what="stopped")
        return 0

    async def _reload_when_told(self) -> None:
        """One reload at a time: of two that overlap, the older could win. Of many that wait, one is done."""
        while True:
            waiting = [await self._wishes.get()]
            while not self._wishes.empty():
                waiting.append(self._wishes.get_nowait())
            for _, alike in groupby(waiting, key=lambda wish: wish.rollback):
                wishes = list(alike)
                await self.reload(next((wish for wish in wishes if wish.answer), wishes[0]))
                for wish in wishes:
                    self._report_to(wish)

    def _report_to(self, wish: Wish) -> None:
        slot, number = wish.answer or (-1, 0)
        if slot in self._lines:
            self._lines[slot].send({"op": "reloaded", "number": number, "report": self._report})

    async def reload(self, wish: Wish = HANGUP) -> None:
        """Validate the whole new plan, then hand it to every worker; or keep the running one and say why."""
        try:
            plan = await asyncio.to_thread(self._validated, wish)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new plan, the running one stays
            self._refuse(error, wish.asked_by)
            return
        changed = changes_of(self._plan, plan)
        self._take_over(plan)
        self._report = report = Report(
            result="accepted",
            asked_by=wish.asked_by,
            at=rfc3339(self._clock.wall()),
            changed=changed,
            sections=sections(changed),
            acked=await self._acknowledged(),
            total=len(self._workers),
        )
        self._log.info(
            "config_change",
            result="accepted",
            digest=plan.loaded.digest,
            policy=plan.bundle.revision,
            sections=report.sections,
            changed=changed,
            acked=report.acked,
            total=report.total,
        )
        self._tell_world()

    def _validated(self, wish: Wish) -> Plan:
        """The plan that is wished for, whose policy is kept from here on. A rollback changes the policy
        alone, whatever stands in the configuration file by now. Blocks; raises what is wrong with it."""
        if not wish.rollback:
            return self._judged(self._read_plan(), wish)
        loaded = self._plan.loaded
        try:
            return self._judged(Plan(loaded=loaded, chosen=choose(loaded.config)), wish)
        except Exception as wrong:
            self._history.withdraw(str(wrong))
            raise

    def _judged(self, plan: Plan, wish: Wish) -> Plan:
        running = self._plan
        try:
            self._check(plan.bundle)
        except ConfigError as wrong:
            self._history.refused(plan.bundle, str(wrong), by=wish.by)
            raise
        refuse_baseless(plan.loaded)
        refuse_fixed(running.loaded.config, plan.loaded.config)
        other = plan.bundle.revision != running.bundle.revision
        refuse_frozen(running.loaded.config, plan.loaded.config, other_policy=other, clock=self._clock)
        self._history.note(plan.chosen, kind="reload", by=wish.by)
        return plan

    def _refuse(self, error: Exception, asked_by: AskedBy) -> None:
        where = error.where if isinstance(error, ConfigError) else type(error).__name__
        at = rfc3339(self._clock.wall())
        self._refused = {"where": where, "what": str(error), "at": at, **told.place(error)}
        self._reloads["refused"] += 1
        self._report = Report(result="refused", asked_by=asked_by, at=at, problems=problems(error))
        self._log.error("config_change", result="refused", error=str(error))
        told.refused(self._log, error, active=self._plan.bundle.revision)
        self._tell_world()

    def _take_over(self, plan: Plan) -> None:
        """Run by this plan, and tell every process."""
        self._plan, self._refused = plan, None
        self._reloads["accepted"] += 1
        self._relog(plan.loaded.config)
        self._level = plan.loaded.config.logging.level
        self._log.info("policy_reload", result="accepted", active_revision=plan.bundle.revision)
        if self._runner_line is not None:
            self._runner_line.send(runner_message(plan))
        if self._engine_line is not None:
            self._engine_line.send({"op": "reload", **plan_message(plan)})
        self._reload += 1
        self._tell_all({"op": "reload", "reload": self._reload, **plan_message(plan)})
        self._tell_world()
        if self._overlay is not None:
            self._overlay.again()

    async def _acknowledged(self) -> int:
        """How many workers run what the newest reload brought, once all do or `ACT` is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ACT):
                while acknowledged(self._active.values(), self._reload) < len(self._workers):
                    self._acted.clear()
                    await self._acted.wait()
        return acknowledged(self._active.values(), self._reload)

    def _overlaid(self) -> None:
        """Let every worker look at the leases, and know how the overlay stands."""
        self._tell_all({"op": "look"})
        self._tell_world()

    async def _show_heap(self) -> None:
        def ask(patience: float) -> asyncio.Future[Gathered]:
            return self._rounds.ask("heap", workers=len(self._workers), patience=patience)

        door = HeapDoor(ask=ask, clock=self._clock, log=self._log)
        await door.run(self._plan.loaded.config.server.debug_port)

    def _retire(self) -> None:
        """Close the chains of an earlier run that had more workers."""
        config = self._plan.loaded.config
        recovery.retire(
            data_dir=self._data,
            audit=config.audit,
            workers=config.server.workers,
            facts=facts(config, self._plan.loaded.digest),
            clock=self._clock,
            log=self._log,
        )

    def _projector(self) -> Kept:
        data = str(self._data)

        def command(line: int) -> list[str]:
            fd = str(line)
            return module("airlock.audit.projector", "--data-dir", data, "--parent-fd", fd, "--status-fd", fd)

        return Kept("projector", command=command, talk=self._hear_projector, clock=self._clock, log=self._log)

    async def _hear_projector(self, line: Channel) -> None:
        """Pass on what the projector says of itself, or that it says nothing any more."""
        try:
            while (status := await line.receive()) is not None:
                self._parts["projector"] = status
                self._tell_world()
        finally:
            self._parts["projector"] = {"error": "the projector is not running"}
            self._tell_world()

    def _engine(self) -> Kept:
        return Kept(
            "engine",
            command=lambda line: module("airlock.engine", "--line", str(line)),
            talk=self._talk_engine,
            clock=self._clock,
            log=self._log,
        )

    async def _talk_engine(self, line: Channel) -> None:
        """Give the engine the plan, and pass on to every worker that it changed the store."""
        self._engine_line = line
        try:
            line.send({"op": "start", **plan_message(self._plan)})
            while (message := await self._heard(line)) is not None:
                if message["op"] == "look":
                    self._tell_all(message)
                else:
                    self._note_engine(message["error"])
        finally:
            self._engine_line = None
            self._note_engine("it is not running")

    async def _heard(self, line: Channel) -> Message | None:
        """What the engine says next, be it that it is silent; None at its end."""
        try:
            async with asyncio.timeout(SILENT):
                return await line.receive()
        except TimeoutError:
            return {"op": "standing", "error": f"it was silent for {SILENT:g} s"}

    def _note_engine(self, error: str) -> None:
        """Pass on how the engine stands: without it nothing is detected and no clock is watched."""
        standing: Message = {"error": error} if error else {}
        if self._parts.get("engine") != standing:
            self._parts["engine"] = standing
            self._tell_world()

    def _runner(self) -> Kept:
        path = str(runner_socket(self._plan.loaded.config))
        return Kept(
            "runner",
            command=lambda _: module("airlock.upstream.runner", "--socket", path),
            talk=self._configure_runner,
            clock=self._clock,
            log=self._log,
            line_is_stdin=True,
        )

    async def _configure_runner(self, line: Channel) -> None:
        self._runner_line = line
        try:
            line.send(runner_message(self._plan))
            await line.receive()
        finally:
            self._runner_line = None

    def _worker(self, slot: int, listener: socket.socket, counts: int) -> Kept:
        directory = str(metrics_directory(self._data))

        async def talk(line: Channel) -> None:
            await self._talk_worker(slot, line)

        return Kept(
            f"worker-{slot}",
            command=lambda line: module(
                "airlock.worker",
                *("--line", str(line), "--listen", str(listener.fileno()), "--counts", str(counts)),
            ),
            talk=talk,
            clock=self._clock,
            log=self._log,
            pass_fds=(listener.fileno(), counts),
            environ={**environment(), metrics.DIRECTORY: directory},
            ended=lambda pid: metrics.gone(pid, directory),
        )

    async def _talk_worker(self, slot: int, line: Channel) -> None:
        self._lines[slot] = line
        line.send({"op": "start", "slot": slot, "reload": self._reload, **plan_message(self._plan)})
        self._tell_world()
        heard: Mapping[str, Callable[[int, Message], None]] = {
            "active": self._hear_active,
            "health": self._hear_health,
            "look": lambda _, message: self._tell_all(message),
            "level": lambda _, message: self._log_at(message["level"]),
            "reload": self._hear_wish,
            "ask": lambda slot, message: self._rounds.ask_for(slot, message, workers=len(self._workers)),
            "answer": self._rounds.heard,
        }
        try:
            while (message := await line.receive()) is not None:
                heard[message["op"]](slot, message)
        finally:
            self._lines.pop(slot, None)
            self._active.pop(slot, None)
            self._health.pop(slot, None)
            self._tell_world()

    def _hear_active(self, slot: int, message: Message) -> None:
        self._active[slot] = message
        self._acted.set()
        self._tell_world()

    def _hear_health(self, slot: int, message: Message) -> None:
        self._health[slot] = message
        self._tell_world()

    def _hear_wish(self, slot: int, message: Message) -> None:
        answer, rollback = (slot, message["number"]), message["rollback"]
        self._wishes.put_nowait(Wish(asked_by="api", by=message["by"], rollback=rollback, answer=answer))

    def _log_at(self, level: Level) -> None:
        """Log as the workers do, who know of leases, and let the runner do so."""
        if level == self._level:
            return
        self._level = level
        config = self._plan.loaded.config
        logging = msgspec.structs.replace(config.logging, level=level)
        self._relog(msgspec.structs.replace(config, logging=logging))
        if self._runner_line is not None:
            self._runner_line.send({**runner_message(self._plan), "log_level": level})

    def _tell_world(self) -> None:
        """Tell every worker what it cannot know by itself: the other processes and the state of the last
        reload."""
        if len(self._active) == len(self._workers):
            self._ready.set()
        world = {
            "op": "world",
            "parts": self._parts,
            "replicas": [self._active.get(slot) for slot in range(len(self._workers))],
            "health": [self._health.get(slot) for slot in range(len(self._workers))],
            "desired": self._plan.bundle.revision,
            "rolled_back": self._plan.chosen.rollback,
            "digest": self._plan.loaded.digest,
            "refused": self._refused,
            "reloads": self._reloads,
            "report": self._report,
            "overlay": self._overlay and self._overlay.standing,
        }
        self._tell_all(world)

    def _tell_all(self, message: Message) -> None:
        for line in self._lines.values():
            line.send(message)

    async def _announce(self, host: str, port: int) -> None:
        await self._ready.wait()
        self._log.info("lifecycle", what="serving", host=host, port=port, workers=len(self._workers))


def plan_message(plan: Plan) -> Message:
    """The plan as the line carries it."""
    return {
        "config": plan.loaded.config,
        "digest": plan.loaded.digest,
        "not_ready": list(plan.loaded.not_ready),
        "bundle": base64.b64encode(plan.bundle.to_bytes()).decode(),
    }


def runner_message(plan: Plan) -> Message:
    """What the runner of stdio servers needs of the plan."""
    config = plan.loaded.config
    return {
        "servers": unmarked(config.servers),
        "log_level": config.logging.level,
        "log_place": Place.of(config),
        "detectors": config.redaction.detectors,
    }


def clear_metrics(data: Path) -> None:
    """Counting starts from zero: what earlier runs counted is theirs."""
    directory = metrics_directory(data)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)


def claim(data: Path) -> BinaryIO:
    """Become the only supervisor of a data directory. Raises `ConfigError` where there is one already."""
    run = data / "run"
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)
    lock = (run / "supervisor.lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as busy:
        lock.close()
        raise ConfigError(str(data), "another airlock runs on this data directory", "stop it first") from busy
    return lock


def listen(config: Config) -> socket.socket:
    """The one port of all workers. Raises `ConfigError` where it is taken or not ours."""
    host, port = config.server.host, config.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError("server.port", f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.listen(BACKLOG)
    return listener


def changes_of(before: Plan, after: Plan) -> tuple[str, ...]:
    """What differs between two plans."""
    other = before.bundle.revision != after.bundle.revision
    return changes(before.loaded.config, after.loaded.config, policy=other)


def refuse_baseless(wanted: Loaded) -> None:
    """Raise `ConfigError` where a file of a few keys took the place of the configuration: nothing else of
    what runs would remain."""
    if BASELESS in wanted.not_ready:
        raise ConfigError(
            "configuration", BASELESS, "give the whole configuration, and the few keys by --overlay"
        )


def refuse_fixed(running: Config, wanted: Config) -> None:
    """Raise `ConfigError` where a reload would change what only a restart can change."""
    for section in FIXED:
        if getattr(running, section) != getattr(wanted, section):
            raise ConfigError(section, "cannot change while running", "restart to change it")
