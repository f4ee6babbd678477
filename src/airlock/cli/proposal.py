"""`airlock approve`, `reject` and `proposals`: agreeing to what somebody asked for, or declining it.

What is agreed to is what was printed: the digest of the order and of its dry run goes along, and where it is
another one by then, nothing happens.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.api import Answer
from airlock.cli.containment import WAITS, AsJson, ConfigFile, Containing, Incident, Token

Id = Annotated[str, typer.Argument(help="Id of the proposal.")]


def approve(id: Id, *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Agree to a proposal; the last approval that it needs carries it out.

    Exit code 0: carried out; 1: refused; 2: could not run; 3: in force, but not every worker has confirmed
    it; 4: somebody else has to agree as well.
    """
    asking = Containing("approve", config, token)
    path = f"/api/v1/proposals/{quote(id, safe='')}"
    seen = asking.ask("GET", path).document["proposal"]
    if not as_json:
        typer.echo("\n".join(lines(seen)))
    answer = asking.ask("POST", f"{path}/approve", {"digest": seen["digest"]})
    document = answer.document
    if answer.status == 202:
        if as_json:
            asking.print_json(document)
        else:
            typer.echo(f"approved by {_people(document['proposal'])}; it needs somebody else as well")
        raise typer.Exit(WAITS)
    if "enforced" not in document:
        if as_json:
            asking.print_json(document)
        else:
            typer.echo(f"carried out: grant {visible(document['proposal']['lease'])} is in force")
        return
    told = {**document["enforced"], "proposal": document["proposal"], "lease": document["lease"]}
    done = f"carried out: lease {visible(document['lease']['id'])} is {visible(document['lease']['state'])}"
    asking.finish(Answer(status=answer.status, document=told), as_json, lambda _: [done])


def reject(
    id: Id,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Decline a proposal for good. Exit code 0: declined; 1: refused; 2: could not run."""
    asking = Containing("reject", config, token)
    path = f"/api/v1/proposals/{quote(id, safe='')}/reject"
    document = asking.ask("POST", path, {"reason": reason}).document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo(f"rejected: {line(document['proposal'])}")


def proposals(
    *, incident: Incident = "", token: Token = "", config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """List proposals, the newest first. Exit code 0: listed; 2: could not run."""
    asking = Containing("proposals", config, token)
    query = f"?incident={quote(incident, safe='')}" if incident else ""
    document = asking.ask("GET", f"/api/v1/proposals{query}").document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo("\n".join(map(line, document["proposals"])) or "nothing was proposed")


def line(found: dict[str, Any]) -> str:
    """A proposal in one line."""
    order = found["order"]
    about = " ".join(f"{visible(key)}={visible(value)}" for key, value in order["selector"].items())
    words = [visible(found["id"]), found["state"], f"class {found['needs']}", visible(order["action"]), about]
    return "  ".join([*filter(None, words), f"{visible(order['reason'])}, by {visible(found['by']['id'])}"])


def lines(found: dict[str, Any]) -> list[str]:
    """A proposal for people: what is asked, what it would have done, what it needs."""
    told = [line(found)]
    told += [f"  {visible(why)}" for why in found["why"]]
    seen = found["prediction"]
    if seen is None:
        told.append("  no recorded calls that it could be tried on")
    else:
        told.append(
            f"  of {seen['requests']} calls since {seen['since']} it stops {seen['flipped']}"
            f" ({seen['share']:.1%}): {seen['users']} people, {seen['sessions']} sessions,"
            f" {len(seen['tenants'])} tenants; {seen['of_incident']} belong to the incident"
        )
        tools = ", ".join(f"{visible(tool)} {count}" for tool, count in seen["tools"])
        told += [f"  tools: {tools}"] if tools else []
        if seen["unknown"]:
            told.append(f"  of {seen['unknown']} calls ({seen['unknown_share']:.1%}) nobody can say")
    if found.get("actual"):
        told.append(f"  since {found['actual']['since']} it has stopped {found['actual']['hits']} calls")
    told.append(f"  needs {found['people']} people, has {_people(found) or 'nobody'}")
    return told


def _people(found: dict[str, Any]) -> str:
    return ", ".join(visible(one["person"]) for one in found["approvals"] if one["valid"])
