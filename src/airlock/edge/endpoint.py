"""`POST /mcp` and `POST /mcp/{server}`: from an HTTP request to an `Inbound`, and from a `Reply` to bytes.

Nothing here decides about the call. What is checked is transport: content type, what the client accepts,
doubled headers, size and time of the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

import msgspec

from airlock.core import ids
from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused, Rejected
from airlock.edge.heads import HeaderList
from airlock.edge.reader import Reader
from airlock.edge.stream import Conversation, send_reply
from airlock.edge.visit import Visit
from airlock.gateway.kept import Streams
from airlock.gateway.listening import Opened
from airlock.gateway.listens import LISTEN
from airlock.gateway.sessions import SESSION_HEADER
from airlock.mcp import eras
from airlock.mcp.headers import Accept, Headers, accepts, check_content
from airlock.model.call import Inbound, Reached, Reply
from airlock.model.upstream import Notify

UNKNOWN_BODY = 64 * 1024
"""Bytes of a body that is read before its token is checked: those of ordinary calls."""

BODY_TIME = 30.0
"""Seconds within which a body must have arrived (H-15)."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The handlers of the MCP routes."""

    govern: Callable[[Inbound, Notify], Awaitable[Reply]]
    end_session: Callable[[Inbound], Awaitable[Reply]]
    explain: Callable[[Reached | None, Refused | Fault], Reply]
    why_closed: Callable[[], str]
    """Why no call is served now; empty while calls are served."""
    introduce: Callable[[Inbound], Awaitable[None]]
    """Waits a moment where the token needs a key that has to be fetched; before an answer can begin."""
    known: Callable[[Inbound], bool]
    """Whether the token counts: nobody else may make us hold a large body."""
    listening: Callable[[Inbound], Awaitable[Opened]]
    """The stream that a `GET` may read. Raises `Refused` or `Fault`."""
    streams: Streams
    clock: Clock
    max_body: int

    async def get(self, visit: Visit, extra: HeaderList) -> None:
        """A stream of the caller's own legacy session, or what was missed of one."""
        try:
            self._open()
            refuse_query_token(visit.query)
            inbound = self._inbound(visit, Headers(visit.fields), b"")
            await self.introduce(inbound)
            opened = await self.listening(inbound)
        except (Refused, Fault) as refused:
            send_reply(visit, self.explain(None, refused), extra)
            return
        await Reader(visit, opened, extra).run()

    async def post(self, visit: Visit, extra: HeaderList) -> None:
        """One JSON-RPC message in, one answer out."""
        try:
            self._open()
            inbound, accept = await self._receive(visit)
        except Refused as refused:
            send_reply(visit, self.explain(None, refused), extra)
            return
        modern = inbound.headers.get("mcp-protocol-version") in eras.MODERN
        session = inbound.headers.get(SESSION_HEADER) is not None
        conversation = Conversation(
            visit=visit,
            stream=accept.sse,
            plain=accept.json,
            headers=extra,
            cancel_when_gone=modern,
            streams=None if modern else self.streams,
            early=modern or session,
        )
        if inbound.headers.get("mcp-method") == LISTEN if modern else session:
            inbound = msgspec.structs.replace(inbound, stream=conversation)
        await conversation.answer(self.govern(inbound, conversation.notify))

    async def delete(self, visit: Visit, extra: HeaderList) -> None:
        """End the caller's own legacy session."""
        try:
            self._open()
            inbound = self._inbound(visit, Headers(visit.fields), b"")
            await self.introduce(inbound)
            reply = await self.end_session(inbound)
        except Refused as refused:
            reply = self.explain(None, refused)
        send_reply(visit, reply, extra)

    def _open(self) -> None:
        why = self.why_closed()
        if why:
            raise Rejected(
                503, -32603, "not_ready", f"No call is served now: {why}.", headers=(("retry-after", "5"),)
            )

    async def _receive(self, visit: Visit) -> tuple[Inbound, Accept]:
        refuse_query_token(visit.query)
        headers = Headers(visit.fields)
        check_content(headers)
        accept = answer_forms(headers)
        announced = announced_size(headers, self.max_body)
        here = visit.whole() if announced <= UNKNOWN_BODY else None
        inbound = self._inbound(visit, headers, here or b"")
        await self.introduce(inbound)
        if announced > UNKNOWN_BODY and not self.known(inbound):
            return inbound, accept  # refused for its token before anything looks at the body
        if here is None or len(here) > self.max_body:
            inbound = msgspec.structs.replace(inbound, body=await read_body(visit, self.max_body))
        return inbound, accept

    def _inbound(self, visit: Visit, headers: Headers, body: bytes) -> Inbound:
        path = visit.path.decode("ascii")
        peer = visit.client or ("", 0)
        return Inbound(
            request_id=ids.uuid7(),
            route=path,
            server=path.removeprefix("/mcp").removeprefix("/"),
            headers=headers,
            body=body,
            source_ip=peer[0],
            source_port=peer[1],
            received=self.clock.monotonic(),
        )


def answer_forms(headers: Headers) -> Accept:
    """What the client takes. Who sends a single legacy request and takes anything gets one JSON object."""
    accept = accepts(headers)
    legacy = headers.get("mcp-protocol-version") not in eras.MODERN
    alone = legacy and headers.get("mcp-session-id") is None
    return Accept(json=True, sse=False) if alone and headers.get("accept") in (None, "*/*") else accept


def refuse_query_token(query: bytes) -> None:
    """A token in a URL ends up in logs: refused before anything else looks at it (A-3)."""
    if query and any(name == b"access_token" for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise Rejected(400, -32600, "token_in_query", "Send the token in the Authorization header.")


def announced_size(headers: Headers, most: int) -> int:
    """The size of the body as announced, or `most` where it is not. Raises 413 beyond that."""
    announced = headers.get("content-length") or ""
    size = int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 20 else most
    if size > most:
        raise _too_large(most)
    return size


async def read_body(visit: Visit, most: int) -> bytes:
    """The whole body, at most `most` bytes, within `BODY_TIME`."""
    body = visit.whole()
    if body is not None:
        if len(body) > most:
            raise _too_large(most)
        return body
    try:
        async with asyncio.timeout(BODY_TIME):
            return await _collect(visit, most)
    except TimeoutError as late:
        raise Rejected(
            408,
            -32600,
            "body_too_slow",
            "The body did not arrive in time.",
            headers=(("connection", "close"),),
        ) from late


async def _collect(visit: Visit, most: int) -> bytes:
    parts = bytearray()
    while piece := await visit.piece():
        parts += piece
        if len(parts) > most:
            raise _too_large(most)
    if piece is None:
        raise Rejected(400, -32600, "body_incomplete", "The body ended early.")
    return bytes(parts)


def _too_large(most: int) -> Rejected:
    """The connection stays open for a while, and what still comes is thrown away: who is cut off in the
    middle of sending never reads the answer."""
    return Rejected(413, -32600, "body_too_large", f"The body is larger than {most} bytes.")
