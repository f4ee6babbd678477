"""Containment in one worker: takes over the leases in the store, cuts what they contain, says so.

A lease holds from its commit on. Whoever made the change calls `look`; every other worker is told through the
supervisor, and looks by itself every quarter of a second where that fails. Once a second each worker says
which epoch it enforces, ends what is over, and puts what happened into the audit log.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from airlock.core import metrics
from airlock.core.clock import Clock, rfc3339, timestamp
from airlock.core.errors import AuditFault, Fault
from airlock.gateway.contain import Contain, of_address, of_caller
from airlock.gateway.live import Live
from airlock.gateway.serving import Serving
from airlock.identity.refusals import Reason, invalid
from airlock.mcp import strict
from airlock.model.entry import Event, Personal, Receipt
from airlock.model.lease import RULES
from airlock.model.principal import Principal
from airlock.model.snapshot import Current
from airlock.store import lease_events, leases, replicas
from airlock.store.changes import LEASES
from airlock.store.database import Store
from airlock.store.lease_events import LeaseEvent, Place

T = TypeVar("T")

BEAT = 1.0
"""Seconds between two words of a worker about what it enforces."""

PATIENCE = 2.0
"""Seconds for the rows of one transaction: other processes wait for the store meanwhile."""


class Log(Protocol):
    """The writer of the audit log. Raises `AuditFault` where it cannot write."""

    async def seal(self, event: Event) -> Receipt: ...


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Containment:
    """The leases of one worker. Used on its event loop."""

    def __init__(
        self,
        *,
        store: Store,
        current: Current,
        live: Live,
        writer: Log,
        replica: str,
        enforced: Callable[[], None],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`replica` names this worker among all live ones; `enforced` takes over settings that leases hold,
        before this worker says that it enforces them, and is called once a second besides.

        Reads the store, so that the first call finds what is contained."""
        self._store = store
        self._current = current
        self._live = live
        self._writer = writer
        self._replica = replica
        self._enforced = enforced
        self._clock = clock
        self._log = log
        self._trouble = ""
        self._news = asyncio.Event()
        self._serving = Serving()
        self.contain = Contain(clock=clock, serving=self._serving)
        self.changed = asyncio.Event()
        """Set when this worker changed the store: the others are to look at it."""
        current.swap(leases=leases.load(store, now=clock.wall()))
        self._say()

    def address(self, source_ip: str) -> None:
        """Raise `Refused` for an address that is blocked now."""
        index = self._current.get().leases.index
        refused = None if index is None else of_address(index, source_ip, self._clock.wall())
        if refused is not None:
            raise refused

    def administrator(self, principal: Principal, source_ip: str) -> None:
        """Raise `Unauthenticated` for a revoked token, `Refused` for a caller who is contained."""
        index = self._current.get().leases.index
        if index is None:
            return
        now = self._clock.wall()
        if index.token(principal.token_id, now) is not None:
            raise invalid(Reason.REVOKED)
        refused = of_caller(index, principal, source_ip, now)
        if refused is not None:
            raise refused

    async def look(self) -> None:
        """The store was changed here: enforce it, and let every other worker look."""
        self.changed.set()
        await self.follow()

    async def follow(self) -> None:
        """Enforce what the store says. Raises `Fault` where it cannot be read.

        What is cut is cut in the same turn of the loop, before this worker says that it enforces anything.
        """
        found = await asyncio.to_thread(lambda: leases.load(self._store, now=self._clock.wall()))
        if found.epoch >= self._current.get().leases.epoch:
            now = self._current.swap(leases=found)
            self._live.review(now, self._clock.wall())
            self._enforced()
        self._news.set()

    async def run(self) -> None:
        """Beat until cancelled; then this worker counts no more. Its right to serve counts from here on: a
        store that cannot be read from the first beat on must end it as well."""
        self._serving.renew()
        try:
            while True:
                await self._beat()
                try:
                    async with asyncio.timeout(BEAT):
                        await self._news.wait()
                except TimeoutError:
                    continue
        finally:
            self._serving.stop()
            with contextlib.suppress(Fault):  # its word lapses by itself
                await asyncio.to_thread(replicas.gone, self._store, replica=self._replica)

    async def _beat(self) -> None:
        """What could be read is enforced and counts as a look, also where nothing can be written."""
        self._news.clear()
        self._enforced()  # what is over by now
        try:
            newest = (await asyncio.to_thread(self._store.versions))[LEASES]
            if newest > self._current.get().leases.epoch:
                await self.follow()
            self._serving.renew()
            await _to_its_end(self._tell, asyncio.get_running_loop())
            self._trouble = ""
        except (Fault, TimeoutError) as failed:
            if not self._trouble:
                self._trouble = str(failed) or "the audit log does not answer"
                self._log.error("containment_stale", detail=self._trouble)
        self._count()

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: who enforces what, what is over, and the rows of both."""

        def write(events: Sequence[LeaseEvent]) -> Sequence[Place]:
            return asyncio.run_coroutine_threadsafe(self._seal(events), loop).result()

        self._say()
        leases.expire(self._store, now=self._clock.wall())
        lease_events.record(self._store, write)

    def _say(self) -> None:
        epoch = self._current.get().leases.epoch
        replicas.seen(self._store, replica=self._replica, epoch=epoch, now=self._clock.wall())

    async def _seal(self, events: Sequence[LeaseEvent]) -> Sequence[Place]:
        try:
            async with asyncio.timeout(PATIENCE):
                receipts = await asyncio.gather(*(self._writer.seal(event_of(event)) for event in events))
        except TimeoutError as late:
            raise AuditFault(f"leases were not recorded within {PATIENCE:g} s") from late
        for event in events:
            said = {"lease_released": "lease_released", "lease_expired": "lease_expired"}.get(
                event.event, "lease_applied"
            )
            self._log.info(said, lease=event.lease.id, kind=event.lease.action, epoch=event.epoch)
        return [(receipt.chain_uid, receipt.seq) for receipt in receipts]

    def _count(self) -> None:
        now = self._clock.wall()
        held = Counter(lease.action for lease in self._current.get().leases.held if lease.holds(now))
        for kind in RULES:
            metrics.leases_active(kind, held[kind])


async def _to_its_end(work: Callable[[T], None], of: T) -> None:
    """Run `work` in a thread; who is cancelled meanwhile leaves nothing running behind."""
    running = asyncio.get_running_loop().run_in_executor(None, work, of)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()  # nobody is left who could hear of it
        raise


def in_turn(*checks: Callable[[T], None]) -> Callable[[T], None]:
    """One check after the other; the first that raises ends it."""

    def check(of: T) -> None:
        for each in checks:
            each(of)

    return check


def event_of(happened: LeaseEvent) -> Event:
    """The row: which lease, what it is about, who did it. Names of people are where they can be erased."""
    lease, selector = happened.lease, happened.lease.selector
    action = "lease_applied" if happened.event == "lease_extended" else happened.event
    metadata: dict[str, object] = {
        "lease_id": lease.id,
        "kind": lease.action,
        "origin": lease.origin,
        "epoch": happened.epoch,
    }
    if lease.expires_at is not None:
        metadata["expires_at"] = rfc3339(lease.expires_at)
    if lease.incident:
        metadata["incident"] = lease.incident
    about = strict.canonical({"reason": happened.reason, "selector": msgspec.to_builtins(selector)})
    return Event(
        event_type="admin",
        action=action,
        resource=f"mcp://{selector.server}/{selector.tool}" if selector.tool else "",
        server_id=selector.server,
        tool_name=selector.tool,
        definition_digest=selector.digest,
        tenant=selector.tenant,
        lease_epoch=happened.epoch,
        reason=_WORDS[happened.event],
        severity="LOW" if happened.event == "lease_expired" else "MEDIUM",
        occurred_at=timestamp(happened.at),
        metadata=metadata,
        personal=Personal(
            subject=happened.actor, arguments=about, arguments_digest=hashlib.sha256(about).hexdigest()
        ),
    )


_WORDS: Mapping[str, str] = {
    "lease_applied": "activated",
    "lease_extended": "extended",
    "lease_released": "released",
    "lease_expired": "expired",
}
"""The word of a row by what happened."""
