"""`airlock rule backtest` and `export`: rules over the log that is there, and as other programs read them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli import audit_source
from airlock.cli.audit_source import AsJson, ConfigFile, DataDir, Db
from airlock.core.clock import SYSTEM, rfc3339

if TYPE_CHECKING:
    from airlock.incident.detect.backtest import Backtest

FOUND = 1
SHOWN = 20

Id = Annotated[str, typer.Argument(help="Id of the rule, such as MCP-008.")]


def backtest(
    rule: Id,
    *,
    since: Annotated[str, typer.Option(help="How far back: `24h`, `30d`.")] = "7d",
    threshold: Annotated[
        list[str] | None, typer.Option(help="Another threshold, NAME=NUMBER; may be given several times.")
    ] = None,
    db: Db = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Play the audit log to a rule: which alerts it would have given, and how many a day.

    Reads the log and changes nothing; a running gateway is not asked. Exit code 0: none; 1: at least one;
    2: could not run.
    """
    from airlock.core.units import duration
    from airlock.incident.detect.backtest import backtest as play
    from airlock.incident.detect.catalogue import rules

    try:
        known = rules()
        if rule not in known:
            raise ValueError(f"no rule is called {visible(rule)}: there are {', '.join(known)}")  # noqa: TRY301
        now = SYSTEM.wall()
        begin, values = now - duration(since), thresholds(threshold or [])
        source = audit_source.source(db, data_dir, config)
        source.tell()
        found = play(source.database, known[rule], since=begin, now=now, thresholds=values)
    except (ValueError, sqlite3.Error, OSError) as error:
        raise _stop(error) from error
    typer.echo(msgspec.json.encode(found).decode() if as_json else told(found))
    raise typer.Exit(FOUND if found.alerts else 0)


def thresholds(given: list[str]) -> dict[str, float]:
    """Thresholds by name. Raises ValueError for what is none."""
    values: dict[str, float] = {}
    for each in given:
        name, _, number = each.partition("=")
        try:
            values[name] = float(number)
        except ValueError as wrong:
            raise ValueError(
                f"{visible(each)} is no threshold: write NAME=NUMBER, such as count=40"
            ) from wrong
    return values


def told(found: Backtest) -> str:
    """The answer for a terminal."""
    asked = ", ".join(f"{name} {value:g}" for name, value in found.thresholds.items())
    lines = [
        f"{found.rule} ({asked}) from {rfc3339(found.since)}: {found.alerts} alerts, {found.per_day:g} a day",
        f"{found.rows} rows were played, {found.learned_from} of them only to learn what is usual",
    ]
    if found.shortened:
        lines.append("there are more rows than are played: the period is shorter than you asked for")
    lines += [f"{rfc3339(hit.first)}  {hit.severity}  {visible(hit.summary)}" for hit in found.hits[:SHOWN]]
    if found.alerts > SHOWN:
        lines.append(f"and {found.alerts - SHOWN} more: --json has them")
    return "\n".join(lines)


def export(
    rule: Annotated[str, typer.Argument(help="Id of one rule; without it all of them.")] = "",
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for a file of each rule and the taxonomy; else to the terminal."),
    ] = None,
) -> None:
    """The rules as Sigma, for other programs; their fields are those of `product: mcp_gateway`.

    Exit code 0: done; 2: could not run.
    """
    from airlock.incident.detect.catalogue import rules, source, taxonomy

    if rule and rule not in rules():
        raise _stop(ValueError(f"no rule is called {rule}: there are {', '.join(rules())}"))
    texts = {id: source(id) for id in rules() if rule in ("", id)}
    if out is None:
        typer.echo("---\n".join(texts.values()), nl=False)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for id, text in texts.items():
            (out / f"{id}.yml").write_text(text, encoding="utf-8")
        (out / "taxonomy.yml").write_text(taxonomy(), encoding="utf-8")
    except OSError as error:
        raise _stop(error) from error
    typer.echo(f"{len(texts)} rules and the taxonomy are in {out}")


def _stop(why: Exception) -> typer.Exit:
    typer.echo(f"airlock rule: {visible(why)}", err=True)
    return typer.Exit(audit_source.UNUSABLE)
