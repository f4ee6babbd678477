"""`airlock server isolate` and `restore`: taking a server out of service everywhere, and putting it back."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import (
    REFUSED,
    WAITS,
    AsJson,
    ConfigFile,
    Containing,
    Incident,
    Token,
)
from airlock.cli.proposal import lines

Name = Annotated[str, typer.Argument(help="Name of a configured server.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


def isolate(
    name: Name,
    *,
    reason: Reason = "",
    incident: Incident = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a server out of service in every worker, until it is restored: calls that run there are cut.

    Exit code 0: out of service; 1: refused; 2: could not run; 3: out of service, but not every worker has
    confirmed it.
    """
    asking = Containing("server", config, token)
    order = {"status": "inactive", "reason": reason, "incident": incident}
    asking.finish(asking.ask("PATCH", _path(name), order), as_json, _told)


def restore(
    name: Name,
    *,
    reason: Reason = "",
    incident: Incident = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a server back into service. While an open incident names it, that takes two people: then it is
    proposed, and `airlock approve` carries it out.

    Exit code 0: in service; 1: refused; 2: could not run; 3: not every worker has confirmed it; 4: it waits
    for two people.
    """
    asking = Containing("server", config, token)
    order = {"status": "active", "reason": reason}
    answer = asking.ask("PATCH", _path(name), order, beside=("containment_active",))
    if answer.status < 400:
        asking.finish(answer, as_json, _told)
        return
    if not reason:
        why = f"{visible(answer.document.get('detail', ''))} Say why with --reason to propose that."
        raise asking.stop(why, REFUSED)
    wanted = {
        "action": "server.restore",
        "selector": {"server": name},
        "reason": reason,
        "incident": incident,
    }
    document = asking.ask("POST", "/api/v1/proposals", wanted).document
    if as_json:
        asking.print_json(document)
    else:
        proposal = document["proposal"]
        typer.echo("\n".join([*lines(proposal), f"airlock approve {visible(proposal['id'])}, by two people"]))
    raise typer.Exit(WAITS)


def _path(name: str) -> str:
    return f"/api/v1/servers/{quote(name, safe='')}"


def _told(document: dict[str, Any]) -> list[str]:
    before, after = document["before"]["status"], document["after"]["status"]
    calls, sessions = (_count(document[key]) for key in ("calls_cancelled", "sessions_closed"))
    cut = f"{calls} calls cancelled, {sessions} sessions closed"
    return [f"{visible(document['id'])} was {visible(before)} and is {visible(after)}; {cut}"]


def _count(number: int | None) -> str:
    return "an unknown number of" if number is None else str(number)
