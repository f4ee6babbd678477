"""`airlock incident render`, `scope` and `watch`: what the record says, to read and to hand on.

They read files, not the gateway: a page for the night is of use when nothing answers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from airlock.cli.containment import AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Id
from airlock.cli.incident.reading import REFUSED, UNUSABLE, Reading, reading, stop
from airlock.cli.incident.watching import begin_watch, is_over
from airlock.core.clock import SYSTEM
from airlock.core.units import duration

if TYPE_CHECKING:
    from airlock.incident.exposure import Exposure
    from airlock.incident.questions import Answered

What = Literal[
    "notification", "team", "update", "internal", "customer", "resolved", "executive",
    "report", "timeline", "rca", "breach", "review",
]  # fmt: skip

ROWS = 20
"""Rows of an answer that a terminal shows."""


def render(
    what: Annotated[What, typer.Argument(help="A notice, or a file.", metavar="WHAT")],
    id: Id = "",
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Render a document from the record, and from nothing else; nothing is sent or stored.

    Notices: notification, team, update, internal, customer, resolved, executive. Files: report, timeline,
    rca, breach, review. A missing fact reads `not yet known`. Exit code 0: rendered; 1: there is no such
    incident; 2: could not run.
    """
    from airlock.incident.render import documents

    with reading("incident", config) as files:
        record = files.record(files.id(id))
        name = documents.file_of(what, record.incident.id)
        if name is not None:
            text = documents.file(name, record)
            told = {"template": what, "name": documents.file_name(name, record.incident.id), "body": text}
        else:
            notice = documents.notice(documents.notice_of(what), record)
            text = notice.text
            told = {"template": what, "subject": notice.subject, "body": notice.body, "sha256": notice.sha256}
        if as_json:
            files.print_json(told)
        else:
            typer.echo(text, nl=False)


def scope(id: Id = "", *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show whom an incident affects, and what was reached: two numbers that are never added.

    Each figure names its stored question and the digest of the answer. Exit code 0: shown; 1: there is no
    such incident; 2: could not run.
    """
    from airlock.app.record import affected, exposed
    from airlock.incident import questions

    with reading("incident", config) as files:
        which = files.id(id)
        impact = files.fit(lambda: affected(files.where, which, clock=SYSTEM))
        reached, source = files.fit(lambda: exposed(files.where, which, clock=SYSTEM))
        if as_json:
            answers = [questions.as_json(each) for each in impact]
            files.print_json({"impact": answers, "exposure": reached, "source": questions.as_json(source)})
            return
        lines = [line for each in impact for line in answer_lines(each)]
        typer.echo("\n".join([*lines, *_exposure(reached, source)]))


def watch(
    id: Id = "",
    *,
    lasting: Annotated[str, typer.Option("--for", help="Look again until so long from now, `30m 8h`.")] = "",
    every: Annotated[str, typer.Option(help="How long between two looks.")] = "5s",
    detach: Annotated[
        bool, typer.Option("--detach", help="Begin the watch, and show the page once.")
    ] = False,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the page for the night: what is true now, what to do next, who has been told.

    Without an id: every incident that is not resolved. An incident that is mitigated or resolved is watched
    for the time of --for, also when this command has ended: once it is resolved, trouble opens it again. Exit
    code 0: nothing is overdue; 1: something is, the incident was opened again, or there is none; 2: could not
    run.
    """
    try:
        span, pause = duration(lasting) if lasting else 0.0, duration(every)
    except ValueError as wrong:
        raise stop("incident", f"a duration looks like 30s or 8h: {wrong}", UNUSABLE) from wrong
    over = bool(id and span) and begin_watch(id, lasting, token, config)
    span = 0.0 if detach else span
    with reading("incident", config) as files:
        overdue = _page(files, id, as_json=as_json)
        until = SYSTEM.monotonic() + span
        while span:
            time.sleep(pause)
            overdue = _page(files, id, as_json=as_json)
            if SYSTEM.monotonic() >= until or (over and not is_over(files, id)):
                break
        again = over and not is_over(files, id)
    raise typer.Exit(REFUSED if overdue or again else 0)


def _page(files: Reading, id: str, *, as_json: bool) -> bool:
    """Print the page; whether something is overdue."""
    from airlock.incident.render import night
    from airlock.store import incidents

    ids = [id] if id else [each.id for each in incidents.listing(files.where.store)]
    records = [files.record(each) for each in ids]
    shown = records if id else night.open_ones(records)
    pages = [night.night(each) for each in shown]
    service, now = files.service(), SYSTEM.wall()
    if as_json:
        files.print_json(
            {"service": service, "at": now, "incidents": [night.as_json(each) for each in pages]}
        )
    else:
        typer.echo("\n".join(night.lines(pages, service, now)))
    return any(page.overdue for page in pages)


def answer_lines(found: Answered) -> list[str]:
    """An answer for a terminal: what was asked, the digest, the rows."""
    from airlock.audit.visible import visible

    lines = [f"{found.title} ({found.citation if found.known else found.query})"]
    if found.problem:
        lines.append(f"  not known: {visible(found.problem)}" if not found.known else f"  {found.problem}")
    for row in found.rows[:ROWS]:
        told = zip(found.columns, row, strict=True)
        lines.append(
            "  " + "  ".join(f"{name} {visible(value)}" for name, value in told if value not in (None, ""))
        )
    if len(found.rows) > ROWS:
        lines.append(f"  ... and {len(found.rows) - ROWS} more: --json shows them")
    if found.known and not found.rows:
        lines.append("  none")
    return lines


def _exposure(reached: Exposure, source: Answered) -> list[str]:
    from airlock.audit.visible import visible

    lines = [f"What was reached ({source.citation if source.known else source.query})"]
    start = ", ".join(f"{kind} {visible(value)}" for kind, value in reached.start)
    lines.append(f"  from {start or 'nobody'}")
    for bucket, count in reached.counts.items():
        tools = ", ".join(visible(each) for each in reached.tools[bucket])
        lines.append(f"  {bucket}: {count}" + (f" ({tools})" if tools else ""))
    lines.append(f"  results handed out: {reached.bytes} bytes; tenants: {len(reached.tenants)}")
    lines += [f"  shared by several users, so not followed: {visible(each)}" for each in reached.shared]
    return lines + [f"  unknown: {visible(each)}" for each in reached.unknown]
