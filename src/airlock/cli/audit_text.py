"""How `airlock audit` shows its answers. What comes from the log is printed as text, never obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airlock.audit.query import PREPARED
from airlock.audit.verify import Exit
from airlock.audit.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airlock.audit.analysis import Analysis
    from airlock.audit.gaps import Gap
    from airlock.audit.inspection import Report
    from airlock.audit.query import Answer
    from airlock.audit.storage import Storage
    from airlock.audit.verify import Finding

_VERDICT = {
    Exit.PROVEN: "[green]No contradiction[/green]",
    Exit.TAMPERED: "[bold red]Tampering or loss[/bold red]",
    Exit.UNPROVEN: "[yellow]No contradiction, but not everything could be checked[/yellow]",
}


def show_report(report: Report) -> None:
    """A verification: what was checked, what was found, what is not proven."""
    out = _console()
    out.print(report.scope)
    out.print(
        f"{_VERDICT[report.exit]}: {report.rows} rows in {len(report.chains)} chains, "
        f"{report.journal_records} journal records."
    )
    if report.chains:
        table = _table("chain", "rows", "first seq", "last seq", "skeletons", "findings")
        for chain in report.chains:
            numbers = (chain.rows, chain.first_seq, chain.last_seq, chain.skeletons, chain.findings)
            table.add_row(escape(visible(chain.chain_uid)), *map(str, numbers))
        out.print(table)
    for finding in report.findings:
        out.print(_finding(finding))
    if report.finding_count > len(report.findings):
        out.print(f"... and {report.finding_count - len(report.findings)} more findings")
    for title, lines in (
        ("Could not be checked", report.unproven),
        ("Notes", report.notes),
        ("Not proven", report.not_proven),
    ):
        if lines:
            out.print(f"\n[bold]{title}[/bold]")
        for line in lines:
            out.print(f"  - {escape(visible(line))}")


def _finding(finding: Finding) -> str:
    place = " ".join(
        part
        for part in (
            f"chain {finding.chain_uid}" if finding.chain_uid else "",
            "" if finding.seq is None else f"seq {finding.seq}",
            f"id {finding.id}" if finding.id else "",
        )
        if part
    )
    seen = f" (expected {finding.expected or '-'}, seen {finding.seen or '-'})"
    text = f"{place}: {finding.what}" if place else finding.what
    return f"[red]{finding.code}[/red] {escape(visible(text + (seen if finding.seen else '')))}"


def show_gaps(found: list[Gap]) -> None:
    """What is missing; one block each."""
    out = _console()
    if not found:
        out.print("[green]No gap[/green]")
    for gap in found:
        colour = "red" if gap.result == "gap" else "yellow"
        place = f"{gap.chain_uid} {gap.range}".strip()
        seen = f" first seen {gap.first_seen}" if gap.first_seen else ""
        out.print(f"[{colour}]{gap.result}[/{colour}] {gap.check} {escape(visible(place + seen))}")
        out.print(f"  {escape(visible(gap.cause))}")
        out.print(f"  next: {escape(visible(gap.next))}")


def show_answer(answer: Answer) -> None:
    """Rows as a table."""
    out = _console()
    table = _table(*(escape(visible(name)) for name in answer.columns))
    for row in answer.rows:
        table.add_row(*(escape(visible(value)) for value in row))
    out.print(table)
    more = ", there are more: raise --limit" if answer.truncated else ""
    out.print(f"{len(answer.rows)} rows{more}")


def show_prepared() -> None:
    """The questions that have a name."""
    table = _table("name", "question", "looks back")
    for name, prepared in PREPARED.items():
        table.add_row(name, escape(prepared.title), prepared.since or "all")
    _console().print(table)


def show_analysis(answer: Analysis, names: Sequence[str]) -> None:
    """Groups as a table, the alarming ones marked."""
    out = _console()
    table = _table("attempts", "denied", *names, "first", "last")
    for group in answer.groups:
        values = (escape(visible(value)) for value in group.values.values())
        denied = f"[red]{group.denied}[/red]" if group in answer.alarming else str(group.denied)
        table.add_row(str(group.attempts), denied, *values, visible(group.first), visible(group.last))
    out.print(table)
    more = ", not all are shown" if answer.truncated else ""
    out.print(f"{answer.attempts} attempts, {answer.denied} denied, {len(answer.groups)} groups{more}")
    if answer.alarming:
        out.print(f"[red]{len(answer.alarming)} groups need a look[/red]")


def show_storage(found: Storage) -> None:
    """The volume and the log on it."""
    out = _console()
    out.print(f"{escape(found.path)}: {_mib(found.free)} of {_mib(found.total)} free")
    out.print(f"database {_mib(found.database)}, journal {_mib(found.journal)}")
    if found.growth_per_day is None:
        out.print(f"growth is not known: {escape(visible(found.unknown))}")
    else:
        left = "no end in sight" if found.days_left is None else f"{found.days_left:g} days left"
        out.print(f"{_mib(found.growth_per_day)} a day, {left}")
    for finding in found.findings:
        out.print(f"[red]{escape(finding)}[/red]")


def _mib(size: int) -> str:
    return f"{size / 1048576:,.1f} MiB"


def _console() -> Console:
    # Text that a pipe or a log takes stays in one line per row: nothing is cut at an imagined width.
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=10_000)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table
