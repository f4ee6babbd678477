"""`airlock doctor`: does it, from here, right now? Every check acts, has a time limit, and says what it saw
and what would be right.

Reads the data directory and asks the gateway and what is behind it; changes nothing. Run it on the host of
the gateway, as its user.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli.diagnosis.check import Asked, Check
from airlock.core.errors import ConfigError, Fault
from airlock.core.harmless import harmless
from airlock.core.settings import environment, load

UNUSABLE = 2

LIMIT = 30.0
"""Seconds for one part: every step in it has a limit of its own."""

PARTS = ("policy", "oidc", "db", "audit", "resources", "network")


def doctor(
    part: Annotated[str, typer.Argument(help=f"One of {', '.join(PARTS)}; without it, all of them.")] = "",
    *,
    token: Annotated[str, typer.Option(help="Token of an administrator.")] = "",
    config: Annotated[Path | None, typer.Option(help="Configuration file of the gateway.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check actively what the gateway needs: each line is a check, what was observed, what is expected.

    Exit code 0: everything is as it should be; 1: something is not; 2: wrong usage; 3: something could not be
    checked.
    """
    if part and part not in PARTS:
        raise typer.BadParameter(f"there are {', '.join(PARTS)}", param_hint="PART")
    try:
        asked = Asked(config=load(config, environment()).config, token=token, environ=environment())
    except ConfigError as wrong:
        typer.echo(f"airlock doctor: {wrong}", err=True)
        raise typer.Exit(UNUSABLE) from wrong
    examining = examinations()
    found = [check for name in ([part] if part else PARTS) for check in bounded(name, examining[name], asked)]
    code = verdict(found)
    if as_json:
        typer.echo(harmless(msgspec.json.encode({"exit": code, "checks": found})))
    else:
        typer.echo("\n".join(line(check) for check in found))
    raise typer.Exit(code)


def examinations() -> Mapping[str, Callable[[Asked], list[Check]]]:
    """What examines each of `PARTS`."""
    from airlock.cli.diagnosis import network, provider, resources, rules, storage

    return {
        "policy": rules.policy,
        "oidc": provider.oidc,
        "db": storage.db,
        "audit": storage.audit,
        "resources": resources.resources,
        "network": network.network,
    }


def bounded(
    name: str, examine: Callable[[Asked], list[Check]], asked: Asked, limit: float = LIMIT
) -> list[Check]:
    """The checks of one part. What hangs is left behind and is bad, what cannot be checked is unknown."""
    found: list[Check] = []

    def work() -> None:
        try:
            found.extend(examine(asked))
        except (OSError, ValueError, ConfigError, Fault, sqlite3.Error) as error:
            detail = error.detail if isinstance(error, Fault) and error.detail else str(error)
            found.append(
                Check(part=name, check="can be checked", observed=detail, expected="yes", verdict="unknown")
            )

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        seen = f"no answer in {limit:g} s"
        return [Check(part=name, check="answers", observed=seen, expected="in time", verdict="bad")]
    return found


def verdict(found: list[Check]) -> int:
    """One bad check outweighs any number of unknown ones."""
    verdicts = {check.verdict for check in found}
    return 1 if "bad" in verdicts else 3 if "unknown" in verdicts else 0


def line(check: Check) -> str:
    """One check for people."""
    word = {"ok": "ok     ", "bad": "BAD    ", "unknown": "UNKNOWN"}[check.verdict]
    return f"{word} {check.part}: {check.check}: {visible(check.observed)} (expected: {check.expected})"
