"""`airlock contacts`: whom to call, and whether that would work."""

from __future__ import annotations

from typing import Any

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import REFUSED, AsJson, ConfigFile, Containing, Token

app = typer.Typer(help="Whom to call at night.", no_args_is_help=True)


@app.callback()
def contacts() -> None:
    """Whom to call at night."""


@app.command()
def check(*, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show every contact, and everything that would hinder a call.

    Exit code 0: every level of escalation and every party outside can be reached; 1: somebody is missing;
    2: could not run.
    """
    asking = Containing("contacts", config, token)
    document = asking.ask("GET", "/api/v1/contacts").document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo("\n".join(_lines(document)))
    if document["concerns"]:
        raise typer.Exit(REFUSED)


def _lines(document: dict[str, Any]) -> list[str]:
    known: dict[str, str] = document["contacts"]
    return [
        *(f"{visible(name)}: {visible(way)}" for name, way in known.items()),
        *(f"MISSING {visible(each['key'])}: {visible(each['text'])}" for each in document["concerns"]),
    ]
