"""The gateway that is checked, the credentials for it, and how it is asked.

Settings are variables of the environment, so that no token is ever an argument of a program: other users of
the machine could read it there. Proxies of the environment are not asked.
"""

from __future__ import annotations

import http.client
import math
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from airlock.audit.visible import visible
from airlock.cli.checks.made import subject
from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airlock.core.config import Config

TIMEOUT_S = 8.0
LARGEST_ANSWER = 16 * 1024 * 1024
SYNTHETIC = "synthetic"
"""The subject for which the gateway has tools of its own."""
SHOWN = 200
"""Characters of what was seen."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """See docs/checks.md. Empty texts: not given."""

    url: str
    config: Path | None
    subject: str
    """Who TEST_TOKEN speaks for."""
    token: str
    admin_token: str
    tool: str
    arguments: str
    forbidden_tool: str
    forbidden_arguments: str
    expired_token: str
    foreign_token: str
    rate: float
    duration: float
    p95: float

    @property
    def whole(self) -> Config:
        """The configuration of the gateway. Raises ConfigError."""
        from airlock.core.settings import environment, load

        return load(self.config, environment()).config


def settings(environ: Mapping[str, str], config: Path | None, *, admin: bool) -> Settings:
    """What the variables say. `admin`: ADMIN_TOKEN is needed, too. Raises ConfigError naming the variable."""
    needed = ("AIRLOCK_URL", "TEST_TOKEN", *(("ADMIN_TOKEN",) if admin else ()))
    for name in needed:
        if not environ.get(name):
            raise ConfigError(name, f"{name} is not set")
    expected = environ.get("TEST_SUBJECT") or SYNTHETIC
    token = environ["TEST_TOKEN"]
    try:
        speaks_for = subject(token)
    except ValueError as wrong:
        raise ConfigError("TEST_TOKEN", str(wrong)) from wrong
    if speaks_for != expected:
        told = f"TEST_TOKEN speaks for {visible(speaks_for, SHOWN)}, not for {expected} (TEST_SUBJECT)"
        raise ConfigError("TEST_TOKEN", told)
    named = environ.get("AIRLOCK_CONFIG")
    return Settings(
        url=_address(environ["AIRLOCK_URL"]),
        config=config or (Path(named) if named else None),
        subject=expected,
        token=token,
        admin_token=environ.get("ADMIN_TOKEN", ""),
        tool=environ.get("TEST_TOOL", ""),
        arguments=_arguments(environ, "TEST_ARGUMENTS"),
        forbidden_tool=environ.get("FORBIDDEN_TOOL", ""),
        forbidden_arguments=_arguments(environ, "FORBIDDEN_ARGUMENTS"),
        expired_token=environ.get("EXPIRED_TOKEN", ""),
        foreign_token=environ.get("FOREIGN_TOKEN", ""),
        rate=_positive(environ, "RATE", 3.0),
        duration=_positive(environ, "DURATION_S", 30.0),
        p95=_positive(environ, "P95_MS", 200.0),
    )


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError("AIRLOCK_URL", f"AIRLOCK_URL is no address of a gateway: {visible(text, SHOWN)}")
    return text.rstrip("/")


def _arguments(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "")
    try:
        msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError as wrong:
        raise ConfigError(name, f"{name} is no JSON object") from wrong
    return text


def _positive(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(name, f"{name} is no positive number: {visible(text, SHOWN)}")
    return value


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `status` 0: nothing did, and `trouble` says why."""

    status: int
    body: bytes = b""
    trouble: str = ""

    @property
    def seen(self) -> str:
        """What was observed, in one line."""
        if not self.status:
            return visible(self.trouble, SHOWN)
        text = self.body[:SHOWN].decode(errors="replace")
        return f"HTTP {self.status} {''.join(mark for mark in text if mark.isprintable())}".rstrip()


class Site:
    """Asks one gateway, each time over a connection of its own."""

    def __init__(self, settings: Settings, *, agent: str) -> None:
        self.settings = settings
        self.agent = agent
        """User-Agent of every request: the log keeps it, so that what this run caused can be found."""
        self._tls = ssl.create_default_context() if settings.url.startswith("https") else None

    def connection(self) -> http.client.HTTPConnection:
        """A connection that is not open yet."""
        parts = urlsplit(self.settings.url)
        host = parts.hostname or ""
        if self._tls is not None:
            return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        body: str | None = None,
        fields: Mapping[str, str] | None = None,
        mark: str = "",
    ) -> Said:
        """One request. `mark` stands behind the agent, so that its row can be told from others."""
        headers = {"User-Agent": f"{self.agent} {mark}".rstrip(), **(fields or {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self.connection()
        try:
            prefix = urlsplit(self.settings.url).path
            connection.request(method, prefix + path, body, headers)
            answer = connection.getresponse()
            return Said(status=answer.status, body=answer.read(LARGEST_ANSWER))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Said(status=0, trouble=f"{type(error).__name__} {error}")
        finally:
            connection.close()

    def say(
        self, token: str, message: str, *, fields: Mapping[str, str] | None = None, mark: str = ""
    ) -> Said:
        """One JSON-RPC message to `/mcp`."""
        return self.ask("POST", "/mcp", token=token, body=message, fields=fields, mark=mark)
