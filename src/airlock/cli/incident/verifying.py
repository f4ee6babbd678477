"""`airlock incident verify`: check the gateway from outside, and write what was found into the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, Id, path
from airlock.core.settings import environment

if TYPE_CHECKING:
    from airlock.incident.verification import Name, Ran

WORST = (1, 2, 3)
"""Exit codes of checks that are not green, the worst first."""


def verify(
    id: Id = "",
    *,
    only: Annotated[
        list[str] | None,
        typer.Option("--check", help="One of live, ready, metrics, e2e, performance, security; repeatable."),
    ] = None,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Run the checks that have to be green before an incident is resolved, and note each on its timeline.

    Variables are those of `airlock verify`; what is not set is taken from the configuration, and tokens from
    the local issuer where there is one. Exit code 0: all green; 1: one is not, or there is no such incident;
    2: one could not run; 3: something could not be tried.
    """
    from airlock.app import verifying
    from airlock.cli.api import stored_token
    from airlock.incident.verification import CHECKS

    asking = Asking(config, token)
    which = asking.id(id)
    asking.of(which)
    if unknown := sorted(set(only or ()) - set(CHECKS)):
        raise asking.stop(f"there is no check {visible(unknown[0])}: {', '.join(CHECKS)}", UNUSABLE)
    left_out = set(CHECKS) - set(only or CHECKS)
    names: list[Name] = [name for name in CHECKS if name not in left_out]
    settings, environ = asking.settings, environment()
    around = verifying.surroundings(
        settings, environ, admin=token or stored_token(settings, environ), file=config
    )
    ran: list[Ran] = []
    for name in names:
        found = verifying.run(name, settings, around, config)
        ran.append(found)
        report(asking, which, found)
        if not as_json:
            typer.echo("\n".join(lines(found)))
    if as_json:
        asking.print_json({"incident": which, "runs": [{**built(run), "passed": run.passed} for run in ran]})
    codes = {run.exit if run.exit else int(not run.passed) for run in ran}
    raise typer.Exit(next((code for code in WORST if code in codes), 0))


def report(asking: Asking, id: str, found: Ran) -> None:
    """Write what a check found into the record of an incident. Ends the program where that is refused."""
    asking.ask("POST", path(id, "verify"), {"runs": [built(found)]})


def lines(found: Ran) -> list[str]:
    """A check for people: its name, and each part of it that was not as it should be."""
    word = "ok  " if found.passed else "FAIL"
    wrong = [each for each in found.seen if each.result != "ok"]
    told = [f"     {visible(each.check)} {each.result}: {visible(each.observed)}" for each in wrong]
    return [f"{word} {found.check}: {len(found.seen) - len(wrong)} of {len(found.seen)} are true", *told]


def built(found: Ran) -> dict[str, Any]:
    """As JSON has it."""
    return msgspec.to_builtins(found)
