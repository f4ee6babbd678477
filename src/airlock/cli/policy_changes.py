"""`airlock policy diff` and `rollback`: what came to decide, by whom, and the way back."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNPROVEN, WAITS, AsJson, ConfigFile, Containing, Incident, Token
from airlock.cli.proposal import lines as proposed

TIMEOUT_S = 60.0
"""Thousands of recorded calls are asked of every policy again."""


def diff(
    *,
    since: Annotated[str, typer.Option(help="How far back: 24h, 7d.")] = "24h",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List what came to decide: when, by whom, the difference of the texts, and which calls it flips.

    Changes that were refused, or that a rollback took back, come first; then the newest. Exit code 0: listed;
    1: refused; 2: could not run.
    """
    asking = Containing("policy diff", config, token)
    path = f"/api/v1/policy/revisions?since={quote(since, safe='')}"
    document = asking.ask("GET", path, timeout=TIMEOUT_S).document
    if as_json:
        asking.print_json(document)
        return
    told = [line for change in document["changes"] for line in _lines(change)]
    typer.echo("\n".join(told) or f"policy did not change in the last {visible(since)}")


def rollback(
    *,
    to: Annotated[str, typer.Option(help="`previous`, or 8 digits or more of a revision.")] = "previous",
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    incident: Incident = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Go back to a policy that decided before; the files of the operator stay as they are.

    It decides until other files are loaded, also after a restart. Recorded calls are replayed first: where
    calls would pass that are refused, or nobody can say, it takes two other people (`airlock approve`).

    Exit code 0: it decides in every worker; 1: refused; 2: could not run; 3: not in every worker yet; 4: it
    waits for people.
    """
    asking = Containing("policy rollback", config, token)
    order = {"to": to, "reason": reason, "incident": incident}
    answer = asking.ask("POST", "/api/v1/policy/rollback", order, timeout=TIMEOUT_S)
    document = answer.document
    if as_json:
        asking.print_json(document)
    elif answer.status == 202:
        typer.echo("\n".join(proposed(document["proposal"])))
        typer.echo(f"it waits for people: airlock approve {visible(document['proposal']['id'])}")
    else:
        typer.echo("\n".join(rolled(document)))
    if answer.status == 202:
        raise typer.Exit(WAITS)
    if answer.status == 207:
        raise asking.stop("not every worker has confirmed it yet", UNPROVEN)


def rolled(document: dict[str, Any]) -> list[str]:
    """A rollback that was carried out, for people."""
    moved = f"policy {document['from'][:12]} gave way to {document['to'][:12]}"
    if not document["replicas_total"]:
        return [f"{moved}; no worker runs: it decides from the next start on"]
    return [f"{moved}; {document['replicas_acked']} of {document['replicas_total']} workers decide by it"]


def went_back(found: dict[str, Any]) -> str:
    """The rollback that is in force, for people."""
    incident = f" for {visible(found['incident'])}" if found["incident"] else ""
    return (
        f"rolled back{incident}: {found['from'][:12]} gave way to {found['to'][:12]} at {found['at']}, by"
        f" {visible(found['by'])}: {visible(found['reason'])}; until other policy files are loaded"
    )


def _lines(change: dict[str, Any]) -> list[str]:
    what = {"rollback": "rolled back to", "refused": "refused:"}.get(change["kind"], change["kind"])
    told = [
        f"{change['at']}  {what} {change['revision'][:12]}, by {visible(change['by'])}"
        + (", taken back since" if change["undone"] else "")
    ]
    told += [f"  from {visible(change['origin'])}"] if change["origin"] else []
    told += [f"  {visible(change['reason'])}"] if change["reason"] else []
    told.append(_judged(change["judged"], bool(change["before"])))
    if change["diff"] is None:
        return [*told, "  the texts are not kept"]
    difference = str(change["diff"]) if change["before"] else ""
    return told + [f"  {visible(line.expandtabs(4))}" for line in difference.splitlines()]


def _judged(found: dict[str, int] | None, compared: bool) -> str:
    if not compared:
        return "  nothing decided before it"
    if found is None:
        return "  there is no log of calls"
    return (
        f"  of {sum(found.values())} calls it lets {found['opened']} pass that were refused or had more"
        f" obligations, refuses {found['closed']} that passed; of {found['untold']} nobody can tell"
    )
