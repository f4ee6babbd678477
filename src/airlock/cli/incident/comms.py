"""Notices on the command line: rendered from the record, sent, approved, and what became of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import REFUSED, AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, Id, Of, Reason, path

WAITS = 4

Whom = Annotated[
    str,
    typer.Option(
        "--to",
        help="Audience: war_room, status_updates, executive, customer, legal. Default: that of the notice.",
    ),
]


def send(
    template: Annotated[
        str,
        typer.Argument(help="notification, team, update, internal, customer, resolved, executive or breach."),
    ],
    *,
    id: Of = "",
    to: Whom = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Render a notice from the record and send it. The engine delivers it; `airlock incident comms` shows the
    receipts.

    Exit code 0: on its way; 1: refused; 2: could not run; 4: it waits for an approval.
    """
    asking = Asking(config, token)
    order = {"template": template} | ({"audience": to} if to else {})
    answer = asking.ask("POST", path(asking.id(id), "comms"), order)
    asking.tell(answer.document, as_json, _lines)
    if answer.status == 202:
        raise typer.Exit(WAITS)


def comms(
    id: Id = "",
    *,
    approve: Annotated[str, typer.Option(help="Approve the message of this id, as it stands here.")] = "",
    role: Annotated[str, typer.Option(help="In this role.")] = "communications_lead",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the messages of an incident with their receipts, or approve one of them.

    Exit code 0: listed, approved; 1: refused, or a message could not be delivered; 2: could not run; 4: the
    message waits for somebody else too.
    """
    asking = Asking(config, token)
    incident = asking.id(id)
    document = asking.of(incident, "comms")
    if not approve:
        asking.tell(document, as_json, _lines)
        if any(each["state"] == "failed" for each in document["messages"]):
            raise typer.Exit(REFUSED)
        return
    meant = next((each for each in document["messages"] if each["id"] == approve), None)
    if meant is None:
        raise asking.stop(f"there is no message {visible(approve)} of {visible(incident)}", REFUSED)
    order = {"role": role, "sha256": meant["sha256"]}
    answer = asking.ask("POST", path(incident, "comms", approve, "approve"), order)
    asking.tell(answer.document, as_json, _lines)
    if answer.status == 202:
        raise typer.Exit(WAITS)


def _lines(document: dict[str, Any]) -> list[str]:
    return [_line(each) for each in document["messages"]] or ["nobody was told anything"]


def _line(message: dict[str, Any]) -> str:
    waits = f" for {' and '.join(message['needs'])}" if message["needs"] else ""
    said = f": {visible(message['receipts'][-1]['detail'])}" if message["receipts"] else ""
    where = f"{visible(message['target'])} ({visible(message['channel'])})"
    return f"{visible(message['id'])}  {message['template']} to {where}  {message['state']}{waits}{said}"


def debt(
    id: Id = "",
    *,
    waive: Annotated[str, typer.Option(help="Let the call of this id go, as one of two people.")] = "",
    reason: Reason = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the calls that passed while policy answered nothing, with what policy says of them now.

    Exit code 0: every one is judged; 1: refused, or some are open or not counted yet; 2: could not run; 4:
    waiving takes somebody else as well.
    """
    asking = Asking(config, token)
    incident = asking.id(id)
    if waive:
        answer = asking.ask("POST", path(incident, "debt", waive, "waive"), {"reason": reason})
        asking.tell(answer.document, as_json, _owed)
        if answer.status == 202:
            raise typer.Exit(WAITS)
        return
    document = asking.of(incident, "debt")
    asking.tell(document, as_json, _owed)
    if document["open"] or document["counting"]:
        raise typer.Exit(REFUSED)


def _owed(document: dict[str, Any]) -> list[str]:
    told = [
        f"{visible(each['id'])}  {each['state']}  {visible(each['resource'])}  {visible(each['why'])}"
        for each in document["debt"]
    ]
    told += [f"grant {visible(each)}: its calls are still counted" for each in document["counting"]]
    return told or ["no call passed without a decision"]
