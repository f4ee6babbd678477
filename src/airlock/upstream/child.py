"""One life of one stdio server: JSON-RPC lines over its pipes (MCP stdio transport, either era).

Ids and progress tokens are integers that this life never uses twice, so calls of different clients cannot
meet, whatever ids those clients chose. A call ends once: answered, failed, or cancelled by its caller;
what arrives for it later is dropped and counted. On a process that callers share nothing passes that would
need to know for whom the server speaks: its requests are refused, its log messages dropped. On a process of
one owner, `hears` knows.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from airlock.core.errors import UpstreamFault
from airlock.upstream.calls import (
    claimed_id,
    notification_line,
    peek,
    progress,
    reply_line,
    request_line,
    updated,
)
from airlock.upstream.dialogue import enveloped
from airlock.upstream.pipes import READ_SIZE, Blocked, Complaints, Lines, LineTooLong, Message, Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.core.clock import Clock
    from airlock.upstream.calls import Call, Counters

GARBAGE_LINES = 20
GARBAGE_WINDOW = 60.0
"""That many lines that are no JSON-RPC within that time, and the server is stopped."""
STDERR_PER_SECOND = 256 * 1024
"""Bytes read from standard error; a server that complains more has to wait."""


LIST_CHANGED = frozenset(f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources"))
UPDATED = "notifications/resources/updated"

SHARED = "not offered to servers that several callers share"
NOBODY = "no call is running whose client can be asked"
"""Why a request of a server is refused."""


class Child:
    """The wire to one process, on one loop. `over` resolves with the reason why it is of no use any more."""

    def __init__(
        self,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        clock: Clock,
        counters: Counters,
        complain: Callable[[str], None],
        list_changed: Callable[[], None],
        updated: Callable[[str], None],
        patience: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._counters = counters
        self._list_changed = list_changed
        self._updated = updated
        self._stdout = stdout
        self._stderr = stderr
        self._lines = Lines()
        self._next = 1
        self._calls: dict[int, Call] = {}
        self._garbage: deque[float] = deque(maxlen=GARBAGE_LINES)
        self._stderr_budget = STDERR_PER_SECOND
        self._refill: asyncio.TimerHandle | None = None
        self._outbox = Outbox(stdin, clock=clock, patience=patience)
        self.complaints = Complaints(clock=clock, write=complain)
        self.hears: Callable[[str, object, bytes], bool] | None = None
        """Told (method, id or UNSET, line) of what names no call; whether it belongs to one."""
        self.modern = False
        """Whether requests carry the per-request envelope."""
        self.over: asyncio.Future[str] = self._loop.create_future()
        self._loop.add_reader(stdout, self._read_stdout)
        self._loop.add_reader(stderr, self._read_stderr)

    def send(self, call: Call) -> None:
        """Give it an id and hand it to the server, or fail it."""
        call.id = self._next
        self._next += 1
        meta = {**call.meta, "progressToken": call.id} if call.progress else call.meta
        if self.modern:
            meta = enveloped({"_meta": meta}, call.capabilities)["_meta"]
        line = request_line(call.id, call.method, meta, call.params)
        call.message = Message(line, lambda: self._unread(call))
        self._calls[call.id] = call
        try:
            self._outbox.push(call.message)
        except Blocked:
            self._unread(call)

    def cancel(self, call: Call) -> None:
        """Its caller is gone: take it back, or tell the server. The sink hears nothing more."""
        if self._calls.pop(call.id, None) is None or call.message is None:
            return
        if not self._outbox.withdraw(call.message):
            self.tell("notifications/cancelled", {"requestId": call.id, "reason": "the caller went away"})

    def tell(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification; a server that does not read has no use for it."""
        self._push(notification_line(method, params))

    def reply(self, line: bytes) -> None:
        """Send the answer to a request of the server."""
        self._push(line)

    def close(self, reason: str) -> None:
        """No more reading or writing. What the server has answered still counts; all other calls fail."""
        self._outbox.close()
        while self._read_stdout() and not self.over.done():
            continue
        self._read_stderr()
        self.end(reason)
        if self._refill is not None:
            self._refill.cancel()
        self._loop.remove_reader(self._stderr)
        os.close(self._stdout)
        os.close(self._stderr)
        while self._calls:  # the end of one may have begun another
            call = self._calls.pop(next(iter(self._calls)))
            call.sink.failed(UpstreamFault.unavailable(reason, effect=call.effect, retry_after=1))

    def _push(self, line: bytes) -> None:
        try:
            self._outbox.push(Message(line, lambda: None))
        except Blocked:
            self._counters.notifications += 1

    def _unread(self, call: Call) -> None:
        if self._calls.pop(call.id, None) is not None:
            fault = UpstreamFault.unavailable("it does not read its input", effect=call.effect, retry_after=5)
            call.sink.failed(fault)

    def end(self, reason: str) -> None:
        """It is of no use any more; nothing is read from now on."""
        if not self.over.done():
            self._loop.remove_reader(self._stdout)
            self.over.set_result(reason)

    def _read_stdout(self) -> bool:
        """Take what is there; whether there may be more."""
        if self.over.done():
            return False
        try:
            data = os.read(self._stdout, READ_SIZE)
            for line in self._lines.feed(data):
                if not self.over.done():
                    self._line(line)
        except BlockingIOError:
            return False
        except LineTooLong as problem:
            self.end(f"it wrote {problem}")
        else:
            if data:
                return True
            self.end("it closed its output")
        return False

    def _read_stderr(self) -> None:
        try:
            data = os.read(self._stderr, READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._stderr)
            return
        before = self.complaints.suppressed
        self.complaints.feed(data)
        self._counters.stderr_lines += self.complaints.suppressed - before
        self._stderr_budget -= len(data)
        if self._stderr_budget <= 0:
            self._loop.remove_reader(self._stderr)
        if self._refill is None:
            self._refill = self._loop.call_later(1.0, self._refilled)

    def _refilled(self) -> None:
        self._refill = None
        self._stderr_budget = STDERR_PER_SECOND
        self._loop.add_reader(self._stderr, self._read_stderr)

    def _line(self, line: bytes) -> None:
        try:
            found = peek.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._not_mcp(line)
            return
        if isinstance(found.method, str):
            self._spoken_to(found.method, found.id, line)
        elif found.result is msgspec.UNSET and found.error is msgspec.UNSET:
            self._not_mcp(line)
        else:
            call = self._calls.pop(found.id, None) if isinstance(found.id, int) else None
            if call is None:
                self._counters.late += 1
            else:
                call.sink.answered(line)

    def _spoken_to(self, method: str, number: object, line: bytes) -> None:
        """A request or a notification of the server."""
        if method == "notifications/progress":
            self._progressed(line)
        elif method in LIST_CHANGED:
            self._list_changed()
        elif method == UPDATED:
            self._resource_updated(line)
        elif method == "ping" and number is not msgspec.UNSET:
            self._push(reply_line(number, result={}))
        elif self.hears is not None and self.hears(method, number, line):
            return
        elif number is msgspec.UNSET:
            self._counters.notifications += 1
        else:
            self._counters.requests += 1
            why = NOBODY if self.hears is not None else SHARED
            self._push(reply_line(number, error={"code": -32601, "message": why}))

    def _resource_updated(self, line: bytes) -> None:
        try:
            self._updated(updated.decode(line).params.uri)
        except msgspec.DecodeError:
            self._counters.notifications += 1

    def _progressed(self, line: bytes) -> None:
        try:
            token = progress.decode(line).params.progress_token
        except msgspec.DecodeError:
            token = ""
        call = self._calls.get(token) if isinstance(token, int) else None
        if call is None or not call.progress:
            self._counters.notifications += 1
        else:
            call.sink.notified(line)

    def _not_mcp(self, line: bytes) -> None:
        """Drop a line that is no message. If it names a call, that call has got its answer."""
        self._counters.garbage += 1
        call = self._calls.pop(claimed_id(line), None)
        if call is not None:
            call.sink.failed(UpstreamFault.protocol("its answer is no JSON"))
        now = self._clock.monotonic()
        self._garbage.append(now)
        if len(self._garbage) == GARBAGE_LINES and now - self._garbage[0] < GARBAGE_WINDOW:
            self.end(f"it wrote {GARBAGE_LINES} lines that are no messages within a minute")
