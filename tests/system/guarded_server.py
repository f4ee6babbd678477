"""A server on the official SDK that demands a login, and a small authorization server, in this process."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from tests.system.deployment import free_port, until

SECRETS = ("access-", "refresh-", "code-", "client-secret-")
"""How everything begins that nobody but the gateway may keep."""


class Authority:
    """The authorization server: lets in whoever `person` is at the moment. It knows every token it gave."""

    def __init__(self) -> None:
        self.person = "nobody"
        self.answer: dict[str, str] = {}
        """What it sends back in place of, or beside, its own parameters."""
        self.tokens: dict[str, tuple[str, str]] = {}
        """Access token -> person, and the resource it is for."""
        self.asked: list[dict[str, str]] = []
        """Parameters of authorization requests."""
        self.bodies: list[str] = []
        """Everything that came to it."""
        self._codes: dict[str, tuple[str, str]] = {}
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                authority.bodies.append(f"{self.path} {self.headers}")
                if parts.path == "/.well-known/oauth-authorization-server":
                    self._say(200, authority.metadata)
                elif parts.path == "/authorize":
                    self.send_response(302)
                    self.send_header("Location", authority.let_in(dict(parse_qsl(parts.query))))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self._say(404, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                authority.bodies.append(f"{self.path} {self.headers} {body}")
                if self.path == "/register":
                    client = {"client_id": "airlock-at-tickets", "client_secret": "client-secret-1"}
                    self._say(201, {**json.loads(body), **client})
                else:
                    self._say(*authority.exchange(dict(parse_qsl(body))))

            def _say(self, status: int, value: dict[str, Any]) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.issuer = f"{self.url}/"
        """With the slash that the SDK gives it in the server's metadata."""
        self.metadata: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "response_types_supported": ["code"],
        }

    def let_in(self, given: dict[str, str]) -> str:
        """Where the browser goes on."""
        self.asked.append(given)
        code = f"code-{len(self._codes)}"
        self._codes[code] = self.person, given["code_challenge"]
        answer = {"code": code, "state": given["state"], "iss": self.issuer} | self.answer
        return f"{given['redirect_uri']}?{urlencode(answer)}"

    def exchange(self, given: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Status and answer of the token endpoint."""
        person, challenge = self._codes.pop(given.get("code", ""), ("", ""))
        verifier = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        if not person or base64.urlsafe_b64encode(verifier).rstrip(b"=").decode() != challenge:
            return 400, {"error": "invalid_grant"}
        token = f"access-{person}-{len(self.tokens)}"
        self.tokens[token] = person, given["resource"]
        refresh = f"refresh-{person}-{len(self.tokens)}"
        return 200, {
            "access_token": token,
            "token_type": "Bearer",
            "refresh_token": refresh,
            "expires_in": 3600,
        }

    async def verify_token(self, token: str) -> AccessToken | None:
        """For the server that trusts it."""
        person, resource = self.tokens.get(token, ("", ""))
        if not person:
            return None
        return AccessToken(token=token, client_id="c", scopes=["read"], subject=person, resource=resource)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class GuardedServer:
    """The server. `credentials` is what it was shown."""

    def __init__(self, authority: Authority) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.credentials: list[str] = []
        settings = AuthSettings(
            issuer_url=AnyHttpUrl(authority.url),
            resource_server_url=AnyHttpUrl(self.url),
            required_scopes=["read"],
            validate_token_resource=True,
        )
        server = MCPServer("tickets", auth=settings, token_verifier=authority)

        @server.tool()
        async def whoami() -> str:
            """Whose token this is."""
            token = get_access_token()
            return str(token and token.subject)

        app = server.streamable_http_app()
        config = uvicorn.Config(self._noting(app), port=port, log_level="error", timeout_graceful_shutdown=1)
        self._uvicorn = uvicorn.Server(config)

    def _noting(self, app: Starlette) -> Any:
        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                self.credentials += [v.decode() for k, v in scope["headers"] if k == b"authorization"]
            await app(scope, receive, send)

        return noted

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._uvicorn.run)
        self._thread.start()
        until(lambda: self._uvicorn.started, what="the server")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(15)
