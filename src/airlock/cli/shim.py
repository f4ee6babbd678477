"""MCP on standard input and output for a gateway that speaks streamable HTTP: messages in, messages out.

One line is one JSON-RPC message. What HTTP has in headers (version, session, routing, mirrored parameters) is
added on the way in, and every request gets exactly one answer on the way out, also where HTTP had none. A
session that the gateway no longer knows is opened again once, so that a restart of it ends nobody's work.
The token is asked for anew with every request and is never written anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, cast

import msgspec

from airlock.core.errors import Fault
from airlock.mcp import eras, headers
from airlock.mcp.methods import NAMED_BY

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of a message of the client."""

LAST_ANSWERS = 30.0
"""Seconds that running requests get after the client closed its end."""

MOST_TOOLS = 50_000
"""Tools whose mirrored parameters are remembered."""

Fields = tuple[tuple[str, str], ...]
Message = dict[str, Any]


class Answer(Protocol):
    """One HTTP answer: its messages in order, then None. `status` counts once the first was taken."""

    status: int
    fields: dict[bytes, bytes]

    async def next(self) -> bytes | None: ...
    def abort(self) -> bool: ...


Post = Callable[[Fields, bytes], Awaitable[Answer]]
"""Sends one message. Raises `Fault` where nothing is reached."""


class Shim:
    """One client. Used on one event loop."""

    def __init__(
        self, *, post: Post, end_session: Callable[[Fields], Awaitable[None]], write: Callable[[bytes], None]
    ) -> None:
        """`write` gets whole messages without their line end."""
        self._post = post
        self._end_session = end_session
        self._write = write
        self._handshake: Message | None = None
        self._session: Fields = ()
        self._modern = False
        self._mirrored: dict[str, headers.ParamHeaders] = {}
        self._running: dict[str | int, asyncio.Task[None]] = {}
        self._opening = asyncio.Lock()

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Serve until the client closes its end, then answer what is still running."""
        async with asyncio.TaskGroup() as group:
            async for line in lines:
                message = self._read(line)
                if message is None:
                    continue
                if message.get("method") == "initialize":
                    await self._serve(message)  # whatever follows needs the session
                elif not self._cancels(message):
                    self._start(group, message)
            await self._wait()
        if self._session:
            with suppress(Fault):
                await self._end_session(self._session)

    def _read(self, line: bytes) -> Message | None:
        """The message of a line; what is none is answered here."""
        if not line.strip():
            return None
        try:
            # Cut off where it is longer than any message: then it is none.
            message = msgspec.json.decode(line[:LONGEST_LINE], type=dict[str, Any])
        except (ValueError, RecursionError):
            self._error(None, -32700, "This line is no JSON-RPC message.")
            return None
        # Answers of the client: the gateway asks nothing of clients.
        return message if isinstance(message.get("method"), str) else None

    def _cancels(self, message: Message) -> bool:
        """Whether the message was a cancellation that HTTP expresses by closing the request's stream."""
        if message["method"] != "notifications/cancelled" or not self._modern:
            return False
        asked = _params(message).get("requestId")
        task = self._running.get(asked) if isinstance(asked, str | int) else None
        if task is not None:
            task.cancel()
        return True

    def _start(self, group: asyncio.TaskGroup, message: Message) -> None:
        task = group.create_task(self._serve(message))
        asked = message.get("id")
        if isinstance(asked, str | int):
            self._running[asked] = task
            task.add_done_callback(lambda _: self._running.pop(asked, None))

    async def _wait(self) -> None:
        """Give running requests time to be answered, then end them."""
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=LAST_ANSWERS)
            for task in late:
                task.cancel()

    async def _serve(self, message: Message) -> None:
        asked = message.get("id")
        try:
            answered = await self._carry(message)
        except Fault as fault:
            if asked is not None:
                self._error(asked, -32603, f"The gateway does not answer: {fault.detail or fault.text}")
            return
        except ValueError:
            answered = False
        if not answered and asked is not None:
            self._error(asked, -32603, "The gateway's answer ended early; the call may have had its effect.")

    async def _carry(self, message: Message) -> bool:
        """Whether the message got its answer, as far as it is a request."""
        session = self._session
        lost = await self._exchange(message, again=False)
        if lost is None:
            await self._reopen(session)
            lost = await self._exchange(message, again=True)
        return bool(lost)

    async def _exchange(self, message: Message, *, again: bool) -> bool | None:
        """Send and pass on; True where the request was answered, None where its session is gone."""
        answer = await self._post(self._fields(message), msgspec.json.encode(message))
        try:
            body = await answer.next()
            if not again and answer.status == 404 and self._session and _code(body) == -32600:
                return None
            if answer.status >= 300:
                return self._refused(message, answer.status, body)
            answered = False
            while body is not None:
                answered = self._pass_on(message, answer, body) or answered
                body = await answer.next()
            return answered
        except asyncio.CancelledError:
            answer.abort()
            raise

    def _pass_on(self, message: Message, answer: Answer, body: bytes) -> bool:
        """Whether this was the answer to the request."""
        if not body.strip():
            return False
        said = msgspec.json.decode(body, type=dict[str, Any])
        ours = "method" not in said and said.get("id") == message.get("id")
        if ours and isinstance(said.get("result"), dict):
            self._learn(message, answer, said["result"])
        self._write(body if b"\n" not in body else msgspec.json.encode(said))
        return ours

    def _learn(self, message: Message, answer: Answer, result: Message) -> None:
        """What later headers are made from: session and version of a handshake, schemas of a list."""
        if message["method"] == "initialize":
            sid = answer.fields.get(b"mcp-session-id", b"").decode("latin-1")
            version = str(result.get("protocolVersion", ""))
            self._handshake, self._modern = message, False
            self._session = (("Mcp-Session-Id", sid), ("MCP-Protocol-Version", version)) if sid else ()
        elif message["method"] == "tools/list":
            tools: list[Message] = result.get("tools", [])
            if len(self._mirrored) + len(tools) > MOST_TOOLS:
                self._mirrored.clear()
            self._mirrored.update(
                (tool["name"], headers.param_headers(tool.get("inputSchema"))) for tool in tools
            )

    def _fields(self, message: Message) -> Fields:
        params = _params(message)
        meta = params.get("_meta")
        version = cast("Message", meta).get(eras.VERSION_KEY) if isinstance(meta, dict) else None
        if not isinstance(version, str):
            return self._session if message["method"] != "initialize" else ()
        self._modern = True
        routing = [("MCP-Protocol-Version", version), ("Mcp-Method", message["method"])]
        named = params.get(NAMED_BY.get(message["method"], ""))
        if isinstance(named, str):
            routing.append(("Mcp-Name", headers.encode_value(named)))
            arguments = params.get("arguments")
            declared = self._mirrored.get(named, ()) if message["method"] == "tools/call" else ()
            if isinstance(arguments, dict):
                routing += headers.render_param_headers(declared, cast("Message", arguments))
        return tuple(routing)

    def _refused(self, message: Message, status: int, body: bytes | None) -> bool:
        """Pass on a refusal that HTTP carries, under the id of the request."""
        asked = message.get("id")
        if asked is None:
            return False
        try:
            error = msgspec.json.decode(body or b"", type=dict[str, Any])["error"]
            self._write(msgspec.json.encode({"jsonrpc": "2.0", "id": asked, "error": error}))
        except (ValueError, KeyError):
            self._error(asked, -32603, f"The gateway answered with HTTP {status}.")
        return True

    async def _reopen(self, lost: Fields) -> None:
        """Shake hands again for the client, once for all requests that found the session gone."""
        async with self._opening:
            if self._session != lost or self._handshake is None:
                return
            answer = await self._post((), msgspec.json.encode(self._handshake))
            body = await answer.next()
            while body is not None:
                said = msgspec.json.decode(body, type=dict[str, Any])
                if isinstance(said.get("result"), dict):
                    self._learn(self._handshake, answer, said["result"])
                body = await answer.next()
            if self._session != lost:
                ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
                await (await self._post(self._session, msgspec.json.encode(ready))).next()

    def _error(self, asked: object, code: int, text: str) -> None:
        error = {"code": code, "message": text}
        self._write(msgspec.json.encode({"jsonrpc": "2.0", "id": asked, "error": error}))


def _params(message: Message) -> Message:
    params = message.get("params")
    return cast("Message", params) if isinstance(params, dict) else {}


def _code(body: bytes | None) -> object:
    try:
        return msgspec.json.decode(body or b"", type=dict[str, Any])["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
