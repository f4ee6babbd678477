"""`airlock redaction`: what was taken out, what a file holds, and whether redaction works.

No command prints a value that a detector found: only its kind and its place.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.core.clock import SYSTEM
from airlock.core.errors import ConfigError, Fault
from airlock.core.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airlock.cli.canaries import Trial
    from airlock.core.config import Config, Detector

FOUND = 1
UNUSABLE = 2
UNDECIDED = 3

LARGEST_FILE = 256 * 1024 * 1024
"""Bytes of a file to look through: it is held in memory as a whole, as a secret may span lines."""

app = typer.Typer(
    help="Redaction: what it took out, what a file holds, whether it works.", no_args_is_help=True
)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file of the gateway.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a hit begins; line and column count from 1."""

    file: str
    line: int
    column: int
    detector: str


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What one detector took out of one tool's calls, in how many of them; empty names for lists."""

    detector: str
    server: str
    tool: str
    redactions: int
    events: int


@app.callback()
def redaction() -> None:
    """Redaction: what it took out, what a file holds, whether it works."""


@app.command()
def stats(
    *,
    since: Annotated[
        str, typer.Option(help="Look back that far: `2h`, `30d` or `YYYY-MM-DD HH:MM`.")
    ] = "24h",
    db: Annotated[Path | None, typer.Option("--db", help="A database file by itself.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of audit.db and journal/.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """How much was taken out, by detector and tool, from the log.

    Exit code 0: counted; 2: could not run; 3: counted, but newer records are not in the database. Counts say
    nothing of what was missed: `airlock redaction verify` does.
    """
    from airlock.audit import query
    from airlock.audit.catchup import catch_up
    from airlock.cli import redaction_text

    try:
        directory = data_dir or (Path(_load(config).data_dir) if db is None else Path())
        unreached = [] if db else catch_up(directory, clock=SYSTEM, pause=_pause)
        moment = {"since": query.moment(since, SYSTEM)}
        answer = query.run(db or directory / "audit.db", STATISTICS, moment, clock=SYSTEM)
    except (ValueError, sqlite3.Error, OSError) as error:
        raise _stop(error) from error
    counted = _counted(answer.rows)
    _print(as_json, {"since": since, "redactions": counted}, redaction_text.counts(counted, since))
    for problem in unreached:
        typer.echo(f"airlock redaction: {problem}", err=True)
    raise typer.Exit(UNDECIDED if unreached else 0)


STATISTICS = (
    "SELECT server_id, tool_name, json_extract(metadata, '$.detectors'), COUNT(*) FROM audit_events"
    " WHERE action = 'redact_data' AND timestamp >= :since GROUP BY 1, 2, 3"
)
"""The row of a redaction says how many hits of which detector it took out, in `metadata.detectors`."""


def _counted(rows: Sequence[tuple[object, ...]]) -> list[Counted]:
    """Rows of STATISTICS by detector and tool, most redactions first."""
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for server, tool, detectors, events in rows:
        times = int(str(events))
        for detector, number in msgspec.json.decode(str(detectors or "{}"), type=dict[str, int]).items():
            key = (detector, str(server or ""), str(tool or ""))
            total, count = sums.get(key, (0, 0))
            sums[key] = (total + number * times, count + times)
    ordered = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))
    return [
        Counted(detector=detector, server=server, tool=tool, redactions=total, events=count)
        for (detector, server, tool), (total, count) in ordered
    ]


@app.command()
def scan(
    files: Annotated[
        list[str] | None, typer.Argument(help="Files to look through; `-` is standard input.")
    ] = None,
    *,
    incident: Annotated[
        str,
        typer.Option(help="Look through what is kept of the time of this incident: log lines, audit rows."),
    ] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Find secrets and personal data in files, with the configured detectors, also where they are encoded.

    With --incident, in all log lines that are kept, and in what audit rows say of the calls since an hour
    before its start; names of callers and their addresses are there on purpose, and not looked at.

    Exit code 0: none of them holds any; 1: found; 2: could not run, also where a single file could not be
    read: what was not looked at is never called clean; 3: none, but newer records are not in the database.
    """
    from airlock.cli import redaction_text
    from airlock.cli.redaction_kept import Looked, kept

    looked = Looked()
    try:
        detectors = _detectors(config)
        if incident:
            looked, texts = kept(_load(config), incident)
        else:
            texts = [(name, _read(name)) for name in _named(files)]
        places = [place for name, text in texts for place in _places(name, text, detectors)]
    except (ConfigError, OSError, Fault, sqlite3.Error) as error:
        raise _stop(error) from error
    document = {"files": files or [], "detectors": detectors, "found": places}
    _print(
        as_json,
        document | ({"looked_at": looked} if incident else {}),
        [*([looked.told()] if incident else []), *redaction_text.places(places, len(texts), detectors)],
    )
    for problem in looked.unreached:
        typer.echo(f"airlock redaction: {problem}", err=True)
    raise typer.Exit(FOUND if places else UNDECIDED if looked.unreached else 0)


@app.command()
def verify(
    *,
    config: ConfigFile = None,
    tool: Annotated[
        str | None, typer.Option(help="Also call this tool (`server__tool`), which answers what it is told.")
    ] = None,
    argument: Annotated[str, typer.Option(help="Argument of the tool that it answers with.")] = "text",
    token: Annotated[str, typer.Option(help="Token of a caller; else AIRLOCK_TOKEN.")] = "",
    as_json: AsJson = False,
) -> None:
    """Send canaries, secrets made up on the spot, through redaction as configured; see if one comes out.

    Every detector is tried with every encoding in this process. With --tool, a canary for each also travels
    through the running gateway to a server and back.

    Exit code 0: nothing came out; 1: a canary did, or no detector is on; 2: could not run; 3: with --tool,
    the answer holds neither a canary nor what stands in its place.
    """
    from airlock.cli import canaries, redaction_text
    from airlock.core.settings import environment

    try:
        settings = _load(config)
        trials = canaries.here(settings.redaction)
        if tool is not None:
            trials += canaries.there(settings, tool, argument, token=token, environ=environment())
    except ConfigError as error:
        raise _stop(error) from error
    code = _verdict(trials)
    _print(as_json, {"exit": code, "trials": trials}, redaction_text.trials(trials))
    raise typer.Exit(code)


def _verdict(trials: list[Trial]) -> int:
    """1 where one failed or nothing was tried, 3 where one could not be decided."""
    tried = [trial.result for trial in trials if trial.result != "off"]
    if not tried or "missed" in tried:
        return FOUND
    return UNDECIDED if "undecided" in tried else 0


def _places(name: str, raw: bytes, detectors: tuple[str, ...]) -> list[Place]:
    from airlock.redaction.scan import Scanner

    text = raw.decode("utf-8", "replace")
    found: list[Place] = []
    line, seen = 1, 0
    for hit in Scanner(detectors).find(text):
        line += text.count("\n", seen, hit.start)
        seen = hit.start
        column = hit.start - text.rfind("\n", 0, hit.start)
        found.append(Place(file=name, line=line, column=column, detector=hit.detector))
    return found


def _named(files: list[str] | None) -> list[str]:
    if not files:
        raise ConfigError("FILES", "are missing: name files, or an incident")
    return files


def _read(name: str) -> bytes:
    if name == "-":
        raw = typer.get_binary_stream("stdin").read(LARGEST_FILE + 1)
    else:
        with Path(name).open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise ConfigError(name, f"is larger than {LARGEST_FILE >> 20} MiB", "split it")
    return raw


def _detectors(config: Path | None) -> tuple[Detector, ...]:
    if detectors := _load(config).redaction.detectors:
        return detectors
    raise ConfigError("redaction.detectors", "is empty: nothing would be looked for")


def _load(path: Path | None) -> Config:
    from airlock.core.settings import environment, load

    return load(path, environment()).config


def _pause(seconds: float) -> None:
    import time

    time.sleep(seconds)


def _print(as_json: bool, document: object, lines: list[str]) -> None:
    typer.echo(harmless(msgspec.json.encode(document)) if as_json else "\n".join(lines))


def _stop(why: Exception) -> typer.Exit:
    lines = str(why).split("\n") if isinstance(why, ConfigError) else [str(why)]
    typer.echo("airlock redaction: " + "\n".join(visible(line) for line in lines), err=True)
    return typer.Exit(UNUSABLE)
