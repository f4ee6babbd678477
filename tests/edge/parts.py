"""A loop whose clock a test never waits for, and the other side of one HTTP request."""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from airlock.edge.heads import HeaderList
from airlock.edge.visit import Client, Listener

T = TypeVar("T")

PATIENCE = 0.002
"""Real seconds that sockets get before time passes; on a loopback what was written can be read at once."""


class _Selector(selectors.DefaultSelector):
    """Lets time pass instead of waiting for it."""

    now = 0.0
    sockets = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None and not self.sockets:
            raise AssertionError("everybody waits for somebody else")
        ready = super().select(PATIENCE if self.sockets and timeout != 0 else 0)
        if not ready and timeout:
            self.now += timeout
        return ready


class TravelLoop(asyncio.SelectorEventLoop):
    """An event loop in which a timer is due as soon as nothing else is left to do."""

    def __init__(self, *, sockets: bool = False) -> None:
        self._travelling = _Selector()
        self._travelling.sockets = sockets
        super().__init__(self._travelling)

    def time(self) -> float:
        return self._travelling.now


def travel(scenario: Coroutine[Any, Any, T], *, sockets: bool = False) -> T:
    """Run a scenario in its own time, which begins at 0."""
    with asyncio.Runner(loop_factory=lambda: TravelLoop(sockets=sockets)) as runner:
        return runner.run(scenario)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


class Peer:
    """A client and its request: what it sends, and when it was sent what. A `Visit`."""

    def __init__(
        self,
        body: bytes | None = b"",
        *,
        method: str = "POST",
        path: str = "/mcp",
        headers: Sequence[tuple[str, str]] = (),
        query: bytes = b"",
        host: str | None = "localhost:8080",
        client: Client | None = ("192.0.2.7", 4711),
    ) -> None:
        own = [("host", host)] if host is not None else []
        self.method = method
        self.path = path.encode("latin-1")
        self.query = query
        self.fields = [(name.encode(), value.encode("latin-1")) for name, value in (*own, *headers)]
        self.client = client
        self.gone = self.paused = False
        self.listener: Listener | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.sent: list[tuple[float, bytes]] = []
        """The parts of the body, and when they were sent."""
        self.begun = 0.0
        """When the head was sent."""
        self.ended = False
        self._arrived: list[bytes] = []
        self._complete = False
        self._news = asyncio.Event()
        self._reminder: asyncio.TimerHandle | None = None
        if body is not None:
            self.upload(body)

    # What the client does.

    def upload(self, body: bytes, *, more: bool = False) -> None:
        self._arrived.append(body)
        self._complete = not more
        self._news.set()

    def leave(self) -> None:
        self.gone = True
        self._news.set()
        if self.listener is not None:
            self.listener.left()

    def hold(self, *, paused: bool = True) -> None:
        """Take nothing, or take something again."""
        self.paused = paused
        if not paused:
            self._news.set()
            if self.listener is not None:
                self.listener.resumed()

    # What the gateway does.

    def whole(self) -> bytes | None:
        return b"".join(self._arrived) if self._complete and not self.gone else None

    async def piece(self) -> bytes | None:
        while not self._arrived and not self._complete and not self.gone:
            self._news.clear()
            await self._news.wait()
        if self._arrived:
            return self._arrived.pop(0)
        return None if self.gone else b""

    def answer(self, status: int, usual: HeaderList, body: bytes, more: HeaderList = ()) -> None:
        length = ("content-length", str(len(body)))
        self._begin(status, (*usual, length, *more))
        self._send(body, last=True)

    def say(self, headers: HeaderList, data: bytes, *, last: bool = False) -> None:
        if not self.status:
            self._begin(200, headers)
        self._send(data, last=last)

    async def drained(self) -> None:
        while self.paused and not self.gone:
            self._news.clear()
            await self._news.wait()

    def remind(self, seconds: float, what: Callable[[], None] | None) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
        self._reminder = None
        if what is not None:
            self._reminder = asyncio.get_running_loop().call_later(seconds, what)

    def _begin(self, status: int, headers: HeaderList) -> None:
        assert not self.status, "an answer begins once"
        if not self.gone:
            self.status, self.headers, self.begun = status, dict(headers), now()

    def _send(self, data: bytes, *, last: bool) -> None:
        assert not self.ended, "an answer ends once"
        if not self.gone:
            self.sent.append((now(), data))
            self.ended = last

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.sent)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The messages of a stream."""
        blocks = [block for block in self.body.split(b"\n\n") if block not in (b"", b":")]
        assert all(block.startswith(b"event: message\ndata: ") for block in blocks), blocks
        return [json.loads(block.partition(b"data: ")[2]) for block in blocks]
