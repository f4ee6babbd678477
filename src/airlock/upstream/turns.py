"""The calls of one owner on one life of a process that serves nobody else.

What a server says on its pipes names no call. So a call during which it may ask something, or log, runs
alone: whatever it says meanwhile belongs to that call. Other calls run together. Who comes first runs first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from airlock.core.errors import Effect
from airlock.upstream.calls import Call, peek, reply_line, withdrawn
from airlock.upstream.frames import TurnedAway

if TYPE_CHECKING:
    from airlock.core.errors import UpstreamFault
    from airlock.upstream.calls import Sink
    from airlock.upstream.child import Child
    from airlock.upstream.dialogue import Peer

MOST_RUNNING, MOST_WAITING = 64, 128
"""Calls of one owner on one process (F-8)."""
MOST_ASKED = 16
"""Questions of a server that wait for an answer; none is dropped on its way, so there is a bound."""

LOGGED, CANCELLED = "notifications/message", "notifications/cancelled"

_OVER = {"code": -32603, "message": "The call that asks is over"}


class _Turn:
    """The sink of a call: its end is the beginning of the next one."""

    __slots__ = ("_call", "_sink", "_turns")

    def __init__(self, turns: Turns, call: Call, sink: Sink) -> None:
        self._turns = turns
        self._call = call
        self._sink = sink

    def answered(self, line: bytes) -> None:
        self._turns.over(self._call)
        self._sink.answered(line)

    def failed(self, fault: UpstreamFault) -> None:
        self._turns.over(self._call)
        self._sink.failed(fault)

    def notified(self, line: bytes) -> None:
        self._sink.notified(line)

    def asked(self, line: bytes) -> None:
        self._sink.asked(line)


class _Levelled:
    """The sink of `logging/setLevel`: whatever comes of it, its call goes on."""

    def __init__(self, turns: Turns, call: Call) -> None:
        self._turns = turns
        self._call = call

    def answered(self, line: bytes) -> None:
        del line
        self._turns.go(self._call)

    def failed(self, fault: UpstreamFault) -> None:
        del fault
        self._turns.go(self._call)

    def notified(self, line: bytes) -> None:
        """No progress was asked for."""

    asked = notified


class Turns:
    """See the module. Everything is called on one loop and returns at once."""

    def __init__(self, *, child: Child, peer: Peer) -> None:
        self._child = child
        self._modern = peer.modern
        self._levels = not peer.modern and "logging" in (peer.capabilities or {})
        self._level = ""
        self._waiting: deque[Call] = deque()
        self._running: set[Call] = set()
        self._alone: Call | None = None
        self._questions: set[int | str] = set()
        self._choosing = False
        child.hears = self._hears

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting)

    @property
    def asking(self) -> bool:
        """Whether the running call waits for what its client answers."""
        return bool(self._questions)

    def send(self, call: Call) -> None:
        """Have it run when it is its turn, or fail it."""
        if len(self._waiting) >= MOST_WAITING:
            detail = f"{MOST_WAITING} calls of this caller wait for it"
            call.sink.failed(TurnedAway.unavailable(detail, effect=Effect.NONE, retry_after=1))
            return
        call.sink = _Turn(self, call, call.sink)
        self._waiting.append(call)
        self._choose()

    def cancel(self, call: Call) -> None:
        """Its caller is gone."""
        if call in self._running:
            self._withdraw(call)
            self._child.cancel(call)
            self.over(call)
        elif call in self._waiting:
            self._waiting.remove(call)
            self._choose()

    def reply(self, call: Call, line: bytes) -> None:
        """What the client of a call says to a question; dropped unless the call runs and was asked that."""
        number = peek.decode(line).id
        if call is self._alone and isinstance(number, int | str) and number in self._questions:
            self._questions.remove(number)
            self._child.reply(line + b"\n")

    def close(self, reason: str) -> None:
        """The process ends: who waits has not been heard by it. The child fails what runs."""
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.sink.failed(TurnedAway.unavailable(reason, effect=Effect.NONE, retry_after=1))

    def over(self, call: Call) -> None:
        """A call has ended, or never will be sent."""
        self._withdraw(call)
        self._running.discard(call)
        if call is self._alone:
            self._alone = None
        self._choose()

    def go(self, call: Call) -> None:
        """Everything that a call needs is said."""
        if call in self._running:
            self._child.send(call)

    def _choose(self) -> None:
        """Begin what may begin. A call that fails at once ends within: that is not a second choice."""
        if self._choosing:
            return
        self._choosing = True
        while self._waiting and self._alone is None and len(self._running) < MOST_RUNNING:
            alone = self._is_alone(self._waiting[0])
            if alone and self._running:
                break
            call = self._waiting.popleft()
            self._running.add(call)
            self._alone = call if alone else None
            self._begin(call)
        self._choosing = False

    def _is_alone(self, call: Call) -> bool:
        """A modern server asks in its answers, and logs only where that is wanted."""
        return bool(call.level) or (call.asks and not self._modern)

    def _begin(self, call: Call) -> None:
        if not self._levels or call.level in {"", self._level}:
            self._child.send(call)
            return
        self._level = call.level
        params: dict[str, Any] = {"level": call.level}
        sink = _Levelled(self, call)
        self._child.send(Call(sink=sink, method="logging/setLevel", params=msgspec.json.encode(params)))

    def _withdraw(self, call: Call) -> None:
        """Answer what a call that ends was asked and nobody answers any more."""
        if call is self._alone:
            for number in self._questions:
                self._child.reply(reply_line(number, error=_OVER))
            self._questions.clear()

    def _hears(self, method: str, number: object, line: bytes) -> bool:
        """Whether what the server says could be given to the call that it belongs to."""
        call = self._alone
        if call is None:
            return False
        if number is msgspec.UNSET:
            if method == CANCELLED:
                self._questions.discard(withdrawn(line))
            elif method != LOGGED:
                return False
            call.sink.notified(line)
            return True
        if not call.asks or not isinstance(number, int | str):
            return False
        if number not in self._questions and len(self._questions) < MOST_ASKED:
            self._questions.add(number)
            call.sink.asked(line)
        return number in self._questions
