"""What gateway workers and the runner of stdio servers say to each other over a Unix socket.

A frame is `[u32 length of head and body][u32 length of head][head][body]`, little endian. The head is one of
the structs below as JSON. The body is JSON of a client or of a server that this hop has no reason to take
apart: the params of a request, or the line that a server wrote. Whoever uses a body parses it strictly.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.dialogue import Peer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

MAX_FRAME = 16 * 1024 * 1024
"""Both directions carry at most one message of 4 MiB; the rest is room for the head."""

_LENGTHS = struct.Struct("<II")


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="request"):
    """One JSON-RPC request for a server; the body holds its params without `_meta`."""

    n: int
    """Number of the call on this connection, never used twice."""
    server: str
    method: str
    meta: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    capabilities: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    progress: bool = False
    """Ask for progress notifications; the runner makes the token."""
    owner: str = ""
    """Runs on a process that serves nobody else; empty: on the one that callers share."""
    single: bool = False
    """The owner never has a second process with the same capabilities."""
    asks: bool = False
    """What the server asks meanwhile comes as `Notified`, and is answered by `Said`."""
    level: str = ""
    """The least of the log messages that are wanted; empty: none."""


class Describe(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="describe"):
    """What did the server say of itself when it was started?"""

    n: int
    server: str


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="cancel"):
    """Nobody waits for call `n` any more."""

    n: int


class Said(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="said"):
    """What the client of call `n` answered; the body is the message for the server."""

    n: int


class Leave(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="leave"):
    """A session of a client is over: its processes are stopped."""

    session: str


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="watch"):
    """The worker wants to hear of changes of these resources of a server, and of no others."""

    server: str
    uris: tuple[str, ...]
    owner: str = ""
    """On whose process; empty: on the one that callers share."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="answer"):
    """The server answered; the body is its line, under an id of the runner."""

    n: int
    era: str


class Described(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="described"):
    """How the server introduced itself when it was started."""

    n: int
    peer: Peer


class Notified(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="notified"):
    """A notification that belongs to call `n`; the body is the server's line."""

    n: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="failed"):
    """Call `n` will get no answer: the parts of an `UpstreamFault`."""

    n: int
    code: int
    reason: str
    text: str
    detail: str
    effect: Literal["none", "possible"]
    retry_after: int | None = None
    turned_away: bool = False


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="event"):
    """Something about a server that nobody asked for."""

    server: str
    event: Literal["list_changed", "state", "updated"]
    state: str = ""
    """`starting ready waiting failed refused stopped`."""
    reason: str = ""
    uri: str = ""
    """The resource that was updated."""
    owner: str = ""
    """On whose process."""


ToRunner = Request | Describe | Cancel | Said | Leave | Watch
FromRunner = Answer | Described | Notified | Failed | Event

_encoder = msgspec.json.Encoder()
to_runner = msgspec.json.Decoder(ToRunner)
from_runner = msgspec.json.Decoder(FromRunner)


def encode(head: ToRunner | FromRunner, body: bytes = b"") -> bytes:
    """One frame."""
    text = _encoder.encode(head)
    return b"".join((_LENGTHS.pack(len(text) + len(body), len(text)), text, body))


class TurnedAway(UpstreamFault):
    """The call never came to a running server: the runner's own pauses already spare a server that fails."""


def failure(n: int, fault: UpstreamFault) -> Failed:
    """A fault, for the other side."""
    return Failed(
        n=n,
        code=fault.code,
        reason=fault.reason,
        text=fault.text,
        detail=fault.detail,
        effect=fault.effect.value,
        retry_after=fault.retry_after,
        turned_away=isinstance(fault, TurnedAway),
    )


def fault_of(head: Failed) -> UpstreamFault:
    """The fault that the other side met."""
    kind = TurnedAway if head.turned_away else UpstreamFault
    return kind(
        head.code,
        head.reason,
        head.text,
        detail=head.detail,
        effect=Effect(head.effect),
        retry_after=head.retry_after,
    )


class FrameError(ValueError):
    """The other side does not speak this protocol; the connection is of no use any more."""


class FrameReader:
    """Cuts a byte stream into (head, body) pairs."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The frames that `data` completes. Raises `FrameError`."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _LENGTHS.size:
                total, head = _LENGTHS.unpack_from(buffer, at)
                if total > MAX_FRAME or head > total:
                    raise FrameError(f"frame of {total} bytes with a head of {head}")
                begin = at + _LENGTHS.size
                if len(buffer) < begin + total:
                    return
                at = begin + total
                yield bytes(buffer[begin : begin + head]), bytes(buffer[begin + head : at])
        finally:
            del buffer[:at]


@contextmanager
def socket_address(path: Path) -> Generator[str]:
    """An address for `bind` and `connect`, short even where `path` exceeds the 107 bytes of `sun_path`."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def peer_uid(connection: socket.socket) -> int:
    """User of the process at the other end of a Unix socket (SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1]
