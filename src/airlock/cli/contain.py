"""`airlock contain`: tighten something now, for a while."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, WAITS, AsJson, ConfigFile, Containing, Incident, Token
from airlock.cli.lease import line
from airlock.cli.proposal import lines
from airlock.model.lease import RULES


def contain(
    action: Annotated[str, typer.Argument(help=f"What to do: {', '.join(f'`{word}`' for word in RULES)}.")],
    *,
    selector: Annotated[
        list[str] | None, typer.Option(help="Whom or what it is about, `KEY=VALUE`; may be repeated.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    ttl: Annotated[str, typer.Option(help="How long, `30m 1h`. Default: the usual of the action.")] = "",
    incident: Incident = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Contain nothing: replay the last calls, and keep a proposal."),
    ] = False,
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="Of recorded calls that are replayed.")] = 60,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Contain a subject, token, session, tool, server, tenant, address or rate, in every worker.

    Calls that run are cut and streams are closed. `airlock lease release` takes it back, except for tokens
    and sessions, which are ended for good. `--dry-run` says what it would have done to the last calls;
    `airlock approve` then does exactly that.

    Exit code 0: in force, or tried; 1: refused, and nothing is contained; 2: could not run; 3: in force, but
    not every worker has confirmed it; 4: it waits for somebody to approve it.
    """
    asking = Containing("contain", config, token)
    pairs: dict[str, str] = {}
    for text in selector or ():
        key, equals, value = text.partition("=")
        if not equals or key in pairs:
            raise asking.stop(f"--selector {visible(text)}: write KEY=VALUE, each key once", UNUSABLE)
        pairs[key] = value
    order = {"action": action, "selector": pairs, "ttl": ttl, "reason": reason, "incident": incident}
    if dry_run:
        _propose(asking, {**order, "minutes": minutes}, as_json)
        return
    answer = asking.ask("POST", "/api/v1/leases", order)
    if answer.status == 202:
        _tell(asking, answer.document, as_json)
        raise typer.Exit(WAITS)
    asking.finish(answer, as_json, lambda document: [f"contained: {line(document['lease'])}"])


def _propose(asking: Containing, order: dict[str, Any], as_json: bool) -> None:
    _tell(asking, asking.ask("POST", "/api/v1/proposals", order).document, as_json)


def _tell(asking: Containing, document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        asking.print_json(document)
        return
    proposal = document["proposal"]
    typer.echo("\n".join([*lines(proposal), f"airlock approve {visible(proposal['id'])} carries it out"]))
