"""`airlock verify`: does a call still go its whole way, is it quick enough, are the doors shut?

The scripts `e2e-test.sh`, `performance-test.sh` and `security-test.sh` run these. Settings come from the
environment: see docs/checks.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.core.errors import ConfigError
from airlock.core.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.cli.checks.board import Check
    from airlock.cli.checks.site import Settings
    from airlock.cli.checks.steps import Subject
    from airlock.incident.verification import Name

UNUSABLE = 2

app = typer.Typer(help="Checks of a running gateway from outside, safe on production.", no_args_is_help=True)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Configuration of the gateway; else AIRLOCK_CONFIG.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
Incident = Annotated[
    str, typer.Option("--incident", help="Incident whose timeline notes the result.", show_default=False)
]


@app.callback()
def verify() -> None:
    """Checks of a running gateway from outside, safe on production."""


@app.command()
def e2e(*, incident: Incident = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The whole way of a call: ready, listed, answered, refused where it must be, redacted, recorded.

    Needs AIRLOCK_URL, TEST_TOKEN and ADMIN_TOKEN in the environment. Exit code 0: every check was true; 1:
    one was not, and is named; 2: could not run; 3: none was false, but something could not be tried.
    """
    from airlock.cli.checks import e2e

    _run("e2e", e2e.check, config, admin=True, incident=incident, as_json=as_json)


@app.command()
def performance(*, incident: Incident = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Calls at a steady rate, each measured from the moment it was due: RATE, DURATION_S, P95_MS.

    Needs AIRLOCK_URL and TEST_TOKEN in the environment. Exit code 0: fast enough; 1: not, by the named check;
    2: could not run.
    """
    from airlock.cli.checks import performance

    _run("performance", performance.check, config, admin=False, incident=incident, as_json=as_json)


@app.command()
def security(*, incident: Incident = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Doors that must be shut: routes, tokens, hosts, origins, forbidden tools, redaction, the log.

    Needs AIRLOCK_URL, TEST_TOKEN and ADMIN_TOKEN in the environment. Exit code 0: every check was true; 1:
    one was not, and is named; 2: could not run; 3: none was false, but something could not be tried.
    """
    from airlock.cli.checks import security

    _run("security", security.check, config, admin=True, incident=incident, as_json=as_json)


def _run(
    kind: Name,
    check: Callable[[Subject], None],
    config: Path | None,
    *,
    admin: bool,
    incident: str,
    as_json: bool,
) -> None:
    from airlock.cli.checks import site, steps
    from airlock.cli.checks.board import Board
    from airlock.core.settings import environment

    def tell(seen: Check | str) -> None:
        if not as_json:
            _show(kind, seen)

    board = Board(tell)
    try:
        settings = site.settings(environment(), config, admin=admin)
        check(steps.subject(settings, kind, board))
    except ConfigError as error:
        typer.echo(f"airlock verify {kind}: {visible(error.what)}", err=True)
        raise typer.Exit(UNUSABLE) from error
    told = msgspec.json.encode({"exit": board.exit, "checks": board.checks, "notes": board.notes})
    if as_json:
        typer.echo(harmless(told))
    if incident:
        _note(incident, kind, board.exit, told, settings)
    raise typer.Exit(board.exit)


def _note(incident: str, kind: Name, code: int, told: bytes, settings: Settings) -> None:
    """Write the result into the record of an incident."""
    from airlock.app import verifying
    from airlock.cli.incident.asking import Asking
    from airlock.cli.incident.verifying import report

    report(Asking(settings.config, settings.admin_token), incident, verifying.read(kind, code, told))


def _show(kind: str, seen: Check | str) -> None:
    if isinstance(seen, str):
        typer.echo(seen)
    elif seen.result == "untried":
        why = visible(seen.observed)
        typer.echo(f"airlock verify {kind}: could not run {seen.check}: {why}", err=True)
    else:
        word = "ok  " if seen.result == "ok" else "FAIL"
        typer.echo(f"{word} {seen.check}: {visible(seen.observed)}")
