"""The audit log of one process: `seal` returns when the event is durable, or raises what is true then.

One thread drains a queue: events that arrive while a flush runs share the next one, and so do those that the
rounds of a busy loop bring one after the other. Invariants:
- A waiter is woken only after the flush that holds its record, or with an AuditFault.
- A cancelled waiter does not unwrite its record.
- Whatever ends the thread, nobody is left waiting and nothing is taken afterwards.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from airlock.audit.commit import fault, is_closing
from airlock.audit.occurrences import Steps, system
from airlock.audit.tally import Tally
from airlock.core.errors import AuditFault

if TYPE_CHECKING:
    from airlock.audit.commit import Batch, GroupCommit, Logger, Verdict
    from airlock.core.clock import Clock
    from airlock.model.entry import Event, Receipt

QUEUE_MAX = 10_000
BUILD_MAX = 0.005
"""Seconds that a batch may grow: an event waits at most 10 ms for its flush to begin."""
GATHER_MAX = 0.002
"""Seconds for which a loop whose every round brings more events may put off the waking of the thread: each
flush costs as much as several events, and each waking takes the interpreter from the loop several times."""
TICK = 0.5
"""Seconds after which an idle thread looks at clocks, disk and segment age."""
CLOSED = "the audit log is closed"


class _Waiter(NamedTuple):
    """One `seal` in flight, and the loop to wake."""

    event: Event
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Receipt]


class Writer:
    """Seals events into one chain. `seal` may be called from any event loop of the process."""

    def __init__(self, *, commit: GroupCommit, clock: Clock, log: Logger, linger_ms: int = 0) -> None:
        self._commit = commit
        self._clock = clock
        self._log = log
        self._linger = linger_ms / 1000
        self._queue: deque[_Waiter | None] = deque()
        """Who waits, in order; None: stop."""
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._asleep = False
        """Whether the thread waits for the bell."""
        self._gathering: set[asyncio.AbstractEventLoop] = set()
        """Loops that will ring when they have brought what they have."""
        self._steps = Steps(clock)
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._ended = ""
        self._stopping = False
        self.tally = Tally(clock=clock, log=log)
        """Counters for metrics: written, failures, last event, and the once-a-second log line."""

    @property
    def chain_uid(self) -> str:
        return self._commit.chain.uid

    @property
    def head_seq(self) -> int:
        """Last durable seq."""
        return self._commit.chain.seq

    @property
    def queue_depth(self) -> int:
        return len(self._queue)

    @property
    def free(self) -> int | None:
        """Bytes free on the volume of the log, at the last look."""
        return self._commit.room.free

    @property
    def failed(self) -> str:
        """Why nothing will ever be sealed again; empty while the log lives. The process should exit."""
        return self._commit.failure or self._ended

    def healthy(self) -> str:
        """Why new calls should not be taken now; empty when all is well."""
        if self.failed:
            return self.failed
        if self._commit.room.starved:
            return "less than 2 % of the audit volume is free"
        return self._commit.trouble

    def start(self) -> None:
        self._thread.start()

    async def seal(self, event: Event) -> Receipt:
        """Return when the record is durable.

        Raises AuditFault; its `effect` is POSSIBLE for an outcome, which then waits in the spool, and NONE
        for anything else, which must not be carried out.
        """
        refusal = self._refusal(event)
        if refusal:
            self.tally.refused()
            raise fault(event, refusal)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._queue.append(_Waiter(event, loop, future))
        if loop not in self._gathering:
            self._gathering.add(loop)
            loop.call_soon(self._gather, loop, len(self._queue), self._clock.monotonic())
        if self._ended:  # between the check and the append: nobody else will look at the queue
            self._refuse_queued()
        return await future

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int, since: float) -> None:
        """Wake the thread, unless the last round of the loop brought more events: then after the next one."""
        waiting = len(self._queue)
        if waiting > before and self._clock.monotonic() - since < GATHER_MAX:
            loop.call_soon(self._gather, loop, waiting, since)
            return
        self._gathering.discard(loop)
        self._ring()

    def _ring(self) -> None:
        if self._asleep:
            self._asleep = False
            self._bell.put(None)

    def _refusal(self, event: Event) -> str:
        if self.failed or self._stopping:
            return self.failed or CLOSED
        if len(self._queue) >= QUEUE_MAX:
            return f"{QUEUE_MAX} events wait already"
        if self._commit.room.starved and not is_closing(event):
            return "less than 2 % of the audit volume is free"
        return ""

    def close(self, reason: str = "stop", *, timeout: float = 10.0) -> None:
        """Seal what is queued and `process_stop`, then give the chain back. Blocks up to `timeout` s."""
        if self._stopping:
            return
        self._stopping = True
        if self._thread.is_alive():
            self._queue.append(None)
            self._ring()
            self._thread.join(timeout)
        if self._thread.is_alive():
            return  # a flush hangs: the lock stays, so that nobody else extends this chain behind its back
        if self._ended in {"", CLOSED} and not self._commit.failure:
            with suppress(AuditFault):
                self._commit.append_all([(system("process_stop", {}, reason=reason), None)])
        self._ended = self._ended or CLOSED
        self._refuse_queued()
        self.tally.line(queue_depth=0, now=True)
        self._commit.close()

    def _run(self) -> None:
        waiting: list[_Waiter] = []
        try:
            while self._serve(waiting):
                pass
            self._ended = CLOSED
        finally:
            # Nobody waits any more on the orderly way out. An error that nobody foresaw must hang no caller.
            self._ended = self._ended or "the audit writer ended unexpectedly"
            self._wake([(waiter, fault(waiter.event, self._ended)) for waiter in waiting])
            self._refuse_queued()

    def _serve(self, waiting: list[_Waiter]) -> bool:
        """Seal one batch, or look around when there is none. False: asked to stop."""
        try:
            first = self._first()
        except IndexError:
            self._look_around()
            return True
        if first is None:
            return False
        waiting.append(first)
        step = self._steps.look()
        batch = self._commit.begin()
        if step is not None:
            self._commit.add(batch, step)
        more = self._fill(batch, waiting)
        self._seal(batch, waiting)
        self._commit.roll_if_old()
        return more

    def _fill(self, batch: Batch, waiting: list[_Waiter]) -> bool:
        """Take what waits, until the batch is full or old enough. False: asked to stop."""
        started = self._clock.monotonic()
        while True:
            self._commit.add(batch, waiting[-1].event)
            now = self._clock.monotonic()
            if batch.is_full or now - started >= BUILD_MAX + self._linger:
                return True
            if not self._queue and now - started < self._linger:
                self._linger_for_company(started + self._linger - now)
            try:
                waiter = self._queue.popleft()
            except IndexError:
                return True
            if waiter is None:
                return False
            waiting.append(waiter)

    def _first(self) -> _Waiter | None:
        """Who waits first, once the loops have brought what they have; raises IndexError if nobody does."""
        self._asleep = True  # before the look: who comes after it rings
        if not self._queue:
            self._listen(TICK)
        elif self._gathering and not self._listen(GATHER_MAX):
            self._gathering.clear()  # a loop that is stuck, or gone for good, holds nobody up
        self._asleep = False
        return self._queue.popleft()

    def _linger_for_company(self, patience: float) -> None:
        self._asleep = True
        if not self._queue:
            self._listen(patience)
        self._asleep = False

    def _listen(self, patience: float) -> bool:
        """Wait for the bell, at most so many seconds; whether it rang."""
        try:
            self._bell.get(timeout=patience)
        except Empty:
            return False
        return True

    def _seal(self, batch: Batch, waiting: list[_Waiter]) -> None:
        """Flush, count, then wake everybody: not one of them before the flush returned."""
        started = self._clock.monotonic()
        verdicts = self._commit.finish(batch)
        own = len(verdicts) - len(waiting)
        self.tally.batch(verdicts, latency=self._clock.monotonic() - started, queue_depth=len(self._queue))
        self._wake(list(zip(waiting, verdicts[own:], strict=True)))
        waiting.clear()

    def _look_around(self) -> None:
        self._commit.look()
        self._commit.mend()
        step = self._steps.look()
        if step is not None:
            batch = self._commit.begin()
            self._commit.add(batch, step)
            self._seal(batch, [])
        self._commit.roll_if_old()
        self.tally.line(queue_depth=len(self._queue))

    def _refuse_queued(self) -> None:
        refused: list[tuple[_Waiter, Verdict]] = []
        with suppress(IndexError):
            while True:
                waiter = self._queue.popleft()
                if waiter is not None:
                    refused.append((waiter, fault(waiter.event, self._ended)))
        self._wake(refused)

    @staticmethod
    def _wake(results: list[tuple[_Waiter, Verdict]]) -> None:
        """One call per event loop, whatever the size of the batch."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Receipt], Verdict]]] = {}
        for waiter, verdict in results:
            by_loop.setdefault(waiter.loop, []).append((waiter.future, verdict))
        for loop, due in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(_deliver, due)


def _deliver(due: list[tuple[asyncio.Future[Receipt], Verdict]]) -> None:
    for future, verdict in due:
        if future.done():  # the caller was cancelled; the record stands
            continue
        if isinstance(verdict, AuditFault):
            future.set_exception(verdict)
        else:
            future.set_result(verdict)
