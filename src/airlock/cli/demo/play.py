"""Plays the steps in order and sees that nothing is left behind."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

import httpx2
import msgspec
import typer
from mcp import MCPError

from airlock.cli.demo import agent, crash, story, trials
from airlock.cli.demo.evidence import eventually_true
from airlock.cli.demo.site import Site, Unable
from airlock.cli.demo.stage import Stage
from airlock.cli.demo.transcript import Encoded, Line, Printed, Transcript, Unexpected
from airlock.core.clock import SYSTEM

START = 30.0
"""Seconds until the gateway serves."""

UNUSABLE = 2
"""Exit status where the story could not be told."""

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the demo in order."""

Place = TypeVar("Place", bound=Site)
Actors = TypeVar("Actors", bound=Stage)

STEPS: tuple[tuple[str, Callable[[Stage], Awaitable[None]], str], ...] = (
    ("An agent sees only its own tools", story.lists, "A tool list is cut to the caller's role and tenant."),
    ("An allowed call", story.allowed, "What policy allows reaches its server, over HTTP and over stdio."),
    ("A call that policy denies", story.denied, "What policy denies does not happen, and says why."),
    ("Arguments decide, too", story.arguments, "A rule on arguments stops a call before the server."),
    ("One key twice", story.twice, "A message that two parsers could read differently is read by none."),
    ("A tool that changes its description", trials.changed, "A changed definition waits for a person."),
    ("kill -9", crash.killed, "A killed worker loses nothing that was acknowledged."),
    ("A record that was tampered with", trials.tampered, "An edited row is found and named."),
)
"""Title, step, and what it proves."""

FAILURES = (
    Unexpected, MCPError, httpx2.HTTPError, sqlite3.Error, OSError, ExceptionGroup, LookupError, ValueError,
)  # fmt: skip
"""How a step ends that was not true: by its own check, or because it could not even be looked at."""


class Story(msgspec.Struct, Generic[Place, Actors], frozen=True, kw_only=True):
    """What is played: where, with what at hand, and in which steps."""

    site: Callable[[bool], Place]
    """Takes whether the folder is to be kept."""
    stage: Callable[[Place, Transcript], Actors]
    opening: Sequence[Line]
    """What there is beside the gateway."""
    steps: Sequence[tuple[str, Callable[[Actors], Awaitable[None]], str]]
    """Title, step, and what it proves."""


DAY = Story(
    site=lambda keep: Site(keep=keep),
    stage=Stage,
    opening=(
        Line("notes", "an MCP server over stdio, for acme only"),
        Line("catalogue", "an MCP server over HTTP, for every tenant"),
        Line("policy", "roles with patterns of tools, tenants, a limit on discounts"),
    ),
    steps=STEPS,
)
"""`airlock demo`."""


def play(story: Story[Place, Actors], *, as_json: bool, keep: bool) -> int:
    """The exit status. Whatever happens, the processes are ended and the folder is removed."""
    transcript: Transcript = Encoded() if as_json else Printed()
    for number in ENDINGS:
        signal.signal(number, signal.default_int_handler)
    site = story.site(keep)
    try:
        site.open()
        code, proven, not_proven = asyncio.run(_played(story, site, transcript))
    except Unable as unable:
        typer.echo(f"airlock demo: {unable}", err=True)
        return UNUSABLE
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("airlock demo: interrupted", err=True)
        return UNUSABLE
    finally:
        _undisturbed(site.close)
        if keep:
            typer.echo(f"airlock demo: kept {site.folder}", err=True)
    transcript.closes(ok=code == 0, proven=proven, not_proven=not_proven, kept=keep)
    return code


def _undisturbed(close: Callable[[], None]) -> None:
    """Tidy up although somebody presses Ctrl-C again."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    close()


async def _played(
    story: Story[Place, Actors], site: Place, transcript: Transcript
) -> tuple[int, list[str], list[str]]:
    """All steps, up to the first that is not true."""
    await _serving(site)
    stage = story.stage(site, transcript)
    gateway = Line("gateway", f"two workers on {site.url}/mcp, in {site.folder}")
    transcript.opens([gateway, *story.opening])
    proven: list[str] = []
    for number, (title, step, proof) in enumerate(story.steps, 1):
        stage.begins(number, title)
        if not await _true(stage, step, transcript):
            return 1, proven, []
        proven.append(proof)
    return 0, proven, stage.not_proven


async def _true(stage: Actors, step: Callable[[Actors], Awaitable[None]], transcript: Transcript) -> bool:
    """Play one step."""
    began, outcome = SYSTEM.monotonic(), stage.step
    try:
        await step(stage)
        outcome.ok = True
    except FAILURES as failure:
        cause = _innermost(failure)
        if isinstance(cause, Unexpected):
            outcome.failed, outcome.expected, outcome.seen = cause.fact, cause.expected, cause.seen
        else:
            outcome.failed, outcome.expected = "the step could be played to its end", "no error"
            outcome.seen = f"{type(cause).__name__}: {cause}"
    outcome.seconds = round(SYSTEM.monotonic() - began, 2)
    transcript.ends(outcome)
    return outcome.ok


def _innermost(failure: Exception) -> Exception:
    """The first cause in groups of groups."""
    while isinstance(failure, ExceptionGroup):
        failure = cast("ExceptionGroup[Exception]", failure).exceptions[0]
    return failure


async def _serving(site: Site) -> None:
    """Wait until the gateway serves and has read both servers. Raises `Unable` with what it said last."""
    async with agent.http() as carrier:

        async def look() -> tuple[bool, str]:
            gateway = site.gateway
            if gateway is None or gateway.poll() is not None:
                return True, "it ended"
            try:
                ready = await carrier.get(f"{site.url}/ready")
            except httpx2.TransportError as error:
                return False, str(error)
            upstreams = ready.json()["components"]["upstreams"]
            fine = ready.status_code == 200 and upstreams["state"] == "ok"
            return fine, "" if fine else ready.text

        trouble = await eventually_true(look, within=START)
    if trouble:
        said = "\n".join(site.log.read_text(errors="replace").splitlines()[-5:])
        raise Unable(f"the gateway does not serve: {trouble}\n{said}")
