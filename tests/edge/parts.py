"""A loop whose clock a test never waits for, and the other side of one HTTP request as ASGI shows it."""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Message = dict[str, Any]
HeaderList = list[tuple[bytes, bytes]]

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
    """A client: what it sends, and when it was sent what."""

    def __init__(self, body: bytes | None = b"") -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[tuple[float, Message]] = []
        self.held: asyncio.Event | None = None
        """Set by a test: the client takes nothing before it is set."""
        if body is not None:
            self.upload(body)

    def upload(self, body: bytes, *, more: bool = False) -> None:
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        return await self._incoming.get()

    async def send(self, message: Message) -> None:
        if self.held is not None:
            await self.held.wait()
        self.sent.append((now(), message))

    @property
    def status(self) -> int:
        return self.sent[0][1]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0][1]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for _, message in self.sent[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The messages of a stream."""
        blocks = [block for block in self.body.split(b"\n\n") if block not in (b"", b":")]
        assert all(block.startswith(b"event: message\ndata: ") for block in blocks), blocks
        return [json.loads(block.partition(b"data: ")[2]) for block in blocks]


def scope(
    method: str = "POST",
    path: str = "/mcp",
    headers: Sequence[tuple[str, str]] = (),
    *,
    query: bytes = b"",
    host: str | None = "localhost:8080",
    client: tuple[str, int] | None = ("192.0.2.7", 4711),
) -> dict[str, Any]:
    """A request as the server hands it over."""
    own = [("host", host)] if host is not None else []
    return {
        "type": "http",
        "method": method,
        "raw_path": path.encode("latin-1"),
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in (*own, *headers)],
        "client": client,
    }
