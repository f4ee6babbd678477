"""Requests byte by byte: what no decent HTTP client would send."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec

from tests.system.deployment import META, MODERN, Deployment

Field = tuple[str, str]


class Heard(msgspec.Struct, frozen=True):
    """The answer, as far as it is one."""

    status: int
    body: bytes

    @property
    def code(self) -> int | None:
        """The JSON-RPC error code, if the answer has one."""
        try:
            return json.loads(self.body)["error"]["code"]
        except (ValueError, KeyError):
            return None


def send(
    gateway: Deployment,
    fields: Sequence[Field] = (),
    body: bytes = b"",
    *,
    method: str = "POST",
    target: str = "/mcp",
    length: bool = True,
    host: bool = True,
) -> Heard:
    """One request; every header line is the test's, less `Host` and `Content-Length` where it leaves them."""
    own: list[Field] = [("Host", f"localhost:{gateway.port}")] if host else []
    if length:
        own.append(("Content-Length", str(len(body))))
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in (*own, *fields))
    with closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=20)) as connection:
        connection.sendall(head.encode("latin-1") + b"Connection: close\r\n\r\n" + body)
        return heard(connection)


def heard(connection: socket.socket) -> Heard:
    """Everything until the other side closes."""
    received = bytearray()
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    return Heard(int(head.split(b" ")[1]) if head else 0, body)


def bearer(token: str) -> list[Field]:
    return [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")]


def routing(tool: str = "low__echo", method: str = "tools/call") -> list[Field]:
    """The headers of a modern call."""
    return [("MCP-Protocol-Version", MODERN), ("Mcp-Method", method), ("Mcp-Name", tool)]


def message(
    *,
    modern: bool,
    version: str = '"jsonrpc":"2.0"',
    id: str = '"id":1',
    method: str = '"method":"tools/call"',
    name: str = '"name":"low__echo"',
    arguments: str = '"arguments":{"text":"x"}',
    params: str | None = None,
    more: str = "",
) -> bytes:
    """A call as text, so that a test can put anything into it."""
    meta = json.dumps({f"{META}protocolVersion": MODERN, f"{META}clientCapabilities": {}})
    told = [name, arguments, *([f'"_meta":{meta}'] if modern else [])]
    inner = params if params is not None else "{" + ",".join(part for part in told if part) + "}"
    parts = [version, id, method, f'"params":{inner}' if inner else "", more]
    return ("{" + ",".join(part for part in parts if part) + "}").encode("utf-8", "surrogatepass")


def error_of(answer: Any) -> tuple[int, int]:
    """(HTTP status, JSON-RPC code) of a refused request."""
    return answer.status, answer.json["error"]["code"]
