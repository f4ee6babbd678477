"""What the checking scripts send: calls, canaries, tokens that must not count."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airlock.core.config import Config

MARKER = "MARKER"
"""Stands in arguments for the text that a tool has to answer with."""

LONG_AGO = 7200.0
"""Seconds since a token was issued that lasted half as long."""


class Wrong(Exception):
    """It is not as it should be; what was seen."""


class Untold(Exception):
    """It cannot be told."""


def call(_: bytes, tool: str, arguments: str, text: str) -> str:
    """A `tools/call` with the text in place of MARKER."""
    return _message(tool, json.loads(arguments), text)


def canaries(_: bytes, tool: str, arguments: str, config: str) -> str:
    """A line for every configured detector: its name, what must not come back, the message with it."""
    from airlock.redaction.canary import canary

    detectors = _config(config).redaction.detectors
    if not detectors:
        raise Wrong("no detector is on")
    lines: list[str] = []
    for name in detectors:
        made = canary(name, SystemRandom())
        # A server may write a text of several lines in its own way, with escapes for their ends.
        secret = max(made.secret.splitlines(), key=len)
        lines.append(f"{name}\t{secret}\t{_message(tool, json.loads(arguments), f'a {made.text} b')}")
    return "\n".join(lines)


def subject(given: bytes) -> str:
    """Who a token speaks for; nothing of it is checked here."""
    return str(_payload(given.decode().strip()).get("sub"))


def minted(given: bytes, kind: str, config: str) -> str:
    """A token that must not count: this one unsigned, or one of the local issuer, old or for a server."""
    token = given.decode().strip()
    if kind == "alg_none":
        header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
        return f"{header}.{token.split('.')[1]}."
    return _locally(kind, _payload(token), _config(config))


def _locally(kind: str, like: dict[str, Any], config: Config) -> str:
    from airlock.core.clock import SYSTEM
    from airlock.identity import keyfile, local, resources

    local.require_loopback(config)
    key = Path(config.data_dir) / "keys/local-issuer.json"
    if not key.exists():
        raise Untold(f"{key} is missing: there is no local issuer that could make such a token")
    url = config.server.public_url
    issuer = local.LocalIssuer(key=keyfile.load_or_create(key), public_url=url)
    old = LONG_AGO if kind == "expired" else 0.0
    audience = f"{resources.resource(url)}/airlock-check" if kind == "wrong_audience" else ""
    return issuer.issue(
        subject=str(like.get("sub")),
        tenant=str(like.get("tenant")),
        roles=tuple(like.get("roles", ())),
        scopes=tuple(str(like.get("scope", "")).split()),
        ttl=LONG_AGO / 2,
        audience=audience,
        now=SYSTEM.wall() - old,
    )


def _message(tool: str, arguments: dict[str, Any], text: str) -> str:
    filled = {
        name: value.replace(MARKER, text) if isinstance(value, str) else value
        for name, value in arguments.items()
    }
    params = {"name": tool, "arguments": filled}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def _payload(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        raise Wrong("no signed token of three parts")
    return json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))


def _config(path: str) -> Config:
    from airlock.core.settings import environment, load

    return load(Path(path) if path else None, environment()).config
