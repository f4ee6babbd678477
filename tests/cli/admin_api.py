"""A gateway's management API with one answer, on a real port: it records what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Answer:
    """`body` is sent as it is when it is bytes, and else as JSON."""

    def __init__(self, body: Any, *, status: int = 200) -> None:
        self.status = status
        self.body: bytes = body if isinstance(body, bytes) else json.dumps(body).encode()


class Gateway(HTTPServer):
    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.requests: list[tuple[str, str]] = []
        self.asked: list[tuple[str, Any]] = []
        """Method and JSON body of each request; None where it has none."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Gateway)
        answer = self.server.answer
        self.server.requests.append((self.path, self.headers.get("Authorization", "")))
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append((self.command, json.loads(body) if body else None))
        if not answer.status:
            return
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test reads `requests`."""


@contextmanager
def gateway(answer: Answer, tls: ssl.SSLContext | None = None) -> Generator[Gateway]:
    with Gateway(answer) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
