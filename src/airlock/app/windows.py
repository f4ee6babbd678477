"""The loop of the rules that look at a window: what is new in the audit log goes into memory, every rule is
asked, and what it finds is handed on.

Memory follows from the log, so a file that cannot be read is made anew. While there is more to read than a
pass takes, rules wait, a minute at most: they would only see a part of their window.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from airlock.audit.gaps import LiveChain
from airlock.audit.standing import standing
from airlock.core.clock import Clock
from airlock.core.errors import Fault
from airlock.incident.detect import windows
from airlock.incident.detect.catalogue import rules
from airlock.incident.detect.follow import Follower
from airlock.incident.detect.links import Defect
from airlock.incident.detect.memory import Memory
from airlock.model.health import Service
from airlock.model.incident import Finding
from airlock.store import rule_settings
from airlock.store.database import Store

EVERY = 15.0
"""Seconds between two passes."""

PAUSE = 0.1
"""Seconds between two parts of a long past: other loops of the engine come in between."""

MOST = 10_000
"""Rows taken in at a time."""

LATEST = 4 * EVERY
"""Seconds after which rules are asked although there is more to read."""

BEHIND = "the log grows faster than it is read: rules see a part of their windows"

DISK_SHARE, DISK_BYTES = 0.10, 5 << 30
"""A disk is nearly full below both: a tenth of a large disk is no danger, nor is 5 GiB of a small one."""

NOT_RECORDING = "audit failed"
"""How the reason of a gateway begins that cannot record: no row of the log can say it."""

Found = Callable[[Sequence[Finding]], Awaitable[None]]
"""Takes findings: folds them into alerts. Raises `Fault`."""


class Windows:
    """One loop of the engine."""

    def __init__(
        self,
        *,
        data_dir: Path,
        store: Store,
        found: Found,
        service: Callable[[], Service],
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`service` says how the gateway stands; it may block for seconds."""
        self._data_dir = data_dir
        self._service = service
        self._store = store
        self._found = found
        self._clock = clock
        self._log = log
        self._durable: dict[str, int] = {}
        self._news = windows.News()
        self._asked_at: float | None = None
        """When the rules were last asked over all that there was, or would not wait any more."""
        self.trouble = ""
        """What is wrong, while it is tried again; empty: nothing."""

    async def run(self) -> None:
        """Work until cancelled."""
        memory = await asyncio.to_thread(opened, self._data_dir / "detection.db")
        try:
            follower = Follower(self._data_dir / "audit.db", memory)
            while True:
                done = await self.once(memory, follower)
                await asyncio.sleep(EVERY if done else PAUSE)
        finally:
            memory.close()

    async def once(self, memory: Memory, follower: Follower) -> bool:
        """One pass; whether there is nothing more to read. What fails is logged, and tried again."""
        try:
            findings, whole = await asyncio.to_thread(self._pass, memory, follower)
            if findings is None:
                return False
            # Known only once it was taken: what fails here is handed on again.
            if news := self._news.of(findings):
                await self._found(news)
            self._news.told(findings)
            self.trouble = "" if whole else BEHIND
        except (sqlite3.Error, OSError, Fault) as error:
            self.trouble = str(error) or type(error).__name__
            self._log.warning("detection_failed", part="windows", detail=str(error))
            return True
        return whole

    def _pass(self, memory: Memory, follower: Follower) -> tuple[list[Finding] | None, bool]:
        """Findings, and whether they are of all that there was to read; None where there is more to read
        first."""
        if not (self._data_dir / "audit.db").exists():
            raise FileNotFoundError("there is no audit.db")
        now = self._clock.wall()
        whole = follower.catch_up(now, most=MOST)
        if not whole and not self._waited(now):
            memory.forget(now)
            return None, False
        self._asked_at = now
        follower.recheck(now)
        follower.check(self._conditions(follower.heads()), now)
        memory.forget(now)
        inquired = [rule for rule in rules().values() if rule.tier == "T2"]
        return windows.run(memory.db, inquired, now, rule_settings.load(self._store)), whole

    def _waited(self, now: float) -> bool:
        """Whether rules waited long enough for the log to be read: who floods it must not blind them. Before
        the past was read once they wait."""
        return self._asked_at is not None and now - self._asked_at >= LATEST

    def _conditions(self, heads: dict[str, int]) -> list[Defect]:
        """What endangers the log although every row of it is right."""
        found: list[Defect] = []
        usage = shutil.disk_usage(self._data_dir)
        if low(usage.free, usage.total):
            found.append(Defect(reason="disk_low", component="disk"))
        elif any(reason.startswith(NOT_RECORDING) for reason in self._service().reasons):
            found.append(Defect(reason="recording_failed", component="audit"))
        chains = standing(self._data_dir / "journal")
        found += [defect for uid, chain in chains.items() for defect in troubles(uid, chain)]
        behind: dict[str, int] = {}
        for uid, chain in chains.items():
            head = heads.get(uid, 0)
            if chain.durable <= head:
                continue
            if self._durable.get(uid) == head:  # nothing was taken in since the last look: nobody projects
                found.append(Defect(reason="projection_stopped", component=uid))
            behind[uid] = head
        self._durable = behind
        return found


def low(free: int, total: int) -> bool:
    """Whether so little room is left that the log may soon fail."""
    return free < DISK_BYTES and free < total * DISK_SHARE


def troubles(uid: str, chain: LiveChain) -> list[Defect]:
    """What the journal of a chain says of itself."""
    found: list[Defect] = []
    if chain.spool:
        found.append(Defect(reason="spool_waiting", component=uid))
    if chain.damage:
        found.append(Defect(reason="journal_damaged", component=uid))
    return found


def opened(path: Path) -> Memory:
    """The memory of this file, made anew where it cannot be used. Raises `OSError`."""
    try:
        return Memory(path)
    except sqlite3.DatabaseError:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return Memory(path)
