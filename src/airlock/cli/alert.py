"""`airlock alert`: what was found, who has seen it, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import AsJson, ConfigFile, Containing, Token

app = typer.Typer(help="Alerts: what was found, and what became of it.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of the alert.")]


@app.callback()
def alert() -> None:
    """Alerts: what was found, and what became of it."""


@app.command("list")
def list_alerts(
    *,
    state: Annotated[
        str, typer.Option(help="A state such as NEW, `waiting` for those that wait for somebody, or `all`.")
    ] = "waiting",
    incident: Annotated[str, typer.Option(help="Only those of an incident, in any state.")] = "",
    rule: Annotated[str, typer.Option(help="Only those of a rule, such as MCP-002.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Alerts, those with the newest findings first. Exit code 0: listed; 1: refused; 2: could not run."""
    asking = Containing("alert", config, token)
    state = "all" if incident and state == "waiting" else state
    chosen = urlencode({"state": state, "incident": incident, "rule": rule})
    document = asking.ask("GET", f"/api/v1/alerts?{chosen}").document
    if as_json:
        asking.print_json(document)
        return
    typer.echo("\n".join(map(line, document["alerts"])) or "no alerts")


@app.command()
def ack(id: Id, *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Say that somebody has seen it. Exit code 0: done; 1: refused; 2: could not run."""
    _step("ack", id, {}, token, config, as_json=as_json)


@app.command()
def declare(
    id: Id,
    *,
    incident: Annotated[
        str, typer.Option(help="Let it belong to this incident, instead of beginning one.")
    ] = "",
    title: Annotated[str, typer.Option(help="What the incident is to be called; else as the rule.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Begin an incident with it, or attach it to one. Exit code 0: done; 1: refused; 2: could not run."""
    body = {"incident": incident} if incident else {"title": title}
    found = _step("attach" if incident else "declare", id, body, token, config, as_json=as_json)
    if not as_json:
        typer.echo(f"Incident ID: {visible(found['incident'])}")


@app.command()
def dismiss(
    id: Id,
    *,
    verdict: Annotated[
        str,
        typer.Option(help="true_positive, false_positive, benign, test, duplicate or insufficient_data."),
    ],
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say that it is nothing, and why. Exit code 0: done; 1: refused; 2: could not run."""
    _step("dismiss", id, {"verdict": verdict}, token, config, as_json=as_json)


@app.command()
def suppress(
    id: Id,
    *,
    duration: Annotated[str, typer.Option("--for", help="How long: `30m 2h 1d`.")],
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep it quiet for a while; then it is new again. Exit code 0: done; 1: refused; 2: could not run."""
    _step("suppress", id, {"duration": duration}, token, config, as_json=as_json)


def _step(
    step: str, id: str, body: dict[str, str], token: str, config: ConfigFile, *, as_json: bool
) -> dict[str, Any]:
    asking = Containing("alert", config, token)
    document = asking.ask("POST", f"/api/v1/alerts/{quote(id, safe='')}/{step}", body).document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo(line(document["alert"]))
    return document["alert"]


def line(found: dict[str, Any]) -> str:
    """An alert in one line."""
    finding = found["finding"]
    times = f"{found['count']} times" if found["count"] != 1 else "once"
    words = [
        visible(found["id"]),
        finding["severity"],
        visible(finding["rule"]),
        found["state"],
        visible(finding["summary"]),
        f"{times} until {visible(found['last_seen'])}",
    ]
    if found["incident"]:
        words.append(f"incident {visible(found['incident'])}")
    if found["state"] == "SUPPRESSED":
        words.append(f"quiet until {visible(found['suppressed_until'])}")
    return "  ".join(words)
