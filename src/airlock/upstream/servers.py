"""One configured stdio server over all its lives: start, introduction, calls, end, pause, start again.

A call goes to a server that is `ready`, waits for one that is `starting`, and fails at once, without effect,
in every other state. Whatever ends a life, the whole process tree is gone before the next one starts, and
a server that is taken out of the configuration leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Literal

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream import introduce as introduction
from airlock.upstream.calls import Counters
from airlock.upstream.child import Child
from airlock.upstream.coalesce import Coalesced
from airlock.upstream.frames import TurnedAway
from airlock.upstream.restarts import RestartRule
from airlock.upstream.spawn import (
    CannotStart,
    Ended,
    Process,
    environment,
    fresh_directory,
    refusal,
    resolve,
)
from airlock.upstream.turns import MOST_WAITING, Turns
from airlock.upstream.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airlock.core.clock import Clock
    from airlock.core.config import ServerEntry
    from airlock.upstream.calls import Call, Waiter
    from airlock.upstream.dialogue import Peer
    from airlock.upstream.lives import Log, Owner, State, Timing


class Server:
    """Runs in a task (`run`); everything else is called on the same loop and returns at once."""

    def __init__(
        self,
        *,
        entry: ServerEntry,
        place: Path,
        uid: int | None,
        timing: Timing,
        clock: Clock,
        random: Callable[[], float],
        announce: Callable[[Server, Literal["list_changed", "state"]], None],
        watched: Callable[[], frozenset[str]],
        updated: Callable[[Server, str], None],
        clean: Callable[[str], str],
        log: Log,
        owner: Owner | None = None,
    ) -> None:
        """`watched` are the resources that somebody wants to hear of, `updated` is called with one of them.
        `clean` takes out of a line of error output what no log may hold. Without `owner` callers share it."""
        self.entry = entry
        self.owner = owner
        self.place = place
        self.state: State = "starting"
        self.reason = ""
        self.counters = Counters()
        self.process: Process | None = None
        self.uid = uid
        self._timing = timing
        self._clock = clock
        self._announce = announce
        self._list_changed = Coalesced(
            seconds=timing.coalesce, say=lambda: self._announce(self, "list_changed")
        )
        self._watched = watched
        self._updated = updated
        self._clean = clean
        self._log = log
        self._rule = RestartRule(numbers=timing.restarts, clock=clock, random=random)
        self._child: Child | None = None
        self._turns: Turns | None = None
        self._peer: Peer | None = None
        self._watches: Watches | None = None
        self._calls: list[Call] = []
        self._waiters: list[Waiter] = []
        self._next_start = 0.0
        self._era_hint: introduction.EraPin = entry.era

    @property
    def era(self) -> str:
        """Version spoken in this life; empty before the introduction."""
        return self._peer.version if self._peer is not None else ""

    @property
    def busy(self) -> bool:
        """Whether a call runs or waits."""
        return bool(self._calls) or (self._turns is not None and self._turns.busy)

    @property
    def asking(self) -> bool:
        """Whether its call waits for what a client answers."""
        return self._turns is not None and self._turns.asking

    def submit(self, call: Call) -> None:
        if self.state == "ready" and self._desk is not None:
            self._desk.send(call)
        elif self.state == "starting" and (self.owner is None or len(self._calls) < MOST_WAITING):
            self._calls.append(call)
        else:
            call.sink.failed(self._fault())

    def cancel(self, call: Call) -> None:
        if call in self._calls:
            self._calls.remove(call)
        elif self._desk is not None:
            self._desk.cancel(call)

    def reply(self, call: Call, line: bytes) -> None:
        """What the client of a call says to what it was asked."""
        if self._turns is not None:
            self._turns.reply(call, line)

    def describe(self, waiter: Waiter) -> None:
        if self.state == "ready" and self._peer is not None:
            waiter.described(self._peer)
        elif self.state == "starting":
            self._waiters.append(waiter)
        else:
            waiter.undescribed(self._fault())

    def forget(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def rewatch(self) -> None:
        """The resources that somebody wants to hear of are others."""
        if self._watches is not None:
            self._watches.want(self._watched())

    def overgrown(self, resident: int) -> None:
        """The watchdog found the tree above its bound: end it now."""
        if self._child is not None and self.process is not None:
            self._child.end(f"it used {resident} bytes of memory")
            self.process.kill()

    async def run(self) -> None:
        """Keep it alive until cancelled once; then stop it. Leaves no process behind."""
        while True:
            began = self._clock.monotonic()
            state, reason = await self._attempt()
            pause = self._rule.ended(lived=self._clock.monotonic() - began)
            if state == "waiting" and pause.failed:
                state = "failed"
            self._next_start = self._clock.monotonic() + pause.seconds
            self._enter(state, reason)
            if state == "refused":
                await asyncio.Event().wait()
            await asyncio.sleep(pause.seconds)

    def close(self) -> None:
        """It does not run any more, or never did: nobody waits for it in vain."""
        self._enter("stopped", "it is not configured any more, or the gateway stops")

    @property
    def _desk(self) -> Child | Turns | None:
        """Who takes calls."""
        return self._child if self.owner is None else self._turns

    async def _attempt(self) -> tuple[State, str]:
        """One life: the state it leaves behind, and why."""
        self._enter("starting", "")
        reason = refusal(self.entry, root=self.uid is not None)
        if reason:
            return "refused", reason
        try:
            await asyncio.to_thread(fresh_directory, self.place, self.uid)
            self.process = Process(
                {
                    "executable": resolve(self.entry),
                    "argv": list(self.entry.command),
                    "env": self._environment(),
                    "cwd": str(self.place / "work"),
                    "uid": self.uid,
                }
            )
        except (CannotStart, OSError) as problem:
            return "waiting", str(problem)
        try:
            return "waiting", await self._live(self.process)
        finally:
            self.process = None

    def _environment(self) -> dict[str, str]:
        """What one owner's process leaves in the directory for temporary files is gone with it."""
        home = self.place / "home"
        found = environment(self.entry, home)
        return found if self.owner is None else {"TMPDIR": str(home), **found}

    async def _live(self, process: Process) -> str:
        child = self._child = Child(
            stdin=process.stdin,
            stdout=process.stdout,
            stderr=process.stderr,
            clock=self._clock,
            counters=self.counters,
            complain=self._complained,
            list_changed=self._list_changed,
            updated=lambda uri: self._updated(self, uri),
            patience=self._timing.patience,
        )
        reason = "it is being stopped"
        try:
            await self._introduce(child)
            await asyncio.wait([child.over, process.ended], return_when=asyncio.FIRST_COMPLETED)
            reason = child.over.result() if child.over.done() else "it ended"
        except UpstreamFault as fault:
            reason = fault.detail
        finally:
            # No new calls first, then the running ones, the input, the signals, and last the whole tree.
            self._enter("waiting", reason)
            turns, self._turns = self._turns, None
            self._child = self._peer = self._watches = None
            if turns is not None:
                turns.close(reason)
            child.close(reason)
            ended = await process.stop(self._timing.grace)
        return _told(ended, reason)

    async def _introduce(self, child: Child) -> None:
        try:
            peer = await introduction.introduce(
                child,
                era=self._era_hint,
                probe_timeout=self._timing.probe,
                start_timeout=self._timing.start,
                capabilities=self.owner.capabilities if self.owner is not None else {},
            )
        except UpstreamFault:
            if child.over.done() and self.entry.era == "auto":
                # Some servers end at a question that they do not know: spare them it the next time.
                self._era_hint = "auto" if self._era_hint == "legacy" else "legacy"
            raise
        self._peer = peer
        desk = child
        if self.owner is not None:
            desk = self._turns = Turns(child=child, peer=peer)
        self._watches = Watches(child=child, peer=peer)
        self.rewatch()
        self._enter("ready", "")
        calls, self._calls = self._calls, []
        for call in calls:
            desk.send(call)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.described(peer)

    def _enter(self, state: State, reason: str) -> None:
        if (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        log = self._log.info if state in {"starting", "ready", "stopped"} else self._log.warning
        log("upstream.state", server=self.place.name, state=state, reason=reason)
        if state not in {"starting", "ready"}:
            self._turn_away()
        self._announce(self, "state")

    def _turn_away(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call.sink.failed(self._fault())
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.undescribed(self._fault())

    def _fault(self) -> UpstreamFault:
        left = self._next_start - self._clock.monotonic()
        return TurnedAway.unavailable(
            f"{self.state}: {self.reason}", effect=Effect.NONE, retry_after=max(1, math.ceil(left))
        )

    def _complained(self, line: str) -> None:
        self._log.info("upstream.stderr", server=self.place.name, line=self._clean(line))


def _told(ended: Ended, reason: str) -> str:
    """Why a life ended, in the words of whoever knows best."""
    parts = [ended.error or reason]
    if not ended.error and ended.code is not None:
        parts.append(f"exit status {ended.code}" if ended.code >= 0 else f"signal {-ended.code}")
    if ended.left:
        parts.append(f"{ended.left} processes could not be killed")
    return ", ".join(parts)
