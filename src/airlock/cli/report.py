"""`airlock report`: what auditors ask, each figure with its question and the digest of the answer."""

from __future__ import annotations

from typing import Annotated

import typer

from airlock.cli.containment import AsJson, ConfigFile
from airlock.cli.incident.documents import answer_lines
from airlock.cli.incident.reading import UNUSABLE, reading, stop
from airlock.core.clock import SYSTEM
from airlock.core.units import duration

UNPROVEN = 3

app = typer.Typer(help="Reports over the audit log.", no_args_is_help=True)


@app.callback()
def report() -> None:
    """Reports over the audit log."""


@app.command()
def compliance(
    *,
    since: Annotated[str, typer.Option(help="How far back, `24h 30d`.")] = "24h",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show events of every hour, gaps, refusals, minutes without policy, and tools that nobody approved.

    Exit code 0: no gap, no such minute, no such call; 1: there is one; 2: could not run; 3: whether there is
    one cannot be told.
    """
    from airlock.app.record import compliance as asked
    from airlock.incident import questions

    try:
        back = duration(since)
    except ValueError as wrong:
        raise stop("report", f"a duration looks like 24h or 30d: {wrong}", UNUSABLE) from wrong
    with reading("report", config) as files:
        now = SYSTEM.wall()
        answers = files.fit(lambda: asked(files.where, since=now - back, until=now + 1.0, clock=SYSTEM))
        code = questions.verdict(answers)
        if as_json:
            files.print_json({"exit": code, "answers": [questions.as_json(each) for each in answers]})
        else:
            typer.echo("\n".join(line for each in answers for line in answer_lines(each)))
    raise typer.Exit(code)
