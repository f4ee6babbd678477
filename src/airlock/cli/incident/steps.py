"""The steps of an incident on the command line. A step that is refused says everything that is missing."""

from __future__ import annotations

from typing import Annotated

import typer

from airlock.cli.containment import AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, Id, Reason, state

Given = Annotated[str, typer.Argument(help="Id of the incident.")]


def acknowledge(
    id: Id = "",
    *,
    level: Annotated[str, typer.Option(help="Who answers: L1 to L5.")] = "L1",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say that somebody has seen it. Exit code 0: done; 1: refused; 2: could not run."""
    asking = Asking(config, token)
    asking.change(asking.id(id), "acknowledge", {"level": level}, as_json, state)


def declare(
    id: Id = "",
    *,
    commander: Annotated[str, typer.Option(help="Who commands, where nobody does yet.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Declare it: people work on it from here on. Exit code 0: done; 1: refused; 2: could not run."""
    asking = Asking(config, token)
    asking.change(asking.id(id), "declare", {"commander": commander}, as_json, state)


def identify(
    id: Id = "",
    *,
    hypothesis: Annotated[str, typer.Option(help="What causes it.")] = "",
    evidence: Annotated[
        list[str] | None, typer.Option(help="Id of a row, bundle or file that shows it; may be repeated.")
    ] = None,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what causes it. Exit code 0: done; 1: refused, with what is missing; 2: could not run."""
    asking = Asking(config, token)
    order = {"hypothesis": hypothesis, "evidence": evidence}
    asking.change(asking.id(id), "identify", order, as_json, state)


def mitigate(
    id: Id = "",
    *,
    action: Annotated[str, typer.Option(help="What ended the harm, where no lease did.")] = "",
    recovered: Annotated[bool, typer.Option("--self-recovered", help="It ended by itself.")] = False,
    at: Annotated[str, typer.Option(help="When, `2026-11-28T21:07:00Z`. Default: now.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what ended the harm. Exit code 0: done; 1: refused, with what is missing; 2: could not run."""
    asking = Asking(config, token)
    order = {"action": action, "self_recovered": recovered, "at": at}
    asking.change(asking.id(id), "mitigate", order, as_json, state)


def resolve(
    id: Id = "",
    *,
    cause: Annotated[str, typer.Option(help="Its root cause.")] = "",
    resolution: Annotated[str, typer.Option(help="What resolved it.")] = "",
    watch: Annotated[
        str, typer.Option(help="Watch it so long from now on, `24h`; trouble opens it again.")
    ] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Resolve it: verified, nothing loosened, every lease owned, watched. Exit code 0: done; 1: refused, with
    what is missing; 2: could not run."""
    asking = Asking(config, token)
    order = {"root_cause": cause, "resolution": resolution, "watch": watch}
    asking.change(asking.id(id), "resolve", order, as_json, state)


def reopen(
    id: Given,
    *,
    reason: Reason,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Work on it again; every clock starts anew. Exit code 0: done; 1: refused; 2: could not run."""
    Asking(config, token).change(id, "reopen", {"reason": reason}, as_json, state)


def close(
    id: Given,
    *,
    summary: Annotated[str, typer.Option(help="In a few words.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Close it, once the review is complete. Exit code 0: done; 1: refused, with what is missing; 2: could
    not run."""
    Asking(config, token).change(id, "close", {"summary": summary}, as_json, state)


def cancel(
    id: Given,
    *,
    verdict: Annotated[str, typer.Option(help="Such as `false_positive` or `test`.")],
    reason: Reason = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """End it with a verdict: it was none. Exit code 0: done; 1: refused; 2: could not run."""
    order = {"verdict": verdict, "reason": reason}
    Asking(config, token).change(id, "cancel", order, as_json, state)


def merge(
    id: Given,
    *,
    into: Annotated[str, typer.Option(help="Id of the incident that goes on.")],
    reason: Reason = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Go on in another incident. Exit code 0: done; 1: refused; 2: could not run."""
    Asking(config, token).change(id, "merge", {"into": into, "reason": reason}, as_json, state)


def severity(
    id: Given,
    to: Annotated[str, typer.Argument(help="P0, P1, P2 or P3.", metavar="SEVERITY")],
    *,
    reason: Reason,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Set its severity; only the commander lowers it, never below its floor. Exit code 0: done; 1: refused;
    2: could not run."""
    Asking(config, token).change(id, "severity", {"severity": to, "reason": reason}, as_json, state)


def escalate(
    id: Given,
    *,
    level: Annotated[str, typer.Option(help="Whom to call: L2 to L5.")],
    reason: Reason,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Call the next level. Exit code 0: done; 1: refused; 2: could not run."""
    Asking(config, token).change(id, "escalate", {"level": level, "reason": reason}, as_json, state)


def flag(
    id: Given,
    flags: Annotated[list[str], typer.Argument(help="Such as `breach_confirmed` or `customer_impact`.")],
    *,
    reason: Reason = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Raise flags, which may raise the severity and call people. Exit code 0: done; 1: refused; 2: could not
    run."""
    Asking(config, token).change(id, "flags", {"flags": flags, "reason": reason}, as_json, state)
