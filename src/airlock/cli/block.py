"""`airlock block`: addresses that nobody may come from. Blocks are leases, one for each network."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import REFUSED, AsJson, ConfigFile, Containing, Incident, Token, lasting
from airlock.model.network import network, normalised

app = typer.Typer(help="Addresses that nobody may come from.", no_args_is_help=True)


@app.callback()
def block() -> None:
    """Addresses that nobody may come from."""


@app.command()
def add(
    addresses: Annotated[list[str], typer.Argument(help="Addresses, or networks such as 203.0.113.0/24.")],
    *,
    ttl: Annotated[str, typer.Option(help="How long, `30m 1h`; 24h at most.")] = "1h",
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    incident: Incident = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Refuse every request from these addresses and cut what they have open, in every worker.

    Exit code 0: in force; 1: refused, and nothing is blocked; 2: could not run; 3: in force, but not every
    worker has confirmed it.
    """
    asking = Containing("block", config, token)
    order = {"ip_addresses": addresses, "duration": ttl, "reason": reason, "incident": incident}
    answer = asking.ask("POST", "/admin/security/block", order)
    asking.finish(answer, as_json, _added)


@app.command("list")
def list_blocks(*, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every block in force. Exit code 0: listed; 2: could not run."""
    asking = Containing("block", config, token)
    document = asking.ask("GET", "/admin/security/blocks").document
    if as_json:
        asking.print_json(document)
        return
    typer.echo("\n".join(map(_line, document["blocks"])) or "nothing is blocked")


@app.command()
def remove(
    which: Annotated[str, typer.Argument(help="Id of the block, or the network that it is about.")],
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Release a block. What other blocks cover stays blocked, and is told.

    Exit code 0: released; 1: there is no such block; 2: could not run; 3: released, but not every worker
    has confirmed it.
    """
    asking = Containing("block", config, token)
    blocks = asking.ask("GET", "/admin/security/blocks").document["blocks"]
    cidr = _network(which)
    meant = next((found for found in blocks if found["id"] == which or found["cidr"] == cidr), None)
    if meant is None:
        raise asking.stop(
            f"nothing blocks {visible(which)}; `airlock block list` shows what is blocked", REFUSED
        )
    answer = asking.ask("DELETE", f"/admin/security/blocks/{quote(meant['id'], safe='')}", {"reason": reason})
    left = [found for found in blocks if found["id"] != meant["id"] and _covers(found["cidr"], meant["cidr"])]
    for found in left:
        typer.echo(f"{visible(meant['cidr'])} is still blocked: {_line(found)}", err=True)
    asking.finish(answer, as_json, lambda _: [f"{visible(meant['cidr'])} is released"])


def _added(document: dict[str, Any]) -> list[str]:
    return [
        f"{visible(found['cidr'])} is blocked {lasting(found)} (block {visible(found['id'])})"
        for found in document["blocks"]
    ]


def _line(found: dict[str, Any]) -> str:
    why = f"{visible(found['reason'])}, by {visible(found['actor'])}"
    return f"{visible(found['id'])}  {visible(found['cidr'])}  {lasting(found)}  {why}"


def _network(text: str) -> str:
    """The spelling of a network that blocks have; what is no network is an id."""
    try:
        return normalised(text)
    except ValueError:
        return ""


def _covers(one: str, other: str) -> bool:
    wide, narrow = network(one), network(other)
    return wide.version == narrow.version and wide.overlaps(narrow)
