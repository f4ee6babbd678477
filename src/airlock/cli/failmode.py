"""`airlock failmode`: letting read-only calls pass while policy answers nothing, which takes two people."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import REFUSED, WAITS, AsJson, ConfigFile, Containing, Token
from airlock.cli.proposal import lines

app = typer.Typer(help="What happens to calls while policy answers nothing.", no_args_is_help=True)


@app.callback()
def failmode() -> None:
    """Calls are refused while policy answers nothing, unless two people say otherwise."""


@app.command("set")
def set_mode(
    mode: Annotated[Literal["open", "closed"], typer.Argument(help="open or closed.")],
    *,
    tools: Annotated[str, typer.Option(help="Which tools: `read-only`, and never others.")] = "read-only",
    ttl: Annotated[str, typer.Option(help="How long, 15m at most.")] = "15m",
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    incident: Annotated[str, typer.Option(help="The open incident of P0 or P1 that needs it.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask to fail open, or fail closed again at once.

    `open` makes a proposal: two people with a fresh sign-in approve it (`airlock approve`). Every call that
    passes is judged again afterwards, and the incident cannot be resolved before.

    Exit code 0: fails closed; 1: refused; 2: could not run; 4: it waits for two approvals.
    """
    asking = Containing("failmode", config, token)
    if mode == "closed":
        _close(asking, reason, as_json=as_json)
        return
    order = {
        "action": "failmode.open",
        "selector": {"tools": tools},
        "ttl": ttl,
        "reason": reason or "policy answers nothing",
        "incident": incident,
    }
    document = asking.ask("POST", "/api/v1/proposals", order).document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo("\n".join(lines(document["proposal"])))
        typer.echo(f"two people: airlock approve {visible(document['proposal']['id'])}")
    raise typer.Exit(WAITS)


@app.command()
def show(*, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what is in force and what was. Exit code 0: everything fails closed; 1: read-only calls fail open;
    2: could not run."""
    asking = Containing("failmode", config, token)
    document = asking.ask("GET", "/api/v1/grants").document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo("\n".join(map(_line, document["grants"])) or "nothing fails open, and nothing ever did")
    if any(grant["in_force"] for grant in document["grants"]):
        raise typer.Exit(REFUSED)


def _close(asking: Containing, reason: str, *, as_json: bool) -> None:
    held = [each for each in asking.ask("GET", "/api/v1/grants").document["grants"] if each["in_force"]]
    ended = [
        asking.ask("POST", f"/api/v1/grants/{quote(each['id'], safe='')}/end", {"reason": reason}).document
        for each in held
    ]
    if as_json:
        asking.print_json({"ended": [each["grant"] for each in ended]})
    else:
        typer.echo("\n".join(_line(each["grant"]) for each in ended) or "nothing failed open")


def _line(grant: dict[str, Any]) -> str:
    state = f"in force until {grant['expires_at']}" if grant["in_force"] else "over"
    people = " and ".join(visible(each) for each in grant["people"])
    words = [visible(grant["id"]), f"{grant['scope']} {grant['tools']}", state, visible(grant["incident"])]
    return "  ".join(words) + f", by {people}"
