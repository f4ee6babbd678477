"""JSON-RPC over HTTP with one server: request heads, and the meaning of statuses and answers.

A request carries the headers written here and the server's own credential, nothing of a client. What a
server answers is an `UpstreamAnswer`, errors included, or a status without one (`Reply.fault`). Answers for
an id that nobody waits for are dropped and counted. A fault has the effect NONE only if nothing was written
or the status says that the request was not applied.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from airlock import __version__
from airlock.core.errors import Effect, UpstreamFault
from airlock.model.upstream import Notify, UpstreamAnswer
from airlock.upstream import dialogue
from airlock.upstream.exchange import EVENTS, JSON, SILENCE, Exchange, Opening, Unattended

if TYPE_CHECKING:
    from airlock.core.clock import Clock
    from airlock.upstream.credentials import Credential
    from airlock.upstream.guard import Endpoint
    from airlock.upstream.pool import Pool

CANCEL = 1.0
"""Seconds to find a connection for a cancellation; past that the server learns nothing of it."""
COURTESY = 5.0
"""Seconds for messages whose answer changes nothing."""

SERVER_REQUESTS = 64
"""Requests that a server may make of us in the course of one of ours."""

RESUMED = 16
"""How often a stream that ended before the answer is asked for again."""
RETRY, RETRY_MOST = 1.0, 10.0
"""Seconds before that: where the server says nothing, and at most."""
STANDING = 3600.0
"""Seconds for which a stream that answers no request stays open, silent or not."""

PERSON = 150.0
"""Seconds of silence on a stream on which the server asked something: it may wait for a person."""

REPEATABLE = frozenset(
    {
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
    }
)
"""Methods sent once more when a connection failed before the first byte of an answer."""

_NOT_APPLIED = frozenset({401, 403, 405})
"""Statuses by which RFC 9110 says that the request was not applied."""

_encode = msgspec.json.Encoder().encode
_PARAM = re.compile(r"Mcp-Param-[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.IGNORECASE)
_VALUE = re.compile(r"[\x20-\x7e]*")


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One JSON-RPC request, ready to be written."""

    id: int
    method: str
    lines: bytes
    """Header lines of the era or session, each ended by CRLF."""
    params: dict[str, Any]
    era: str
    deadline: float
    """Monotonic seconds."""
    notify: Notify | None = None
    asked: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    """Answers a request of the server on the stream; None where the era knows none: a violation."""
    sent: Callable[[Exchange], None] | None = None
    """Hears of the exchange that was begun: it may have to bear more silence than others."""
    resumable: bool = False
    """A stream that ends before the answer is asked for again."""
    abandoned: Callable[[], Awaitable[None]] | None = None
    """Awaited when the written request is given up: its task was cancelled or the time is over."""


def linger(exchange: Exchange) -> None:
    """For `Outgoing.sent`: silence is no fault, the stream ends when its server, or we, want that."""
    exchange.wait_for(STANDING)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: `answer`, or `fault` where there is none."""

    status: int
    answer: UpstreamAnswer | None = None
    fault: UpstreamFault | None = None
    addressed: bool = True
    """The answer names the id of the request; some refusals of servers do not."""
    session_id: bytes = b""

    def taken(self) -> UpstreamAnswer:
        """The answer. Raises the `UpstreamFault` that stands in its place."""
        if self.answer is None:
            raise self.fault or UpstreamFault.protocol(f"HTTP {self.status}")
        return self.answer


class Challenged(UpstreamFault):
    """401 or 403: the server refused the credential, or wanted one, and did not run the request."""

    def __init__(self, status: int, header: bytes) -> None:
        """`header`: its `WWW-Authenticate`."""
        detail = f"HTTP {status}: credential"
        text = "The server cannot be reached."
        super().__init__(50301, "upstream_unavailable", text, detail=detail, effect=Effect.NONE)
        self.status = status
        self.header = header.decode("latin-1")


class Heard(msgspec.Struct, frozen=True):
    """How a stream ended that answered no request."""

    status: int
    last_id: bytes
    retry: float
    """Seconds; 0 where the server does not say."""


class Wire:
    """Asks and tells one server. One event loop; calls are independent of each other."""

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        credential: Credential | None,
        pool: Pool,
        clock: Clock,
        first_byte: float,
    ) -> None:
        self.strays = 0
        """Messages that answered nothing."""
        self._pool = pool
        self._clock = clock
        self._first_byte = first_byte
        self._common = (
            f" {endpoint.target} HTTP/1.1\r\n"
            f"Host: {endpoint.authority}\r\n"
            "Accept: application/json, text/event-stream\r\n"
            "Accept-Encoding: identity\r\n"
            "Content-Type: application/json\r\n"
            f"User-Agent: airlock/{__version__}\r\n"
        )
        self.lend(credential)

    def lend(self, credential: Credential | None) -> None:
        """Show this credential with every request from here on, and no other."""
        common = self._common
        if credential is not None:
            common += "{}: {}\r\n".format(*credential.reveal())
        self._post = f"POST{common}".encode("ascii")
        self._delete = f"DELETE{common}".encode("ascii")
        self._get = f"GET{common}".encode("ascii")

    async def ask(self, outgoing: Outgoing) -> Reply:
        """Send a request and take its answer. Raises `UpstreamFault`, effect NONE if nothing was sent."""
        body = _encode(
            {"jsonrpc": "2.0", "id": outgoing.id, "method": outgoing.method, "params": outgoing.params}
        )
        data = self._request(self._post, outgoing.lines, body)
        exchange = await self._send(data, outgoing.deadline)
        if outgoing.sent is not None:
            outgoing.sent(exchange)
        answering = self._answered if outgoing.resumable else self._answer
        try:
            return await answering(exchange, outgoing)
        except UpstreamFault as fault:
            late = fault.reason == "upstream_timeout"
            if (exchange.abort() or late) and outgoing.abandoned is not None:
                await outgoing.abandoned()
            if late or not exchange.early or outgoing.method not in REPEATABLE:
                raise
        except asyncio.CancelledError:
            exchange.abort()
            if outgoing.abandoned is not None:
                await outgoing.abandoned()
            raise
        except BaseException:
            exchange.abort()
            raise
        return await self._again(data, outgoing)

    async def listen(
        self,
        lines: bytes,
        last_id: bytes,
        *,
        notify: Notify,
        asked: Callable[[dict[str, Any]], Awaitable[None]],
        opened: Callable[[], None],
    ) -> Heard:
        """Hear what a server says in a session outside of answers, from when it `opened` the stream until it
        ends it. Raises `UpstreamFault`."""
        now = self._clock.monotonic()
        connection = await self._pool.connect(now + COURTESY)
        exchange = Opening(connection, opened)
        data = self._reading(lines, last_id)
        connection.send(data, exchange, first_byte=self._first_byte, idle=STANDING, deadline=now + STANDING)
        try:
            piece = await exchange.next()
            while piece is not None and exchange.status == 200 and exchange.kind == EVENTS:
                message = dialogue.read_message(piece)
                if "method" not in message:
                    self.strays += 1
                elif "id" in message:
                    await asked(message)
                else:
                    notify(message["method"], message.get("params", {}))
                piece = await exchange.next()
        finally:
            exchange.abort()
        offered = exchange.status != 200 or exchange.kind == EVENTS
        return Heard(exchange.status if offered else 405, exchange.last_id, exchange.retry)

    async def tell(self, lines: bytes, message: dict[str, Any], *, patience: float = COURTESY) -> None:
        """Send a notification or an answer and wait for nothing. Raises `UpstreamFault` if it is not sent."""
        now = self._clock.monotonic()
        connection = await self._pool.take(now + patience)
        data = self._request(self._post, lines, _encode(message))
        connection.send(
            data, Unattended(), first_byte=COURTESY, idle=COURTESY, deadline=now + patience + COURTESY
        )

    async def deliver(self, lines: bytes, message: dict[str, Any], deadline: float) -> int:
        """Send a notification and wait until the server took it; the status."""
        return await self._status(self._request(self._post, lines, _encode(message)), deadline)

    async def end_session(self, lines: bytes) -> int:
        """Send DELETE for a session; the status. A server may not offer it (405)."""
        return await self._status(self._request(self._delete, lines, b""), self._clock.monotonic() + COURTESY)

    async def _status(self, data: bytes, deadline: float) -> int:
        exchange = await self._send(data, deadline)
        try:
            await exchange.next()
            exchange.leave()
        except BaseException:
            exchange.abort()
            raise
        return exchange.status

    async def _answered(self, exchange: Exchange, outgoing: Outgoing) -> Reply:
        """The answer, asked for again where its stream allows that."""
        try:
            return await self._answer(exchange, outgoing)
        except UpstreamFault:
            if not exchange.resumable:
                raise
        return await self._resumed(exchange, outgoing)

    async def _resumed(self, before: Exchange, outgoing: Outgoing) -> Reply:
        """The answer from a stream that is asked for again, as often as it ends too early."""
        last_id, retry = before.last_id, before.retry
        for _ in range(RESUMED):
            await asyncio.sleep(min(retry or RETRY, RETRY_MOST))
            exchange = await self._send(self._reading(outgoing.lines, last_id), outgoing.deadline)
            try:
                reply = await self._answer(exchange, outgoing)
            except UpstreamFault:
                if exchange.abort() or exchange.status != 200 or exchange.kind != EVENTS:
                    raise
                last_id, retry = exchange.last_id or last_id, exchange.retry
                continue
            except BaseException:
                exchange.abort()
                raise
            if reply.status != 200:
                break
            return reply
        raise UpstreamFault.protocol("its stream ended before the answer, and was not to be had again")

    def _reading(self, lines: bytes, last_id: bytes) -> bytes:
        again = b"Last-Event-ID: %b\r\n" % last_id if last_id else b""
        return b"%b%b%b\r\n" % (self._get, lines, again)

    async def _again(self, data: bytes, outgoing: Outgoing) -> Reply:
        exchange = await self._send(data, outgoing.deadline)
        try:
            return await self._answer(exchange, outgoing)
        except BaseException:
            exchange.abort()
            raise

    async def _send(self, data: bytes, deadline: float) -> Exchange:
        connection = self._pool.idle() or await self._pool.connect(deadline)
        exchange = Exchange(connection)
        connection.send(data, exchange, first_byte=self._first_byte, idle=SILENCE, deadline=deadline)
        return exchange

    async def _answer(self, exchange: Exchange, outgoing: Outgoing) -> Reply:
        data = await exchange.next()
        if exchange.status != 200:
            return _by_status(exchange, data or b"", outgoing)
        if exchange.kind not in {JSON, EVENTS}:
            raise UpstreamFault.protocol(f"an answer of type {exchange.kind[:80]!r}")
        others = 0
        while data is not None:
            message = dialogue.read_message(data)
            if "method" in message:
                others += "id" in message
                if others > SERVER_REQUESTS:
                    raise UpstreamFault.protocol(f"more than {SERVER_REQUESTS} requests of the server")
                await _other(message, outgoing)
                if others:
                    exchange.wait_for(PERSON)
            elif type(message.get("id")) is int and message["id"] == outgoing.id:
                self.strays += exchange.leave()
                return Reply(
                    status=200,
                    answer=dialogue.answer_of(message, size=len(data), era=outgoing.era),
                    session_id=exchange.fields.get(b"mcp-session-id", b""),
                )
            else:
                self.strays += 1
            data = await exchange.next()
        raise UpstreamFault.protocol("the answer ended without a message for this request")

    @staticmethod
    def _request(start: bytes, lines: bytes, body: bytes) -> bytes:
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (start, lines, len(body), body)


async def _other(message: dict[str, Any], outgoing: Outgoing) -> None:
    """A notification, or a request of the server, on the stream of a request."""
    if "id" in message:
        if outgoing.asked is None:
            raise UpstreamFault.protocol("a request of the server, which its era does not know")
        await outgoing.asked(message)
    elif outgoing.notify is not None:
        outgoing.notify(message["method"], message.get("params", {}))


def _by_status(exchange: Exchange, body: bytes, outgoing: Outgoing) -> Reply:
    """What a status other than 200 means: a JSON-RPC error where a 4xx carries one, else a fault."""
    status = exchange.status
    said = f"HTTP {status}"
    effect = Effect.NONE if status in _NOT_APPLIED else Effect.POSSIBLE
    if status in {401, 403}:
        return Reply(status=status, fault=Challenged(status, exchange.fields.get(b"www-authenticate", b"")))
    if status == 429 or status >= 500:
        wait = _seconds(exchange.fields.get(b"retry-after", b""))
        fault = UpstreamFault.unavailable(said, effect=effect, retry_after=wait)
        return Reply(status=status, fault=fault)
    message = _error_in(body) if status >= 400 and exchange.kind == JSON else None
    if message is not None and message.get("id") in {None, outgoing.id}:
        answer = dialogue.answer_of(message, size=len(body), era=outgoing.era)
        return Reply(status=status, answer=answer, addressed=message.get("id") is not None)
    return Reply(status=status, fault=UpstreamFault.protocol(said, effect=effect), addressed=False)


def _error_in(body: bytes) -> dict[str, Any] | None:
    try:
        message = dialogue.read_message(body)
    except UpstreamFault:
        return None
    return message if "error" in message else None


def _seconds(retry_after: bytes) -> int | None:
    """`Retry-After` in its form of seconds; as a date it is not worth a wrong clock."""
    return max(1, int(retry_after[:6])) if retry_after.isdigit() else None


def parameter_lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    """`Mcp-Param-*` header lines. Raises `ValueError` for other names and for values that are not encoded."""
    for name, value in headers:
        if not _PARAM.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"not an encoded Mcp-Param header: {name!r}")
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("ascii")
