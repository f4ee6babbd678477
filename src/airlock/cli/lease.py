"""`airlock lease`: what is contained, until when, by whom and why; and taking it back."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import AsJson, ConfigFile, Containing, Token, lasting

app = typer.Typer(help="Containment leases: what is contained, and until when.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of the lease.")]


@app.callback()
def lease() -> None:
    """Containment leases: what is contained, and until when."""


@app.command("list")
def list_leases(
    *,
    ended: Annotated[bool, typer.Option("--ended", help="Those that ended too.")] = False,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Every lease in force, the oldest first. Exit code 0: listed; 2: could not run."""
    asking = Containing("lease", config, token)
    document = asking.ask("GET", "/api/v1/leases" + ("?state=all" if ended else "")).document
    if as_json:
        asking.print_json(document)
        return
    typer.echo("\n".join(map(line, document["leases"])) or "nothing is contained")


@app.command()
def show(id: Id, *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One lease, in force or ended. Exit code 0: shown; 1: there is none of this id; 2: could not run."""
    asking = Containing("lease", config, token)
    document = asking.ask("GET", f"/api/v1/leases/{quote(id, safe='')}").document
    if as_json:
        asking.print_json(document)
        return
    found = document["lease"]
    told = {key: value for key, value in found.items() if key != "selector" and value not in (None, "")}
    for key, value in {**told, **found["selector"]}.items():
        typer.echo(f"{key}: {visible(value)}")


@app.command()
def release(
    id: Id,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """End a lease before its time. What other leases demand still holds.

    Exit code 0: released; 1: refused; 2: could not run; 3: released, but not every worker has confirmed it.
    """
    asking = Containing("lease", config, token)
    answer = asking.ask("DELETE", f"/api/v1/leases/{quote(id, safe='')}", {"reason": reason})
    asking.finish(answer, as_json, lambda document: [f"released: {line(document['lease'])}"])


@app.command()
def extend(
    id: Id,
    *,
    ttl: Annotated[str, typer.Option(help="How long it is to last from now on, `30m 1h`.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a lease last longer, up to the longest of its action.

    Exit code 0: extended; 1: refused; 2: could not run; 3: extended, but not every worker has confirmed it.
    """
    asking = Containing("lease", config, token)
    order = {"ttl": ttl, "reason": reason}
    answer = asking.ask("POST", f"/api/v1/leases/{quote(id, safe='')}/extend", order)
    asking.finish(answer, as_json, lambda document: [f"extended: {line(document['lease'])}"])


@app.command()
def explain(
    scope: Annotated[
        str, typer.Argument(help="What is asked about, `tenant=acme,subject=bob,server=docs,tool=read`.")
    ] = "",
    *,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What leases demand of a scope, and which of them decide that.

    Exit code 0: shown; 1: that is no scope; 2: could not run.
    """
    asking = Containing("lease", config, token)
    document = asking.ask("GET", f"/api/v1/leases/effective?scope={quote(scope, safe='')}").document
    if as_json:
        asking.print_json(document)
        return
    for setting in document["settings"]:
        by = ", ".join(map(visible, setting["decided_by"]))
        typer.echo(f"{visible(setting['setting'])}: {visible(setting['value'])}  (lease {by})")
    if not document["settings"]:
        typer.echo("no lease is about that")


def line(found: dict[str, Any]) -> str:
    """One lease in one line."""
    about = " ".join(f"{key}={visible(value)}" for key, value in found["selector"].items())
    when = lasting(found) if found["state"] == "active" else f"{found['state']} {visible(found['ended_at'])}"
    why = f"{visible(found['reason'])}, by {visible(found['actor'])}"
    return f"{visible(found['id'])}  {visible(found['action'])}  {about}  {when}  {why}"
