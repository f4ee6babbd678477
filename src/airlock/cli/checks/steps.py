"""Checks that both the way of a call and its doors are judged by."""

from __future__ import annotations

from random import SystemRandom
from string import ascii_lowercase
from typing import TYPE_CHECKING

import msgspec

from airlock.cli.checks import answers, made
from airlock.cli.checks.board import Board, Untold, Wrong
from airlock.cli.checks.evidence import Log
from airlock.cli.checks.site import SYNTHETIC, Site
from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airlock.cli.checks.answers import Row
    from airlock.cli.checks.site import Settings

FORBIDDEN = "forbidden"
"""Marks the call that policy has to refuse."""


class Subject(msgspec.Struct, kw_only=True):
    """One run against one gateway: whom to ask, what was learned, where it is noted."""

    site: Site
    log: Log
    board: Board
    run: str
    """Letters that mark what this run does, in arguments and in the User-Agent that the log keeps."""
    names: frozenset[str] = frozenset()
    """Tools that TEST_TOKEN sees."""
    tool: str = ""
    arguments: str = ""

    @property
    def settings(self) -> Settings:
        return self.site.settings


def subject(settings: Settings, kind: str, board: Board) -> Subject:
    """A run of one kind of checks, not begun yet."""
    run = "".join(SystemRandom().choices(ascii_lowercase, k=16))
    site = Site(settings, agent=f"airlock-{kind}-test/{run}")
    return Subject(site=site, log=Log(settings), board=board, run=run)


def tools_list(of: Subject) -> bool:
    """The tools that TEST_TOKEN sees, and which of them echoes. Whether there is one."""
    try:
        listed = answers.tools(of.site.say(of.settings.token, made.LIST))
        of.tool, of.arguments = answers.echo_tool(listed, of.settings.tool, of.settings.arguments)
    except Wrong as wrong:
        of.board.failed("tools_list", str(wrong))
        return False
    of.names = frozenset(tool.name for tool in listed)
    of.board.passed("tools_list", f"{len(listed)} tools, checks call {of.tool}")
    return True


def forbidden_tool(of: Subject) -> None:
    """A tool that policy forbids to TEST_TOKEN is refused, and the log says that policy did it."""
    name, given = _forbidden(of)
    if not name:
        hint = "name a tool in FORBIDDEN_TOOL that policy forbids to TEST_TOKEN, and that does no harm"
        of.board.untried("forbidden_tool", hint)
        return
    said = of.site.say(of.settings.token, made.call(name, given, of.run), mark=FORBIDDEN)
    try:
        of.board.passed("forbidden_tool", f"{name}: {answers.refused(said.body)}")
    except Wrong:
        of.board.failed("forbidden_tool", f"{name} was not refused: {said.seen}")
        return
    row(of, "forbidden_row", FORBIDDEN, answers.denied)


def _forbidden(of: Subject) -> tuple[str, str]:
    """The tool to be refused, and its arguments: one that was named, the gateway's own, or an echo."""
    if of.settings.forbidden_tool:
        return of.settings.forbidden_tool, of.settings.forbidden_arguments or "{}"
    if of.settings.subject == SYNTHETIC:
        return answers.GUARDED, f'{{"text": "{made.MARKER}"}}'
    return _hidden(of), of.settings.forbidden_arguments or of.arguments


def _hidden(of: Subject) -> str:
    """An echo tool that only ADMIN_TOKEN sees; empty: there is none."""
    try:
        listed = answers.tools(of.site.say(of.settings.admin_token, made.LIST))
    except Wrong:
        return ""
    others = (tool.name for tool in listed if tool.name not in of.names)
    return next((name for name in others if name.endswith("__echo")), "")


def row(of: Subject, check: str, mark: str, judge: Callable[[Sequence[Row]], Row]) -> Row | None:
    """The one row of a call of this run; None where it is not as it should be."""
    try:
        found = judge(of.log.rows(f"{of.site.agent} {mark}"))
    except Wrong as wrong:
        of.board.failed(check, str(wrong))
    except Untold as untold:
        of.board.untried(check, str(untold))
    else:
        of.board.passed(check, found.told)
        return found
    return None


def canaries(of: Subject) -> None:
    """A made-up secret for every configured detector goes to the echo tool; none may come back."""
    try:
        planted = made.canaries(of.settings.whole, of.tool, of.arguments)
    except Wrong as wrong:
        of.board.failed("canary", str(wrong))
        return
    except ConfigError as error:
        of.board.untried("canary", str(error))
        return
    clean = 0
    for one in planted:
        said = of.site.say(of.settings.token, one.message)
        try:
            answers.canary(said.body, one.detector, one.secret)
            clean += 1
        except Wrong as wrong:
            of.board.failed("canary", f"{one.detector}: {wrong}")
        except Untold as untold:
            of.board.untried("canary", f"{one.detector}: {untold}: {said.seen}")
    if clean == len(planted):
        of.board.passed("canary", f"{clean} kinds did not come back")


def audit_verify(of: Subject, *, chain: str | None, patience: float) -> None:
    """What `airlock audit verify` says, of one chain over the last minutes or of the whole log."""
    try:
        report = of.log.report(chain=chain, patience=patience)
        of.board.passed("audit_verify", answers.report(report))
    except Wrong as wrong:
        of.board.failed("audit_verify", str(wrong))
    except Untold as untold:
        of.board.untried("audit_verify", str(untold))
