"""`airlock contain`: tighten something now, for a while."""

from __future__ import annotations

from typing import Annotated

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Containing, Incident, Token
from airlock.cli.lease import line
from airlock.model.lease import RULES


def contain(
    action: Annotated[str, typer.Argument(help=f"What to do: {', '.join(f'`{word}`' for word in RULES)}.")],
    *,
    selector: Annotated[
        list[str], typer.Option(help="Whom or what it is about, `KEY=VALUE`; may be repeated.")
    ],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    ttl: Annotated[str, typer.Option(help="How long, `30m 1h`. Default: the usual of the action.")] = "",
    incident: Incident = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Contain a subject, token, session, tool, server, tenant, address or rate, in every worker.

    Calls that run are cut and streams are closed. `airlock lease release` takes it back, except for tokens
    and sessions, which are ended for good.

    Exit code 0: in force; 1: refused, and nothing is contained; 2: could not run; 3: in force, but not every
    worker has confirmed it.
    """
    asking = Containing("contain", config, token)
    pairs: dict[str, str] = {}
    for text in selector:
        key, equals, value = text.partition("=")
        if not equals or key in pairs:
            raise asking.stop(f"--selector {visible(text)}: write KEY=VALUE, each key once", UNUSABLE)
        pairs[key] = value
    order = {"action": action, "selector": pairs, "ttl": ttl, "reason": reason, "incident": incident}
    answer = asking.ask("POST", "/api/v1/leases", order)
    asking.finish(answer, as_json, lambda document: [f"contained: {line(document['lease'])}"])
