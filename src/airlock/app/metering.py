"""Wiring: what is measured on the way of a call, and what is said of a worker once a second.

A measure on the way costs two looks at the clock and an append: files are written later, by `Metering`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

from airlock.api.policy import World
from airlock.audit.writer import Writer
from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused
from airlock.core.standing import Detected, Standing
from airlock.gateway.listens import LISTEN
from airlock.gateway.observe import OBSERVED
from airlock.gateway.reached import unfold
from airlock.gateway.words import ACTIONS, METHODS
from airlock.model.call import Admitted, Allowed, Inbound, Reached, Reply
from airlock.model.entry import Event, Receipt

P = ParamSpec("P")
R = TypeVar("R")

EVERY = 1.0
"""Seconds between two words of a worker about what it counted."""

GONE = "499"
"""Status of a message whose client went away before the answer: nginx's number for it."""

NONE = "none"
"""Method of a message that was refused before its method was read, and of the end of a session."""

DECISIONS = ("allow", "deny", "require_approval", "would_deny", "error")
"""`would_deny` passed, because it is observed; `error`: the policy could not decide, which denies."""

RELOADS = {"accepted": 0, "refused": 0}


class Log(Protocol):
    """The writer of the audit log."""

    def healthy(self) -> str: ...

    async def seal(self, event: Event) -> Receipt: ...


class TimedLog:
    """A log whose waits are measured."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._now = clock.monotonic

    def healthy(self) -> str:
        return self._log.healthy()

    async def seal(self, event: Event) -> Receipt:
        began = self._now()
        try:
            return await self._log.seal(event)
        finally:
            metrics.AUDIT.note(self._now() - began)


def timed(durations: metrics.Durations, clock: Clock, stage: Callable[P, R]) -> Callable[P, R]:
    """The stage, measured whatever it raises."""
    note, now = durations.note, clock.monotonic

    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        began = now()
        try:
            return stage(*args, **kwargs)
        finally:
            note(now() - began)

    return measured


def timed_answers(
    durations: metrics.Durations, clock: Clock, stage: Callable[P, Awaitable[R]]
) -> Callable[P, Awaitable[R]]:
    """The stage that waits for somebody else, measured whatever it raises."""
    note, now = durations.note, clock.monotonic

    async def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        began = now()
        try:
            return await stage(*args, **kwargs)
        finally:
            note(now() - began)

    return measured


def decided(authorize: Callable[[Admitted], Allowed], clock: Clock) -> Callable[[Admitted], Allowed]:
    """The stage of the policy, measured, with what it decided."""
    note, now, count = metrics.POLICY.note, clock.monotonic, metrics.DECISIONS.note

    def measured(admitted: Admitted) -> Allowed:
        word, began = "error", now()
        try:
            allowed = authorize(admitted)
            word = "would_deny" if allowed.decision.reason == OBSERVED else "allow"
        except Refused as refused:
            word = "require_approval" if refused.reason == "approval_required" else "deny"
            raise
        finally:
            note(now() - began)
            count(word)
        return allowed

    return measured


def measure(clock: Clock) -> Callable[[Reached, Reply | None, Refused | Fault | None], None]:
    """Counts and measures messages when they have ended."""
    note, now, count = metrics.REQUEST.note, clock.monotonic, metrics.REQUESTS.note

    def ended(reached: Reached, reply: Reply | None, failure: Refused | Fault | None) -> None:
        if isinstance(reached, Inbound):
            inbound, method = reached, NONE
        else:
            caller, identified, *_ = unfold(reached)
            inbound, method = caller.inbound, NONE
            if identified is not None:
                method = identified.message.method
                method = method if method in METHODS else "unknown"
        if method != LISTEN:  # it lasts as long as its client likes
            note(now() - inbound.received)
        count(method, GONE if reply is None else str(reply.status))
        if isinstance(failure, Fault):
            metrics.request_failed()

    return ended


def refused(
    explain: Callable[[Reached | None, Refused | Fault], Reply],
) -> Callable[[Reached | None, Refused | Fault], Reply]:
    """Counts what is refused at the edge, where no message is governed."""

    def explained(reached: Reached | None, failure: Refused | Fault) -> Reply:
        reply = explain(reached, failure)
        metrics.REQUESTS.note(NONE, str(reply.status))
        return reply

    return explained


def counted(end: Callable[[Inbound], Awaitable[Reply]]) -> Callable[[Inbound], Awaitable[Reply]]:
    """Counts the ends of sessions."""

    async def ended(inbound: Inbound) -> Reply:
        reply = await end(inbound)
        metrics.REQUESTS.note(NONE, str(reply.status))
        return reply

    return ended


class Metering:
    """What one worker says of itself and of the whole. Used on the event loop."""

    def __init__(
        self,
        *,
        writer: Writer,
        world: World,
        active: Callable[[], str],
        clock: Clock,
        detected: Callable[[], Detected] = Detected,
    ) -> None:
        """`active` gives the revision of the policy that this worker decides by; `detected`, what is known of
        alerts and incidents."""
        self._detected = detected
        self._writer = writer
        self._world = world
        self._active = active
        self._clock = clock
        self._written = 0
        metrics.from_zero(methods=(*ACTIONS, NONE), decisions=DECISIONS)

    async def run(self) -> None:
        """Hand over what was noted, once a second and at the end."""
        metrics.up()
        try:
            while True:
                metrics.tasks(len(asyncio.all_tasks()))
                self._hand_over()
                await asyncio.sleep(EVERY)
        finally:
            self._hand_over()

    def look(self) -> Standing:
        """Hand over what was noted, and say how the whole gateway stands now."""
        self._hand_over()
        said = {str(replica["active_sha256"]) for replica in self._world.replicas if replica is not None}
        return Standing(
            revisions=frozenset({self._active(), *said}),
            reloads={**RELOADS, **self._world.reloads},
            fragment_refused=self._world.fragment_refused,
            detected=self._detected(),
        )

    def _hand_over(self) -> None:
        metrics.hand_over()
        tally = self._writer.tally
        written, self._written = tally.written - self._written, tally.written
        metrics.audit_written(written)
        last = tally.last_event
        metrics.audit_stands(
            queue_depth=self._writer.queue_depth,
            age=None if last is None else self._clock.wall() - last,
            free=self._writer.free,
        )
