"""Steps whose work is done elsewhere: evidence that is collected, checks in a process, webhooks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping

from airlock.app.performed import Order, Outcome, Unfinished
from airlock.app.posting import Posting
from airlock.core import units
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import ConfigError, UpstreamFault
from airlock.incident import actions
from airlock.model.evidence import Asked
from airlock.model.incident import IncidentEvent
from airlock.store import bundles, incidents
from airlock.store.database import Store

POLL = 0.25
"""Seconds between two looks at work that somebody else does."""

WINDOW = 7200.0
"""Seconds of log that evidence reaches back, where a step says nothing of them."""

OUTPUT = 16 * 1024
"""Characters of an output that are kept."""


class Outside:
    """Carries such steps out. `config` gives the configuration of the moment."""

    def __init__(self, *, store: Store, config: Callable[[], Config], posting: Posting, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._posting = posting
        self._clock = clock

    async def evidence(self, order: Order) -> Outcome | Unfinished:
        """Ask for a bundle, once, and wait until it is there."""
        bundle = await asyncio.to_thread(self._bundle, order)
        while True:
            found = await asyncio.to_thread(bundles.get, self._store, bundle)
            if found is None:
                return Outcome(ok=False, detail=f"bundle {bundle} is gone")
            if found.problem or found.state == "failed":
                return Outcome(ok=False, detail=found.problem or "it could not be collected")
            if not found.wanted:
                return Outcome(ok=True, output=f"{found.id} is {found.state}, SHA-256 {found.digest}")
            await asyncio.sleep(POLL)

    def _bundle(self, order: Order) -> str:
        for found in bundles.of(self._store, order.incident):
            if found.asked.reason == order.mark:
                return found.id
        window = order.entry.params.get("window")
        seconds = units.duration(actions.text(window)) if window is not None else WINDOW
        asked = Asked(window=seconds, logs=seconds, who=order.actor, role="playbook", reason=order.mark)
        quick = order.action == "evidence.snapshot"
        return bundles.request(self._store, order.incident, asked, quick=quick, now=self._clock.wall()).id

    async def verify(self, order: Order) -> Outcome:
        """The checks of `airlock verify`, in a process of their own that ends with the step."""
        suite = actions.text(order.entry.params["suite"])
        code, output = await _program(await asyncio.to_thread(self._around), "verify", suite)
        if order.run.incident:
            event = self._verified(order, suite, code)
            await asyncio.to_thread(incidents.append, self._store, order.run.incident, [event])
        return Outcome(ok=code == 0, output=output, detail="" if code == 0 else f"it ended with {code}")

    async def webhook(self, order: Order) -> Outcome | Unfinished:
        """Whether a call that was begun arrived, nobody here can know."""
        if not order.fresh:
            return Unfinished("the call may have been made: ask the other side before you repeat it")
        given = order.entry.params
        name = actions.text(given["target"])
        target = next((each for each in self._config().incident.targets if each.name == name), None)
        if target is None or target.kind != "webhook":
            raise ConfigError("incident.targets", f"has no webhook called {name[:64]!r}")
        document = {
            "incident": order.run.incident,
            "playbook": order.run.plan.id,
            "run": order.run.id,
            "step": order.step.id,
            "body": given.get("body", {}),
        }
        try:
            answered = await self._posting.call(target, document, key=order.entry.key)
        except UpstreamFault as failed:
            return Unfinished(f"no answer that counts: {failed.detail or failed.text}")
        ok = 200 <= answered.status < 300
        text = answered.body[:OUTPUT].decode("utf-8", "replace")
        return Outcome(ok=ok, output=text, detail="" if ok else f"it answered {answered.status}")

    def _around(self) -> dict[str, str]:
        from airlock.app.verifying import surroundings
        from airlock.core.settings import environment

        return surroundings(self._config(), environment())

    def _verified(self, order: Order, suite: str, code: int) -> IncidentEvent:
        now = self._clock.wall()
        return IncidentEvent(
            kind="verification_run",
            at=now,
            occurred_at=now,
            actor=order.by,
            summary=f"Verification {suite}: {'green' if code == 0 else 'not green'}",
            details={"check": suite, "passed": code == 0, "exit": code, "run": order.run.id},
            refs=(order.run.id,),
            once=f"verification:{order.run.id}:{order.step.id}:{order.entry.started_at or 0:.6f}",
        )


async def _program(environ: Mapping[str, str], *words: str) -> tuple[int, str]:
    """Exit code and output of a command of this program, in this environment. It ends when whoever waits for
    it does not any more."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "airlock.cli", *words, "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output[:OUTPUT].decode("utf-8", "replace")
