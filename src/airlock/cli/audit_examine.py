"""`airlock audit analyze`, `export` and `storage`: who tried what, rows for other programs, room for more."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from airlock.cli import audit_source
from airlock.cli.audit_source import AllReplicas, AsJson, ConfigFile, DataDir, Db, Since
from airlock.core.clock import SYSTEM
from airlock.core.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Generator

    from airlock.audit.analysis import Analysis, Asked
    from airlock.audit.export import Exported, Filter
    from airlock.cli.audit_source import Source

ATTENTION = 1
UNPROVEN = 3


def analyze(
    file: Annotated[
        Path | None, typer.Argument(help="CSV file of audit_events, with or without its header.")
    ] = None,
    *,
    group: Annotated[
        str, typer.Option(help="Columns that make a group, separated by commas.")
    ] = "subject,source_ip,action,decision",
    decision: Annotated[str, typer.Option(help="Only attempts that ended so: allow, deny or error.")] = "",
    kind: Annotated[
        str, typer.Option("--class", help="Only one kind of attempt, such as privilege_escalation.")
    ] = "",
    since: Since = None,
    alarm: Annotated[
        int, typer.Option(min=1, help="Refused attempts of one group from which on it is an alarm.")
    ] = 20,
    db: Db = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Count attempts by who made them, from where, and how they ended; folded rows count in full.

    Exit code 0: no group was refused that often; 1: one was, or there was one refusal of a --class other than
    authentication and rate_limit; 2: could not run; 3: as 0, but newer records are not in the database.
    """
    from airlock.audit import analysis, query

    try:
        asked = analysis.Asked(
            group=tuple(name.strip() for name in group.split(",")),
            since=query.moment(since, SYSTEM) if since else "",
            decision=decision.lower(),
            kind=kind,
        )
        source = audit_source.source(db, data_dir, config) if file is None else None
        if source is not None:
            answer = analysis.of_database(source.database, asked, alarm=alarm)
        else:
            answer = analysis.of_csv(file or Path(), asked, alarm=alarm)
    except (ValueError, sqlite3.Error, OSError) as error:
        raise audit_source.stop(error) from error
    raise typer.Exit(_tell_analysis(answer, asked, source, as_json=as_json))


def _tell_analysis(answer: Analysis, asked: Asked, source: Source | None, *, as_json: bool) -> int:
    """Print it; the exit code."""
    from airlock.cli import audit_text

    behind = source is not None and bool(source.unreached)
    code = ATTENTION if answer.alarming else UNPROVEN if behind else 0
    if as_json:
        told = {"exit": code, **msgspec.structs.asdict(asked), **msgspec.structs.asdict(answer)}
        typer.echo(harmless(msgspec.json.encode(told)))
    else:
        audit_text.show_analysis(answer, asked.group)
    if source is not None:
        source.tell()
    return code


def export(
    *,
    form: Annotated[Literal["csv", "jsonl"], typer.Option("--format", help="What to write.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="File to write; otherwise standard output.")] = None,
    sqlite: Annotated[
        Path | None, typer.Option(help="Write a SQLite file with a table audit_events instead.")
    ] = None,
    since: Since = None,
    decision: Annotated[str, typer.Option(help="Only rows with this decision.")] = "",
    tenant: Annotated[str, typer.Option(help="Only rows of this tenant.")] = "",
    subject: Annotated[str, typer.Option(help="Only rows of this subject.")] = "",
    all_replicas: AllReplicas = False,
    db: Db = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print as JSON what was written to the file.")
    ] = False,
) -> None:
    """Write rows of the log for other programs, with a header, in the order in which they came in.

    Files must not exist, and only their owner may read them. Exit code 0: written; 2: could not run; 3:
    written, but newer records are not in the database.
    """
    from airlock.audit import query
    from airlock.audit.export import Filter

    del all_replicas
    if out is not None and sqlite is not None:
        raise typer.BadParameter("write one file at a time", param_hint="--sqlite")
    if as_json and not (out or sqlite):
        raise typer.BadParameter("standard output has the rows: name a file", param_hint="--json")
    try:
        which = Filter(
            since=query.moment(since, SYSTEM) if since else "",
            decision=decision.lower(),
            tenant=tenant,
            subject=subject,
        )
        source = audit_source.source(db, data_dir, config)
        written = _written(source.database, form, out, sqlite, which)
    except (ValueError, sqlite3.Error, OSError) as error:
        raise audit_source.stop(error) from error
    _tell(written, out or sqlite, as_json=as_json)
    source.tell()
    raise typer.Exit(UNPROVEN if source.unreached else 0)


def _written(
    database: Path, form: Literal["csv", "jsonl"], out: Path | None, sqlite: Path | None, which: Filter
) -> Exported:
    from airlock.audit import export

    if sqlite is not None:
        with _whole(sqlite):
            return export.to_sqlite(database, sqlite, which)
    written = export.to_csv if form == "csv" else export.to_jsonl
    if out is None:
        return written(database, typer.get_binary_stream("stdout"), which)
    with _whole(out), open(out, "xb", opener=_private) as file:
        return written(database, file, which)


@contextlib.contextmanager
def _whole(path: Path) -> Generator[None]:
    """What could not be written to its end is taken away; what was there before stays."""
    if path.exists():
        raise FileExistsError(f"{path} exists: nothing is overwritten")
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _tell(written: Exported, path: Path | None, *, as_json: bool) -> None:
    """What was written: on standard output only where that does not have the rows."""
    if as_json:
        typer.echo(msgspec.json.encode({"path": str(path), **msgspec.structs.asdict(written)}))
        return
    lines = [f"{written.rows} rows, SHA-256 {written.sha256}"]
    lines += [f"chain {uid}: seq {first} to {last}" for uid, (first, last) in sorted(written.chains.items())]
    typer.echo("\n".join(lines), err=path is None)


def storage(*, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Room for the log: what is free, what a day adds, and how many days are left.

    Exit code 0: room enough; 1: less than a tenth of the volume is free, or less than a week is left; 2:
    could not run; 3: how fast the log grows could not be found out.
    """
    from airlock.audit import storage
    from airlock.cli import audit_text

    directory = data_dir or audit_source.configured(config)
    try:
        found = storage.look(directory, now=SYSTEM.wall())
    except OSError as error:
        raise audit_source.stop(error) from error
    if as_json:
        typer.echo(harmless(msgspec.json.encode({"exit": found.exit, **msgspec.structs.asdict(found)})))
    else:
        audit_text.show_storage(found)
    raise typer.Exit(found.exit)
