"""An MCP server over real sockets that records every request and misbehaves on demand.

Tools are named after what they do. It speaks the modern era or the legacy one; nothing of it is the
product's own code.
"""

from __future__ import annotations

import json
import select
import ssl
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec

MODERN = "2026-07-28"
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}
TOOLS = (
    "echo", "fail", "hang", "slow", "close", "garbage", "status500", "wrong_id", "progress", "huge",
    "rpc_error",
)  # fmt: skip


class Seen(msgspec.Struct, frozen=True):
    """One request as it stood on the wire."""

    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body else {}


class Recorder:
    """The server. `seen` grows with every POST; `tools` may be replaced while it runs."""

    def __init__(
        self,
        *,
        modern: bool = True,
        tools: Mapping[str, dict[str, Any]] | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.modern = modern
        self.seen: list[Seen] = []
        self.tools = dict(tools or {name: definition(name) for name in TOOLS})
        self.results: dict[str, dict[str, Any]] = {}
        """Tool -> the result that it gives, in place of an echo of its arguments."""
        self.errors: dict[str, dict[str, Any]] = {}
        """Tool -> the JSON-RPC error that it gives."""
        self.notices: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        """Tool -> (method, params) of the notifications that come before its answer, over one stream."""
        self.release = threading.Event()
        self.dead = False
        self.left = 0
        """Callers that hung up on a call of `hang`."""
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                if recorder.dead:
                    _close(self)
                    return
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                fields = {name.lower(): value for name, value in self.headers.items()}
                recorder.seen.append(Seen(fields, body))
                recorder.answer(self, json.loads(body))

            def do_DELETE(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://{host}:{self._server.server_address[1]}/mcp"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Die: every call fails from now on."""
        self.dead = True
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def calls(self) -> list[dict[str, Any]]:
        """The `tools/call` messages that arrived."""
        return [seen.message for seen in list(self.seen) if seen.message.get("method") == "tools/call"]

    def answer(self, http: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        if "id" not in message:
            _send(http, 202, b"")
            return
        method = message["method"]
        if method == "tools/call":
            self._call(http, message)
            return
        answers: dict[str, dict[str, Any]] = {
            "tools/list": {"tools": list(self.tools.values())},
            "initialize": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "recorder", "version": "1"},
            },
        }
        if self.modern:
            answers["server/discover"] = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}}
        if method not in answers:
            _reply(http, _error(message["id"], -32601, "Method not found"))
            return
        _reply(http, {"jsonrpc": "2.0", "id": message["id"], "result": self._shaped(answers[method])})

    def _shaped(self, result: dict[str, Any]) -> dict[str, Any]:
        return (
            {"resultType": "complete", "ttlMs": 1000, "cacheScope": "private", **result}
            if self.modern
            else result
        )

    def _call(self, http: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        name, arguments = message["params"]["name"], message["params"].get("arguments", {})
        result = self._shaped({"content": [{"type": "text", "text": json.dumps(arguments, sort_keys=True)}]})
        whole: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        if name in self.results:
            whole["result"] = self._shaped(self.results[name])
        if name in self.errors:
            whole = {"jsonrpc": "2.0", "id": message["id"], "error": self.errors[name]}
        if name in self.notices:
            self._stream(http, message, self.notices[name], whole)
            return
        misbehave = {
            "hang": lambda: self._hang(http),
            "close": lambda: _close(http),
            "garbage": lambda: _send(http, 200, b"<html>not json</html>"),
            "status500": lambda: _send(http, 500, b""),
            "wrong_id": lambda: _reply(http, {**whole, "id": "somebody-elses"}),
            "rpc_error": lambda: _reply(http, _error(message["id"], -32602, "no such thing")),
            "progress": lambda: self._progress(http, message, whole),
        }.get(name)
        if misbehave is not None:
            misbehave()
            return
        if name == "slow":
            time.sleep(0.5)
        if name == "fail":
            whole["result"] = {**result, "isError": True}
        if name == "huge":
            whole["result"] = {**result, "content": [{"type": "text", "text": "x" * 17_000_000}]}
        _reply(http, whole)

    def _hang(self, http: BaseHTTPRequestHandler) -> None:
        """Say nothing until told to, or until the caller hangs up."""
        end = time.monotonic() + 30
        while time.monotonic() < end and not self.release.wait(0.01):
            if select.select([http.connection], [], [], 0)[0] and not http.connection.recv(1):
                self.left += 1
                break
        _close(http)

    @classmethod
    def _progress(cls, http: BaseHTTPRequestHandler, message: dict[str, Any], whole: dict[str, Any]) -> None:
        steps = [("notifications/progress", {"progress": step, "total": 2}) for step in (1, 2)]
        cls._stream(http, message, steps, whole)

    @staticmethod
    def _stream(
        http: BaseHTTPRequestHandler,
        message: dict[str, Any],
        notices: list[tuple[str, dict[str, Any]]],
        whole: dict[str, Any],
    ) -> None:
        http.send_response(200)
        http.send_header("content-type", "text/event-stream")
        http.send_header("connection", "close")
        http.end_headers()
        token = message["params"].get("_meta", {}).get("progressToken")
        for method, said in notices:
            params = {"progressToken": token, **said} if method == "notifications/progress" else said
            event = {"jsonrpc": "2.0", "method": method, "params": params}
            http.wfile.write(b"event: message\ndata: " + json.dumps(event).encode() + b"\n\n")
            http.wfile.flush()
            time.sleep(0.05)
        http.wfile.write(b"event: message\ndata: " + json.dumps(whole).encode() + b"\n\n")
        http.close_connection = True


def definition(name: str, **more: Any) -> dict[str, Any]:
    """A tool as a server lists it."""
    return {"name": name, "description": f"The tool {name}.", "inputSchema": SCHEMA, **more}


def _error(request_id: object, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}}


def _close(http: BaseHTTPRequestHandler) -> None:
    http.close_connection = True


def _reply(http: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
    _send(http, 200, json.dumps(message).encode())


def _send(http: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    http.send_response(status)
    http.send_header("content-type", "application/json")
    http.send_header("content-length", str(len(body)))
    http.end_headers()
    http.wfile.write(body)
