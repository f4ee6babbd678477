"""The way of a call through a running gateway, in less than a minute. Safe on production.

1 it lives, is ready, and so are the servers behind it
2 it lists tools, and a call of one is answered
3 a forbidden tool is refused; what may not leave does not
4 the row of that very call is in the log, and its chain verifies
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlock.cli.checks import answers, made, steps
from airlock.cli.checks.board import Untold, Wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.cli.checks.steps import Subject

PATIENCE = 30.0
"""Seconds for verifying one chain over the last minutes."""

CALL = "call"


def check(of: Subject) -> None:
    """See the module."""
    if not _live(of):  # 1
        return
    _ready(of)
    if not steps.tools_list(of):  # 2
        return
    _call(of)
    steps.forbidden_tool(of)  # 3
    steps.canaries(of)
    found = steps.row(of, "audit_row", CALL, answers.allowed)  # 4
    if found is not None:
        steps.audit_verify(of, chain=found.chain_uid, patience=PATIENCE)


def _live(of: Subject) -> bool:
    said = of.site.ask("GET", "/live")
    alive = said.status == 200 and said.body == b'{"status":"alive"}'
    if alive:
        of.board.passed("live", "alive")
    else:
        of.board.failed("live", said.seen)
    return alive


def _ready(of: Subject) -> None:
    """Whichever worker is asked, the others are asked about too: each meets what is wrong by itself.

    A server that is down leaves the gateway ready; its tools are down all the same.
    """
    said = of.site.ask("GET", "/ready")
    everyone = of.site.ask("GET", "/admin/status", token=of.settings.admin_token)
    _judge(of, "ready", lambda: answers.ready(said, everyone))
    _judge(of, "upstreams", lambda: answers.upstreams(everyone))


def _judge(of: Subject, check: str, judged: Callable[[], str]) -> None:
    try:
        of.board.passed(check, judged())
    except Wrong as wrong:
        of.board.failed(check, str(wrong))
    except Untold as untold:
        of.board.untried(check, str(untold))


def _call(of: Subject) -> None:
    said = of.site.say(of.settings.token, made.call(of.tool, of.arguments, of.run), mark=CALL)
    try:
        answers.echoed(said.body, of.run)
        of.board.passed("call", f"{of.tool} answered")
    except Wrong as wrong:
        of.board.failed("call", f"{of.tool}: {wrong}: {said.seen}")
