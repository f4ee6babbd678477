"""A gateway's shadow for one drill: a store, an audit log and a clock of its own in a folder that is removed.

What works here is the code of the gateway: alerts, leases, incidents, evidence, playbooks. What is missing is
whoever enforces, sends or shows: no worker reads this store, no page leaves it, no figure counts it.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import airlock
from airlock.app.alerting import Alerting
from airlock.app.containment import event_of
from airlock.app.outbox import record_outbox
from airlock.audit.catchup import catch_up
from airlock.audit.occurrences import Facts
from airlock.audit.recovery import open_log
from airlock.audit.writer import Writer
from airlock.core.clock import Clock
from airlock.core.config import AuditSection, Config
from airlock.core.incident_config import IncidentSection, TargetEntry
from airlock.incident.evidence import verify_bundle
from airlock.incident.evidence.collect import folder, fulfil
from airlock.incident.evidence.state import Site
from airlock.model.entry import Event, Personal
from airlock.model.evidence import Asked, Bundle
from airlock.store import bundles, lease_events, leases
from airlock.store.database import FILE, Store, open_store

T = TypeVar("T")

FOLDER = "drills"
"""Where shadows are, below the data directory."""

SEGMENT = 1024 * 1024
"""Bytes of a segment of the shadow's journal: a drill writes some dozen rows."""

NOBODY = TargetEntry(
    name="nobody",
    kind="webhook",
    url="https://drill.invalid/",
    audiences=("war_room", "status_updates", "executive", "customer", "legal", "page", "ticket"),
)
"""For whom notices of a shadow are drafted: nothing there sends them, and there is no such host."""

WHY = "to see whether it is whole"

LOOK_EVERY = 0.02

WINDOW = 86400.0
"""Seconds of the shadow's log that its evidence has: all of it."""


class Turned:
    """The clock of a shadow: that of the machine, turned to the time of the attack."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0.0

    def wall(self) -> float:
        return self._clock.wall() + self._ahead

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def to(self, at: float) -> None:
        """Go on from this moment."""
        self._ahead = at - self._clock.wall()


class Quiet:
    """What parts of the gateway say in a shadow. Warnings and errors are kept: they say why a drill fails."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        pass

    debug = info

    def warning(self, event: str, **fields: object) -> None:
        if "detail" in fields or "error" in fields:
            self.said.append(f"{event}: {fields.get('detail') or fields.get('error')}")

    error = warning


class Shadow:
    """One shadow, open. Used on one event loop; what blocks runs in a thread."""

    def __init__(
        self, *, data: Path, store: Store, writer: Writer, config: Config, clock: Turned, log: Quiet
    ) -> None:
        self.data = data
        self.store = store
        self.config = config
        self.clock = clock
        self.log = log
        self._writer = writer
        self.alerting = Alerting(config=config, store=store, tell_look=lambda: None, clock=clock, log=log)

    async def seal(self, event: Event) -> None:
        """Put a row into the log of the shadow."""
        await self._writer.seal(event)

    async def recorded(self) -> None:
        """Put into the log what the store holds for it."""
        await record_outbox(self.store, self._writer)
        loop = asyncio.get_running_loop()

        def write(events: Sequence[lease_events.LeaseEvent]) -> Sequence[lease_events.Place]:
            return asyncio.run_coroutine_threadsafe(self._leased(events), loop).result()

        await asyncio.to_thread(lease_events.record, self.store, write)

    async def recording(self) -> None:
        """The same again and again, as a worker does it."""
        while True:
            await self.recorded()
            await asyncio.sleep(LOOK_EVERY)

    async def _leased(self, events: Sequence[lease_events.LeaseEvent]) -> list[lease_events.Place]:
        receipts = [await self._writer.seal(event_of(each)) for each in events]
        return [(receipt.chain_uid, receipt.seq) for receipt in receipts]

    async def known(self, subjects: list[str]) -> None:
        """Let the log know these subjects as callers whose tokens count."""
        for subject in subjects:
            about = Personal(subject=subject)
            await self.seal(
                Event(event_type="call", action="ping", decision="allow", reason="ok", personal=about)
            )
        await self.caught_up()

    async def caught_up(self) -> None:
        """Let the database of the log hold what the journal does."""
        await asyncio.to_thread(catch_up, self.data, clock=self.clock, pause=time.sleep)

    def expire(self, at: float) -> None:
        """Go to a moment, and end the leases whose time is over."""
        self.clock.to(at)
        leases.expire(self.store, now=self.clock.wall())

    def collect(self, incident: str) -> Bundle:
        """Collect evidence of an incident, whole. Blocks. Raises `Unfit`."""
        asked = Asked(window=WINDOW, logs=WINDOW, who="airlock|drill", role="drill", reason=WHY)
        asked_for = bundles.request(self.store, incident, asked, quick=False, now=self.clock.wall())
        return self.fulfilled(asked_for.id)

    def fulfilled(self, bundle: str) -> Bundle:
        """Do what is wanted of a bundle. Blocks. Raises `Unfit`."""
        site = Site(data_dir=self.data, config=self.config, environ={})
        return fulfil(site, self.store, bundle, clock=self.clock, pause=time.sleep)

    def contradictions(self, bundle: Bundle) -> list[str]:
        """What a verification of a bundle by its own program finds wrong. Blocks."""
        steps = verify_bundle.verify(folder(self.data, bundle.id), bundle.key)
        return [f"{step.name}: {'; '.join(step.told)}" for step in steps if step.result != verify_bundle.PASS]


@asynccontextmanager
async def shadow(parent: Path, *, approved: str, clock: Clock, at: float) -> AsyncGenerator[Shadow]:
    """A shadow in `parent`, which is removed with it. `approved`: the rule whose containment counts as
    approved in advance. `at`: the moment that its clock begins at, Unix seconds.

    Raises `OSError`, `Fault` where there is no room for one.
    """
    root = await asyncio.to_thread(_room, parent)
    try:
        turned, log = Turned(clock), Quiet()
        turned.to(at)
        section = IncidentSection(auto_contain=(approved,), targets=(NOBODY,))
        config = Config(data_dir=str(root), incident=section)
        store = await asyncio.to_thread(open_store, root / FILE)
        try:
            writer = await asyncio.to_thread(_opened, root, turned, log)
            try:
                yield Shadow(data=root, store=store, writer=writer, config=config, clock=turned, log=log)
            finally:
                await asyncio.to_thread(writer.close)
        finally:
            store.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


async def beside(work: Awaitable[T], *meanwhile: Callable[[], Coroutine[Any, Any, None]]) -> T:
    """What `work` gives or raises; the others go on until then."""
    failed: list[Exception] = []
    given: list[T] = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each()) for each in meanwhile]
        try:
            given.append(await work)
        except Exception as error:  # noqa: BLE001 - it is raised as it is, and not in a group
            failed.append(error)
        finally:
            for task in tasks:
                task.cancel()
    if failed:
        raise failed[0]
    return given[0]


def _room(parent: Path) -> Path:
    parent.mkdir(mode=0o700, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="shadow-", dir=parent))


def _opened(root: Path, clock: Turned, log: Quiet) -> Writer:
    facts = Facts(origin="drill", host="drill", version=airlock.__version__, configuration_digest="drill")
    writer = open_log(
        data_dir=root, audit=AuditSection(segment_size=SEGMENT), workers=1, facts=facts, clock=clock, log=log
    )
    writer.start()
    return writer
