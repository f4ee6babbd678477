"""`airlock cache`: how often the caches of the gateway had the answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from airlock.cli import insight

app = typer.Typer(help="The caches: how often they had the answer.", no_args_is_help=True)

SHOWN = ("5m", "1h")


@app.callback()
def cache() -> None:
    """The caches: how often they had the answer."""


@app.command()
def stats(
    *,
    token: Annotated[str, typer.Option(help="Token of an administrator.")] = "",
    config: Annotated[Path | None, typer.Option(help="Configuration file of the gateway.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Hit rate of each cache in the last five minutes and the last hour, and how it stands in each worker.

    Exit code 0: every worker answered; 1: not all did; 2: wrong usage; 3: nobody can be asked.
    """
    found = insight.asked("cache stats", "/admin/caches", config=config, token=token)
    insight.say(as_json, found, lines(found))
    raise typer.Exit(insight.exit_code(found))


def lines(found: dict[str, Any]) -> list[str]:
    """For people."""
    told = [insight.acked(found)]
    for name, windows in found["caches"].items():
        rates = ", ".join(f"{_rate(windows[window])} in {window}" for window in SHOWN)
        told += [f"{name}: {rates}", *_workers(name, found["replicas"])]
    return told


def _rate(window: dict[str, Any]) -> str:
    asked = window["hits"] + window["misses"]
    return f"{window['hit_rate']:.1%} of {asked} hit" if asked else "not asked"


def _workers(name: str, replicas: list[dict[str, Any] | None]) -> Iterator[str]:
    for slot, replica in enumerate(replicas):
        if replica is None:
            yield f"  worker {slot}: no answer"
            continue
        cache = replica[name]
        held = f", holds {cache['held']} of {cache['size']}" if cache["state"] == "on" else ""
        why = f": {'; '.join(cache['why'])}" if cache["why"] else ""
        yield f"  worker {slot}: {cache['state']}{held}{why}"
