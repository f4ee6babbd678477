"""A worker dies in the middle of its calls: callers, server and log are held against each other."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from typing import Any

import httpx2

from airlock.cli.demo import agent
from airlock.cli.demo.evidence import PATIENCE, Entry, eventually, eventually_true
from airlock.cli.demo.site import WORKERS
from airlock.cli.demo.stage import Stage

CALLERS = 8
BEFORE, AFTER = 24, 48
"""Acknowledged calls before the worker is killed, and in all."""

LATER = 0.05
"""Seconds between two orders of a caller once the worker is dead: its successor needs the processor, too."""


class Traffic:
    """Callers that order until they are told to stop, and what they were told."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._number = 0
        self.enough = False
        self.pause = 0.0
        self.acknowledged: list[str] = []
        self.cut: list[str] = []
        """Orders that got no answer: nobody promised anything."""

    async def call(self) -> None:
        """One caller."""
        async with agent.http(self._stage.omar) as carrier:
            while not self.enough:
                self._number += 1
                await self._order(carrier, f"order-{self._number:04}")
                await asyncio.sleep(self.pause)

    async def _order(self, carrier: httpx2.AsyncClient, order: str) -> None:
        body = agent.message("catalogue__reserve", item="lamp", order=order)
        try:
            answer = await agent.by_hand(carrier, self._stage.site.url, body)
        except httpx2.TransportError:
            self.cut.append(order)
            return
        if agent.served(answer):
            self.acknowledged.append(order)

    async def acknowledges(self, least: int) -> int:
        """Wait for that many acknowledged orders; how many there are."""
        return await eventually(
            lambda: (len(self.acknowledged) >= least, len(self.acknowledged)), within=2 * PATIENCE
        )


async def killed(stage: Stage) -> None:
    """A worker dies in the middle of its calls; nothing that was acknowledged is lost."""
    before = stage.site.workers()
    traffic = Traffic(stage)
    async with asyncio.TaskGroup() as group:
        try:
            for _ in range(CALLERS):
                group.create_task(traffic.call())
            await traffic.acknowledges(BEFORE)
            os.kill(before[0], signal.SIGKILL)
            traffic.pause = LATER
            back = await _back(stage, gone=before[0])
            await traffic.acknowledges(max(AFTER, len(traffic.acknowledged) + BEFORE))
        finally:
            traffic.enough = True
    done, cut = len(traffic.acknowledged), len(traffic.cut)
    stage.tell("omar", f"{CALLERS} callers at once: catalogue__reserve, one order after the other")
    stage.tell("kill -9", f"worker {before[0]}")
    stage.tell("supervisor", f"starts worker {' and '.join(str(pid) for pid in back if pid not in before)}")
    stage.tell("omar", f"{done} orders acknowledged, {cut} cut off without an answer")
    stage.check(
        "two workers serve again, one of them new", expected=(WORKERS, 1), seen=_renewed(before, back)
    )
    await _accounted(stage, traffic)


async def _accounted(stage: Stage, traffic: Traffic) -> None:
    """Hold callers, server and log against each other."""
    acknowledged = {_digest(order) for order in traffic.acknowledged}
    arrived = {_digest(order) for order in _orders(stage)}

    def settled(entries: list[Entry]) -> bool:
        return not _open(entries) and acknowledged <= _kept(entries)

    entries = await stage.evidence.recorded("mcp://catalogue/reserve", until=settled)
    intents = {entry.digest for entry in entries if entry.phase == "intent"}
    outcomes = [entry.call for entry in entries if entry.phase == "outcome"]
    kept = _kept(entries)
    told = f"{len(intents)} intents, {len(kept)} allowed outcomes, {len(outcomes) - len(kept)} unknown ones"
    stage.tell("log", told)
    stage.check(
        f"each of the {len(acknowledged)} acknowledged orders has its row",
        expected=0,
        seen=len(acknowledged - kept),
    )
    stage.check(
        f"each of the {len(arrived)} orders that reached the server was recorded before",
        expected=0,
        seen=len(arrived - intents),
    )
    stage.check(
        "every intent has one outcome, even if it is that nobody knows",
        expected=(set[str](), len(outcomes)),
        seen=(_open(entries), len(set(outcomes))),
    )


def _open(entries: list[Entry]) -> set[str]:
    """Calls that were begun and have no outcome."""
    by_phase = {
        phase: {entry.call for entry in entries if entry.phase == phase} for phase in ("intent", "outcome")
    }
    return by_phase["intent"] - by_phase["outcome"]


def _kept(entries: list[Entry]) -> set[str]:
    """Arguments of the calls that are recorded as answered."""
    return {entry.digest for entry in entries if entry.phase == "outcome" and entry.decision == "allow"}


async def _back(stage: Stage, *, gone: int) -> list[int]:
    """The workers once the supervisor says that all of them run the policy; or as they are at last."""

    async def look() -> tuple[bool, list[int]]:
        pids = stage.site.workers()
        complete = len(pids) == WORKERS and gone not in pids
        return complete and await _all_active(stage), pids

    return await eventually_true(look, within=2 * PATIENCE)


async def _all_active(stage: Stage) -> bool:
    async with agent.http(stage.admin) as carrier:
        try:
            answer = await carrier.get(f"{stage.site.url}/admin/policy/status")
        except httpx2.TransportError:
            return False
    replicas: list[Any] = agent.read(answer).get("replicas", [])
    return len(replicas) == WORKERS and all(replicas)


def _renewed(before: list[int], after: list[int]) -> tuple[int, int]:
    return len(after), len(set(after) - set(before))


def _orders(stage: Stage) -> list[str]:
    return [call["arguments"]["order"] for call in stage.evidence.received() if call["name"] == "reserve"]


def _digest(order: str) -> str:
    """SHA-256 of the arguments in their canonical form: how the log names them without storing them."""
    canonical = json.dumps({"item": "lamp", "order": order}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
