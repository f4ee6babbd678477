"""Questions that a running gateway puts to each of its workers, and how a command tells the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli import api
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.harmless import harmless
from airlock.core.settings import environment, load

BAD, UNUSABLE, UNKNOWN = 1, 2, 3


def settings(command: str, config: Path | None) -> Config:
    """The configuration. Ends the command where it cannot be read."""
    try:
        return load(config, environment()).config
    except ConfigError as wrong:
        typer.echo(f"airlock {command}: {wrong}", err=True)
        raise typer.Exit(UNUSABLE) from wrong


def asked(command: str, path: str, *, config: Path | None, token: str) -> dict[str, Any]:
    """What the gateway answers. Ends the command, with 3, where nobody can be asked."""
    read = settings(command, config)
    try:
        found = api.get(read, path, token=token, environ=environment())
    except ConfigError as wrong:
        raise cannot(command, str(wrong)) from wrong
    if found is None:
        raise cannot(command, f"no gateway listens at {api.address(read, '')}")
    return found


def cannot(command: str, why: str) -> typer.Exit:
    """The end of a command that cannot find out."""
    typer.echo(f"airlock {command}: {visible(why)}", err=True)
    return typer.Exit(UNKNOWN)


def say(as_json: bool, found: object, lines: list[str]) -> None:
    """Print an answer."""
    typer.echo(harmless(msgspec.json.encode(found)) if as_json else "\n".join(map(visible, lines)))


def acked(found: dict[str, Any]) -> str:
    """Who answered."""
    return f"{found['replicas_acked']}/{found['replicas_total']} workers answered"


def whole(found: dict[str, Any]) -> bool:
    """Whether every worker answered."""
    return 0 < found["replicas_acked"] == found["replicas_total"]


def exit_code(found: dict[str, Any]) -> int:
    """0 where every worker answered."""
    return 0 if whole(found) else BAD
