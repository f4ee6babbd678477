"""`POST /mcp` and `POST /mcp/{server}`: from an HTTP request to an `Inbound`, and from a `Reply` to bytes.

Nothing here decides about the call. What is checked is transport: content type, what the client accepts,
doubled headers, size and time of the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from airlock.core import ids
from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused, Rejected
from airlock.edge.stream import Conversation, HeaderList, Receive, Send, send_reply
from airlock.mcp import eras
from airlock.mcp.headers import Accept, Headers, accepts, check_content
from airlock.model.call import Inbound, Reached, Reply
from airlock.model.upstream import Notify

UNKNOWN_BODY = 64 * 1024
"""Bytes of a body that is read before its token is checked: those of ordinary calls."""

BODY_TIME = 30.0
"""Seconds within which a body must have arrived (H-15)."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The ASGI handlers of the MCP routes."""

    govern: Callable[[Inbound, Notify], Awaitable[Reply]]
    end_session: Callable[[Inbound], Awaitable[Reply]]
    explain: Callable[[Reached | None, Refused | Fault], Reply]
    why_closed: Callable[[], str]
    """Why no call is served now; empty while calls are served."""
    introduce: Callable[[Inbound], Awaitable[None]]
    """Waits a moment where the token needs a key that has to be fetched; before an answer can begin."""
    known: Callable[[Inbound], bool]
    """Whether the token counts: nobody else may make us hold a large body."""
    clock: Clock
    max_body: int

    async def post(self, scope: dict[str, Any], receive: Receive, send: Send, extra: HeaderList) -> None:
        """One JSON-RPC message in, one answer out."""
        try:
            self._open()
            inbound, accept = await self._receive(scope, receive)
        except Refused as refused:
            await send_reply(send, self.explain(None, refused), extra)
            return
        conversation = Conversation(
            send=send,
            receive=receive,
            stream=accept.sse,
            plain=accept.json,
            headers=extra,
            cancel_when_gone=inbound.headers.get("mcp-protocol-version") in eras.MODERN,
        )
        await conversation.answer(self.govern(inbound, conversation.notify))

    async def delete(self, scope: dict[str, Any], receive: Receive, send: Send, extra: HeaderList) -> None:
        """End the caller's own legacy session."""
        try:
            self._open()
            inbound = self._inbound(scope, Headers(scope["headers"]), b"")
            await self.introduce(inbound)
            reply = await self.end_session(inbound)
        except Refused as refused:
            reply = self.explain(None, refused)
        await send_reply(send, reply, extra)

    def _open(self) -> None:
        why = self.why_closed()
        if why:
            raise Rejected(
                503, -32603, "not_ready", f"No call is served now: {why}.", headers=(("retry-after", "5"),)
            )

    async def _receive(self, scope: dict[str, Any], receive: Receive) -> tuple[Inbound, Accept]:
        refuse_query_token(scope["query_string"])
        headers = Headers(scope["headers"])
        check_content(headers)
        accept = answer_forms(headers)
        announced = announced_size(headers, self.max_body)
        inbound = self._inbound(scope, headers, b"")
        await self.introduce(inbound)
        if announced > UNKNOWN_BODY and not self.known(inbound):
            return inbound, accept  # refused for its token before anything looks at the body
        body = await read_body(receive, self.max_body)
        return msgspec.structs.replace(inbound, body=body), accept

    def _inbound(self, scope: dict[str, Any], headers: Headers, body: bytes) -> Inbound:
        path = scope["raw_path"].decode("ascii")
        peer = scope["client"] or ("", 0)
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
    if any(name == b"access_token" for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise Rejected(400, -32600, "token_in_query", "Send the token in the Authorization header.")


def announced_size(headers: Headers, most: int) -> int:
    """The size of the body as announced, or `most` where it is not. Raises 413 beyond that."""
    announced = headers.get("content-length") or ""
    size = int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 20 else most
    if size > most:
        raise _too_large(most)
    return size


async def read_body(receive: Receive, most: int) -> bytes:
    """The whole body, at most `most` bytes, within `BODY_TIME`."""
    try:
        async with asyncio.timeout(BODY_TIME):
            return await _collect(receive, most)
    except TimeoutError as late:
        raise Rejected(
            408,
            -32600,
            "body_too_slow",
            "The body did not arrive in time.",
            headers=(("connection", "close"),),
        ) from late


async def _collect(receive: Receive, most: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and message["type"] == "http.request" and len(body) <= most:
        return body
    parts = bytearray(body)
    while True:
        if message["type"] == "http.disconnect":
            raise Rejected(400, -32600, "body_incomplete", "The body ended early.")
        if len(parts) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()
        parts += message.get("body", b"")


def _too_large(most: int) -> Rejected:
    """The connection stays open for a while, and what still comes is thrown away: who is cut off in the
    middle of sending never reads the answer."""
    return Rejected(413, -32600, "body_too_large", f"The body is larger than {most} bytes.")
