"""`airlock rule`: the detection rules, how each is set, and setting it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Containing, Token
from airlock.cli.rule_backtest import backtest, export

app = typer.Typer(help="Detection rules: what they look for, and how they are set.", no_args_is_help=True)


@app.callback()
def rule() -> None:
    """Detection rules: what they look for, and how they are set."""


@app.command("list")
def list_rules(*, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every rule, as it is set everywhere. Exit code 0: listed; 1: refused; 2: could not run."""
    asking = Containing("rule", config, token)
    document = asking.ask("GET", "/api/v1/rules").document
    if as_json:
        asking.print_json(document)
        return
    typer.echo("\n".join(map(line, document["rules"])))


@app.command()
def mode(
    id: Annotated[str, typer.Argument(help="Id of the rule, such as MCP-002.")],
    word: Annotated[str, typer.Argument(help="active, monitor or inactive; `default` for as it ships.")],
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    tenant: Annotated[str, typer.Option(help="Only for this tenant.")] = "",
    threshold: Annotated[
        list[str] | None, typer.Option(help="Another threshold, NAME=NUMBER; may be given several times.")
    ] = None,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Set what a rule may do: `active` acts, `monitor` only tells, `inactive` is not asked.

    Exit code 0: set; 1: refused; 2: could not run.
    """
    asking = Containing("rule", config, token)
    body: dict[str, Any] = {"mode": "" if word == "default" else word, "tenant": tenant, "reason": reason}
    if threshold:
        body["thresholds"] = _thresholds(asking, threshold)
    document = asking.ask("PATCH", f"/api/v1/rules/{quote(id, safe='')}", body).document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo(line(document["rule"]))


app.command("backtest")(backtest)
app.command("export")(export)


def line(found: dict[str, Any]) -> str:
    """A rule in one line."""
    thresholds = " ".join(f"{name}={value:g}" for name, value in found["thresholds"].items())
    words = [found["id"], found["severity"], found["tier"], found["mode"], visible(found["title"])]
    own = [f"{visible(name)}: {each.get('mode') or 'thresholds'}" for name, each in found["tenants"].items()]
    proven = f"proven {found['last_proven'] or 'never'}"
    return "  ".join([*words, *filter(None, [thresholds]), proven, *own])


def _thresholds(asking: Containing, pairs: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError as wrong:
            raise asking.stop(f"{visible(pair)} is not NAME=NUMBER", UNUSABLE) from wrong
    return found
