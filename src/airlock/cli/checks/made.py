"""What the checks send: calls, canaries, tokens that must not count."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import msgspec

from airlock.cli.checks.board import Untold, Wrong

if TYPE_CHECKING:
    from airlock.core.config import Config, Detector

MARKER = "MARKER"
"""Stands in arguments for the text that a tool has to answer with."""

LIST_ID = "airlock-check"
LIST = f'{{"jsonrpc":"2.0","id":"{LIST_ID}","method":"tools/list"}}'
"""The question for a list; its answer has the same id."""

DUPLICATE = '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}'
"""A message that two parsers read differently."""

LONG_AGO = 7200.0
"""Seconds since a token was issued that lasted half as long."""


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    """A call with a made-up secret that must not come back."""

    detector: Detector
    secret: str
    message: str


def call(tool: str, arguments: str, text: str) -> str:
    """A `tools/call` with the text in place of MARKER; `arguments` is a JSON object."""
    filled = {
        name: value.replace(MARKER, text) if isinstance(value, str) else value
        for name, value in json.loads(arguments).items()
    }
    params = {"name": tool, "arguments": filled}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def canaries(config: Config, tool: str, arguments: str) -> list[Planted]:
    """One for every configured detector. Raises Wrong where there is none."""
    from airlock.redaction.canary import canary

    if not config.redaction.detectors:
        raise Wrong("no detector is on")
    planted: list[Planted] = []
    for name in config.redaction.detectors:
        made = canary(name, SystemRandom())
        # A server may write a text of several lines in its own way, with escapes for their ends.
        secret = max(made.secret.splitlines(), key=len)
        message = call(tool, arguments, f"a {made.text} b")
        planted.append(Planted(detector=name, secret=secret, message=message))
    return planted


def subject(token: str) -> str:
    """Who a token speaks for; nothing of it is checked here. Raises ValueError for what is none."""
    return str(_payload(token).get("sub"))


def unsigned(token: str) -> str:
    """The same claims with the algorithm `none`."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
    return f"{header}.{token.split('.')[1]}."


def minted(config: Config, like: str, *, expired: bool = False, audience: str = "") -> str:
    """A token of the local issuer that must not count. Raises Untold where there is no such issuer."""
    from airlock.core.clock import SYSTEM
    from airlock.core.errors import ConfigError
    from airlock.identity import keyfile, local, resources

    key = Path(config.data_dir) / "keys/local-issuer.json"
    try:
        local.require_loopback(config)
        if not key.exists():
            raise Untold(f"{key} is missing: there is no local issuer that could make such a token")
        url = config.server.public_url
        issuer = local.LocalIssuer(key=keyfile.load_or_create(key), public_url=url)
    except (ConfigError, OSError) as error:
        raise Untold(str(error)) from error
    claims = _payload(like)
    return issuer.issue(
        subject=str(claims.get("sub")),
        tenant=str(claims.get("tenant")),
        roles=tuple(claims.get("roles", ())),
        scopes=tuple(str(claims.get("scope", "")).split()),
        ttl=LONG_AGO / 2,
        audience=f"{resources.resource(url)}/{audience}" if audience else "",
        now=SYSTEM.wall() - (LONG_AGO if expired else 0.0),
    )


def _payload(token: str) -> dict[str, Any]:
    parts = token.strip().split(".")
    if len(parts) != 3:
        raise ValueError("no signed token of three parts")
    try:
        return msgspec.json.decode(
            base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=dict[str, Any]
        )
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError("no token whose claims can be read") from error
