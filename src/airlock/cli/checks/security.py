"""Doors that have to be shut, tried from outside. Changes nothing: what is tried is refused, or it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlock.cli.checks import answers, made, steps
from airlock.cli.checks.board import Untold, Wrong
from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airlock.cli.checks.answers import Door
    from airlock.cli.checks.steps import Subject

PATIENCE = 600.0
"""Seconds for verifying the whole log."""

LIMITED = 429
NOBODY = "airlock-check.invalid"


def check(of: Subject) -> None:
    """One list is answered, so that refusals after it are about what was changed."""
    if not steps.tools_list(of):
        return
    routes(of)
    _token(of, "wrong_audience", _foreign)
    _token(of, "expired", _expired)
    _token(of, "alg_none", lambda of: made.unsigned(of.settings.token))
    _refusal(of, "bad_host", 421, fields={"Host": NOBODY})
    _refusal(of, "bad_origin", 403, fields={"Origin": f"https://{NOBODY}"})
    _refusal(of, "duplicate_key", 400, message=made.DUPLICATE)
    steps.forbidden_tool(of)
    steps.canaries(of)
    steps.audit_verify(of, chain=None, patience=PATIENCE)


def routes(of: Subject) -> None:
    """Every route that the process itself names, without credentials."""
    said = of.site.ask("GET", "/admin/routes", token=of.settings.admin_token)
    try:
        doors = answers.routes(said)
    except Wrong as wrong:
        of.board.untried("routes", f"ADMIN_TOKEN does not get the list of routes: {wrong}")
        return
    if not doors:
        of.board.failed("routes", "the process names no route")
        return
    shut = sum(_door(of, door) for door in doors)
    if shut == len(doors):
        of.board.passed("routes", f"{shut} are shut or public by declaration")


def _door(of: Subject, door: Door) -> bool:
    """Whether a door is as it is declared: public, or shut without a credential."""
    said = of.site.ask(door.method, door.path, body=made.LIST if door.method == "POST" else None)
    place = f"{door.method} {door.path}"
    if said.status == LIMITED:
        of.board.untried("routes", f"{place}: too many failures from this address: {said.seen}")
    elif door.auth == "none":
        if 100 <= said.status < 500:
            return True
        of.board.failed("routes", f"{place}: {said.seen}")
    elif said.status == 401:
        return True
    else:
        of.board.failed("routes", f"{place} without credentials: {said.seen}")
    return False


def _token(of: Subject, check: str, make: Callable[[Subject], str]) -> None:
    """A token that was given, or one that is made here, is refused."""
    try:
        token = make(of)
    except (Untold, ConfigError) as untold:
        of.board.untried(check, str(untold))
        return
    _refusal(of, check, 401, token=token)


def _foreign(of: Subject) -> str:
    given = of.settings.foreign_token
    return given or made.minted(of.settings.whole, of.settings.token, audience="airlock-check")


def _expired(of: Subject) -> str:
    return of.settings.expired_token or made.minted(of.settings.whole, of.settings.token, expired=True)


def _refusal(
    of: Subject,
    check: str,
    wanted: int,
    *,
    token: str = "",
    message: str = made.LIST,
    fields: Mapping[str, str] | None = None,
) -> None:
    """The message is answered with that status."""
    said = of.site.say(token or of.settings.token, message, fields=fields)
    if said.status == wanted:
        of.board.passed(check, f"HTTP {said.status}")
    elif said.status == LIMITED:
        of.board.untried(check, said.seen)
    else:
        of.board.failed(check, said.seen)
