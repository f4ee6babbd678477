"""`airlock incident clocks`: what has to have happened until when, and duties to notify."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from airlock.audit.visible import visible
from airlock.cli.containment import AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, Document, Id, Of


class Listing(TyperGroup):
    """`clocks ID` is `clocks list ID`."""

    usual: ClassVar[str] = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Anything that is no verb of ours is an id."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [self.usual, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Clocks of an incident, and duties to notify.", cls=Listing)

At = Annotated[str, typer.Option(help="When, `2026-11-28T21:07:00Z`. Default: now.")]
Law = Annotated[str, typer.Argument(help="Such as `gdpr`.")]


@app.callback()
def clocks() -> None:
    """Clocks of an incident, and duties to notify. `clocks ID` lists them."""


@app.command("list")
def list_clocks(
    id: Id = "", *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """List every clock with its due time. Exit code 0: listed; 1: there is no such incident; 2: could not
    run."""
    asking = Asking(config, token)
    document = asking.of(asking.id(id), "clocks")
    asking.tell(document, as_json, lambda told: [clock_line(clock) for clock in told["clocks"]])


@app.command("start")
def start_clock(
    law: Law,
    *,
    trigger: Annotated[str, typer.Option(help="`awareness`, `classification` or `materiality`.")] = "",
    at: At = "",
    waived: Annotated[str, typer.Option("--not-applicable", help="Why it does not apply.")] = "",
    incident: Of = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Start a duty to notify, or say why it does not apply. Exit code 0: done; 1: refused; 2: could not
    run."""
    asking = Asking(config, token)
    order = {"id": law, "trigger": trigger, "at": at, "not_applicable": waived}
    asking.change(asking.id(incident), "clocks", order, as_json, _duties)


@app.command("met")
def met_clock(
    law: Law,
    stage: Annotated[str, typer.Argument(help="Name of the stage that was done.")],
    *,
    at: At = "",
    incident: Of = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say that a stage of such a duty was done. Exit code 0: done; 1: refused; 2: could not run."""
    asking = Asking(config, token)
    order = {"id": law, "stage": stage, "at": at}
    asking.change(asking.id(incident), "clocks/met", order, as_json, _duties)


def clock_line(clock: Document) -> str:
    """A clock on one line."""
    due = f"due {clock['due_at']}" if clock["due_at"] else "without a limit"
    note = f"  {visible(clock['note'])}" if clock.get("note") else ""
    return f"clock {visible(clock['name'])}: {clock['state']}, {due}{note}"


def _duties(document: Document) -> list[str]:
    duties: list[dict[str, Any]] = document["incident"]["regulatory"]
    return [
        f"{visible(duty['id'])}: "
        + (f"does not apply: {visible(duty['not_applicable'])}" if duty["not_applicable"] else "runs")
        for duty in duties
    ]
