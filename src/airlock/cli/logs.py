"""`airlock logs`: the log lines of all processes, from the files that they keep under the data directory.

Nothing has to run for it. Lines are printed as they stand on standard output, in the order of time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from airlock.core.clock import SYSTEM
from airlock.core.errors import ConfigError
from airlock.core.harmless import harmless

if TYPE_CHECKING:
    from airlock.core.config import Config
    from airlock.core.log_reader import Line, Reading

UNUSABLE = 2
UNPROVEN = 3


def logs(
    *,
    event: Annotated[str, typer.Option(help="Only these events: `A,B`.")] = "",
    since: Annotated[str, typer.Option(help="Only from then on: `2h`, `30d` or `YYYY-MM-DD HH:MM`.")] = "",
    last: Annotated[int | None, typer.Option(min=1, help="Only so many, the newest.")] = None,
    slowest: Annotated[
        int | None, typer.Option(min=1, help="Only so many, by `duration_ms`, the slowest first.")
    ] = None,
    all_replicas: Annotated[
        bool, typer.Option("--all-replicas", help="All processes of this data directory: always so.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Configuration that names the data directory.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print log lines of all processes, without a limit, in the order of time.

    Exit code 0: these are all of them; 2: could not run; 3: lines that were asked for are not there any more.
    """
    from airlock.core.log_reader import Reading
    from airlock.core.log_store import Place

    del all_replicas
    if last is not None and slowest is not None:
        raise typer.BadParameter("ask for the newest or for the slowest", param_hint="--last")
    events = {word.strip() for word in event.split(",") if word.strip()}
    try:
        reading = Reading(Path(Place.of(_config(config)).folder), since=_moment(since))
        lines = _chosen(reading.lines(events), last, slowest)
        if as_json:
            _print_object(lines, reading)
        else:
            for line in lines:
                typer.echo(_text(line))
    except FileNotFoundError as none:
        raise _stop(f"{none.filename}: no gateway has kept lines there") from none
    except BrokenPipeError:
        raise  # whoever reads has read enough: the framework ends the program without a word
    except (OSError, ValueError) as error:
        raise _stop(str(error)) from error
    gaps = reading.gaps()
    for gap in gaps:
        typer.echo(f"airlock logs: {gap}", err=True)
    raise typer.Exit(UNPROVEN if gaps else 0)


def _chosen(lines: Iterator[Line], last: int | None, slowest: int | None) -> Iterable[Line]:
    """What is printed of the lines; all of them are read, so that what is missing is known."""
    if last is not None:
        return deque(lines, maxlen=last)
    if slowest is not None:
        timed = (line for line in lines if line.told.duration_ms is not None)
        return heapq.nlargest(slowest, timed, key=lambda line: line.told.duration_ms or 0.0)
    return lines


def _text(line: Line) -> bytes:
    """The line with the process that wrote it: `replica` is a word that no event has."""
    return harmless(line.text.removesuffix(b"}")) + b',"replica":' + msgspec.json.encode(line.process) + b"}"


def _print_object(lines: Iterable[Line], reading: Reading) -> None:
    found = [msgspec.Raw(_text(line)) for line in lines]
    typer.echo(msgspec.json.encode({"lines": found, "gaps": reading.gaps()}))


def _moment(since: str) -> str:
    """The time that was asked for, in the form of log lines. Raises `ValueError`."""
    from airlock.audit.query import moment

    return moment(since, SYSTEM).replace(" ", "T") if since else ""


def _config(path: Path | None) -> Config:
    from airlock.core.settings import environment, load

    try:
        return load(path, environment()).config
    except ConfigError as wrong:
        raise _stop(str(wrong)) from wrong


def _stop(why: str) -> typer.Exit:
    typer.echo(f"airlock logs: {why}", err=True)
    return typer.Exit(UNUSABLE)
