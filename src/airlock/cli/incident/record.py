"""`airlock incident list`, `show`, `status`, `note` and `edit`: what is known, and what people add to it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, Document, Id, path, state
from airlock.cli.incident.clocks import clock_line
from airlock.incident.durations import spell


def list_incidents(
    *,
    ended: Annotated[bool, typer.Option("--all", help="Those that are closed, cancelled or merged too.")] = (
        False
    ),
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List incidents, the newest first. Exit code 0: listed; 2: could not run."""
    asking = Asking(config, token)
    document = asking.ask("GET", "/api/v1/incidents" + ("?state=all" if ended else "")).document
    asking.tell(
        document, as_json, lambda told: [_row(row) for row in told["incidents"]] or ["no incident is open"]
    )


def show(id: Id = "", *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show all that is known of an incident, and its timeline.

    Exit code 0: shown; 1: there is no such incident; 2: could not run.
    """
    asking = Asking(config, token)
    which = asking.id(id)
    document = asking.of(which) | {"events": asking.of(which, "timeline")["events"]}
    asking.tell(document, as_json, _whole)


def status(id: Id = "", *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Say where an incident stands: severity, status, commander, clocks, open tasks.

    Exit code 0: said; 1: there is no such incident; 2: could not run.
    """
    asking = Asking(config, token)
    which = asking.id(id)
    document = asking.of(which) | {"clocks": asking.of(which, "clocks")["clocks"]}
    asking.tell(document, as_json, _standing)


def note(
    id: Annotated[str, typer.Argument(help="Id of the incident.")],
    text: Annotated[str, typer.Argument(help="What happened, or what you think.")],
    *,
    kind: Annotated[str, typer.Option(help="`note`, `hypothesis` or `decision`.")] = "note",
    basis: Annotated[str, typer.Option(help="`observed`, `reported` or `inferred`.")] = "",
    visibility: Annotated[str, typer.Option(help="`internal`, `customer` or `legal`.")] = "",
    at: Annotated[str, typer.Option(help="When it happened, `2026-11-28T21:07:00Z`.")] = "",
    ref: Annotated[
        list[str] | None, typer.Option(help="Id of a row, lease or file; may be repeated.")
    ] = None,
    supersedes: Annotated[int | None, typer.Option(help="Number of the event that this corrects.")] = None,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write on the timeline. Exit code 0: written; 1: refused; 2: could not run."""
    order: Document = {
        "text": text,
        "kind": kind,
        "basis": basis,
        "visibility": visibility,
        "occurred_at": at,
        "refs": ref,
        "supersedes": supersedes,
    }
    Asking(config, token).change(id, "notes", order, as_json, _written)


def edit(
    id: Annotated[str, typer.Argument(help="Id of the incident.")],
    settings: Annotated[
        list[str], typer.Argument(metavar="MEMBER=VALUE...", help="Such as `affected_users=12`.")
    ],
    *,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Complete facts: title, affected_users, business_impact, root_cause, eta, ticket_url and others.

    Lists take their items with commas between them; `is_suspected_breach` takes `true` or `false`. Exit
    code 0: written; 1: refused; 2: could not run.
    """
    asking = Asking(config, token)
    order: Document = {}
    for setting in settings:
        member, equals, value = setting.partition("=")
        if not equals:
            raise asking.stop(f"{visible(setting)}: write MEMBER=VALUE", UNUSABLE)
        order[member] = _value(member, value)
    asking.tell(asking.ask("PATCH", path(id), order).document, as_json, state)


LISTS = frozenset(("tenants", "affected_services", "symptoms", "rules"))
"""Members of a record that hold several texts."""


def _value(member: str, text: str) -> Any:
    if member in LISTS:
        return [item.strip() for item in text.split(",") if item.strip()]
    return {"true": True, "false": False}.get(text, text) if member == "is_suspected_breach" else text


def _row(row: Document) -> str:
    commander = visible(row["commander"]) or "nobody commands"
    return f"{row['id']}  {row['severity']}  {row['status']}  {visible(row['title'])}  ({commander})"


def _written(document: Document) -> list[str]:
    return [f"event {event['seq']}: {visible(event['summary'])}" for event in document["events"]]


def _standing(document: Document) -> list[str]:
    record = document["incident"]
    roles = [role for role in record["roles"] if role["renounced_at"] is None]
    tasks = [task for task in record["tasks"] if task["done_at"] is None]
    took = [each for each in document["durations"] if each["seconds"] is not None]
    return [
        *state(document),
        f"containment: {document['containment']}",
        *(f"{visible(role['role'])}: {visible(role['person'])}" for role in roles),
        *(clock_line(clock) for clock in document["clocks"]),
        *(f"{each['title']}: {spell(each['seconds'])}" for each in took),
        *(f"open: {visible(task['key'])}: {visible(task['text'])}{_due(task)}" for task in tasks),
    ]


def _due(task: Document) -> str:
    return f", due {task['due_at']}" if task["due_at"] else ""


def _whole(document: Document) -> list[str]:
    record = document["incident"]
    shown = {name: value for name, value in record.items() if value not in ("", None, [], {})}
    facts = [f"{name}: {_told(value)}" for name, value in shown.items()]
    events = [
        f"{event['seq']}  {event['occurred_at']}  [{event['kind']}] {visible(event['summary'])}"
        for event in document["events"]
    ]
    return [*facts, *events]


def _told(value: object) -> str:
    return visible(value) if isinstance(value, str) else visible(msgspec.json.encode(value).decode())
