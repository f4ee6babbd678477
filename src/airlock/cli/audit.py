"""`airlock audit`: verify the log, find what is missing from it, ask it questions.

Everything is read from local files. The journals are projected up to now first, so that the newest answered
call is seen; where that cannot be reached in time, the answer says so.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Annotated

import msgspec
import typer

from airlock.cli import audit_examine, audit_source
from airlock.cli.audit_source import AsJson, ConfigFile, DataDir, Db, Since
from airlock.core.clock import SYSTEM
from airlock.core.harmless import harmless

app = typer.Typer(help="The audit log: verify it, find gaps, ask questions.", no_args_is_help=True)
app.command("analyze")(audit_examine.analyze)
app.command("export")(audit_examine.export)
app.command("storage")(audit_examine.storage)


@app.callback()
def audit() -> None:
    """The audit log: verify it, find gaps, ask questions."""


@app.command()
def verify(
    *,
    db: Db = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    chain: Annotated[str | None, typer.Option(help="Only this chain.")] = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Prove that what is recorded was not changed.

    Exit code 0: proven as far as configured; 1: tampering or loss; 2: could not run; 3: something that was
    asked for is unproven.
    """
    from airlock.audit import query
    from airlock.audit.inspection import Inspection
    from airlock.cli import audit_text

    source = audit_source.source(db, data_dir, config)
    try:
        moment = None if since is None else query.moment(since, SYSTEM)
        with _Progress(shown=not as_json) as progress:
            report = Inspection(
                source.database,
                journals=source.journals,
                chain=chain,
                since=moment,
                unproven=source.unreached,
                progress=progress,
            ).run()
    except (ValueError, sqlite3.Error, OSError) as error:
        raise audit_source.stop(error) from error
    if as_json:
        typer.echo(harmless(msgspec.json.encode(report)))
    else:
        audit_text.show_report(report)
    raise typer.Exit(report.exit)


@app.command()
def gaps(
    *,
    db: Db = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    since: Annotated[str, typer.Option(help="Look back that far.")] = "24h",
    dangling: Annotated[str, typer.Option(help="Age at which a call without outcome is a gap.")] = "330s",
    as_json: AsJson = False,
) -> None:
    """Find what is missing. Exit code 0: nothing; 1: gaps; 2: could not run; 3: cannot tell."""
    from contextlib import closing

    from airlock.audit import database, gaps, query
    from airlock.audit.standing import standing
    from airlock.cli import audit_text
    from airlock.core.units import duration

    source = audit_source.source(db, data_dir, config)
    try:
        with closing(database.open_reader(source.database)) as opened:
            found = gaps.find(
                opened,
                since=query.moment(since, SYSTEM),
                now=SYSTEM.wall(),
                journal=None if source.journals is None else standing(source.journals),
                dangling_after=duration(dangling),
            )
    except (ValueError, sqlite3.Error, OSError) as error:
        raise audit_source.stop(error) from error
    if as_json:
        typer.echo(harmless(msgspec.json.encode({"exit": gaps.exit_code(found), "gaps": found})))
    else:
        audit_text.show_gaps(found)
    raise typer.Exit(gaps.exit_code(found))


@app.command()
def query(
    sql: Annotated[str | None, typer.Argument(help="One SELECT over audit_events and its tables.")] = None,
    *,
    name: Annotated[str | None, typer.Option(help="A prepared question; `list` shows them.")] = None,
    severity: Annotated[str | None, typer.Option(help="Rows of this severity.")] = None,
    decision: Annotated[str | None, typer.Option(help="Rows with this decision.")] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows to print.")] = 10_000,
    timeout: Annotated[str, typer.Option(help="Longest time a question may take.")] = "30s",
    db: Db = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """Ask the log: one SELECT, a prepared question, or rows by severity, decision and time.

    Exit code 0: answered; 2: refused or could not run; 3: answered, but newer records are not in the
    database.
    """
    from airlock.audit import query
    from airlock.cli import audit_text
    from airlock.core.units import duration

    if name == "list":
        audit_text.show_prepared()
        return
    try:
        asked, parameters = _question(sql, name, severity=severity, decision=decision, since=since)
        source = audit_source.source(db, data_dir, config)
        answer = query.run(
            source.database, asked, parameters, clock=SYSTEM, limit=limit, timeout=duration(timeout)
        )
    except (ValueError, sqlite3.Error, OSError) as error:
        raise audit_source.stop(error) from error
    if as_json:
        typer.echo(harmless(msgspec.json.encode(query.as_json(answer))))
    elif as_csv:
        typer.echo(query.as_csv(answer, exact=not sys.stdout.isatty()), nl=False)
    else:
        audit_text.show_answer(answer)
    source.tell()
    raise typer.Exit(3 if source.unreached else 0)


def _question(
    sql: str | None, name: str | None, *, severity: str | None, decision: str | None, since: str | None
) -> tuple[str, dict[str, str | None]]:
    """SQL and parameters of what was asked in one of the three ways."""
    from airlock.audit import query

    criteria = severity is not None or decision is not None
    if sum((sql is not None, name is not None, criteria)) > 1:
        raise ValueError("ask by SQL, by --name or by criteria, not by two of them")
    if sql is not None:
        if since is not None:
            raise ValueError("with SQL, say since when in the SQL")
        return sql, {}
    if name is not None:
        if name not in query.PREPARED:
            raise ValueError(f"no question is called {name}: there are {', '.join(query.PREPARED)}")
        prepared = query.PREPARED[name]
        back = since or prepared.since
        return prepared.sql, {"since": query.moment(back, SYSTEM)} if back else {}
    if not criteria and since is None:
        raise ValueError("nothing was asked: give SQL, --name, --severity, --decision or --since")
    moment = None if since is None else query.moment(since, SYSTEM)
    return query.SELECTION, {
        "since": moment,
        "severity": severity.upper() if severity else None,
        "decision": decision.lower() if decision else None,
    }


class _Progress:
    """Counts checked rows on the error output while it is a terminal."""

    def __init__(self, *, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("rows checked"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task("rows", total=None)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, rows: int) -> None:
        self._bar.advance(self._task, rows)
