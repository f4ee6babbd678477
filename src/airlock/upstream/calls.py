"""A call to a stdio server and the lines that carry it: JSON-RPC 2.0, one message per line.

A line of a server is only peeked at here, to see whom it concerns. Nothing of it is trusted before whoever
uses it has parsed it strictly.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from airlock.core.errors import Effect

if TYPE_CHECKING:
    from airlock.core.errors import UpstreamFault
    from airlock.upstream.dialogue import Peer
    from airlock.upstream.pipes import Message


class Sink(Protocol):
    """Where a call reports to. One of `answered` and `failed` is called, once, unless it is cancelled."""

    def answered(self, line: bytes) -> None: ...
    def failed(self, fault: UpstreamFault) -> None: ...
    def notified(self, line: bytes) -> None: ...
    def asked(self, line: bytes) -> None: ...


class Waiter(Protocol):
    """Somebody who asked what the server said of itself. Exactly one of the two is called."""

    def described(self, peer: Peer) -> None: ...
    def undescribed(self, fault: UpstreamFault) -> None: ...


class Call:
    """A request on its way. `params` is a JSON object without `_meta`."""

    __slots__ = (
        "asks", "capabilities", "id", "level", "message", "meta", "method", "params", "progress", "sink",
    )  # fmt: skip

    def __init__(
        self,
        *,
        sink: Sink,
        method: str,
        params: bytes = b"{}",
        meta: dict[str, Any] | None = None,
        capabilities: dict[str, Any] | None = None,
        progress: bool = False,
        asks: bool = False,
        level: str = "",
    ) -> None:
        """`asks`: its client can be asked; `level`: the least of the log messages that are wanted."""
        self.asks = asks
        self.level = level
        self.sink = sink
        self.method = method
        self.params = params
        self.meta = meta or {}
        self.capabilities = capabilities or {}
        self.progress = progress
        self.id = 0
        self.message: Message | None = None

    @property
    def effect(self) -> Effect:
        """NONE is proven: no byte of it was handed to the server."""
        return Effect.POSSIBLE if self.message is not None and self.message.started else Effect.NONE


class Counters(msgspec.Struct, kw_only=True):
    """What was dropped, over all lives of a server."""

    garbage: int = 0
    late: int = 0
    notifications: int = 0
    requests: int = 0
    stderr_lines: int = 0


class Peek(msgspec.Struct):
    """As much of a line as routing needs. The rest is parsed strictly by whoever uses it."""

    id: int | str | float | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Token(msgspec.Struct):
    progress_token: int | str = msgspec.field(name="progressToken")


class Progress(msgspec.Struct):
    params: _Token


class _Uri(msgspec.Struct):
    uri: str


class Updated(msgspec.Struct):
    params: _Uri


class _Request(msgspec.Struct):
    request_id: int | str = msgspec.field(name="requestId")


class Withdrawn(msgspec.Struct):
    params: _Request


peek = msgspec.json.Decoder(Peek)
updated = msgspec.json.Decoder(Updated)
progress = msgspec.json.Decoder(Progress)
_withdrawn = msgspec.json.Decoder(Withdrawn)
_encode = msgspec.json.Encoder().encode


def withdrawn(line: bytes) -> int | str:
    """The id of the request that a server takes back; empty where it names none."""
    try:
        return _withdrawn.decode(line).params.request_id
    except msgspec.DecodeError:
        return ""


def request_line(number: int, method: str, meta: dict[str, Any], params: bytes) -> bytes:
    """One request. `params` came compact from our own encoder, so `_meta` can be put in front as text."""
    if meta:
        rest = b"}" if params == b"{}" else b"," + params[1:]
        params = b'{"_meta":' + _encode(meta) + rest
    return b'{"jsonrpc":"2.0","id":%d,"method":%s,"params":%s}\n' % (number, _encode(method), params)


def notification_line(method: str, params: dict[str, Any]) -> bytes:
    return _encode({"jsonrpc": "2.0", "method": method, "params": params}) + b"\n"


def reply_line(number: object, **outcome: dict[str, Any]) -> bytes:
    """Our answer to a request of the server."""
    return _encode({"jsonrpc": "2.0", "id": number, **outcome}) + b"\n"


def claimed_id(line: bytes) -> int:
    """The id in a line that only a lax parser reads (`NaN` is what many servers write), or 0."""
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return 0
    claimed = cast("dict[str, object]", found).get("id") if isinstance(found, dict) else None
    return claimed if type(claimed) is int else 0
