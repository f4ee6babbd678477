"""The worker as the one who has a chain: it puts into the audit log what others left for it in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from airlock.core.errors import AuditFault
from airlock.model.entry import Event, Receipt
from airlock.store import outbox
from airlock.store.database import Store

PATIENCE = 2.0
"""Seconds for the rows of one transaction: other processes wait for the store meanwhile."""


class Log(Protocol):
    """The writer of the audit log. Raises `AuditFault` where it cannot write."""

    async def seal(self, event: Event) -> Receipt: ...


async def record_outbox(store: Store, log: Log) -> None:
    """Record what nobody recorded yet. Raises `Fault` where store or log fail; then it is still there.

    A row that the log does not take keeps no other row from it.
    """
    loop = asyncio.get_running_loop()
    faults: list[AuditFault] = []

    def write(events: Sequence[Event]) -> Sequence[outbox.Place | None]:
        return asyncio.run_coroutine_threadsafe(_sealed(events, log, faults), loop).result()

    await asyncio.to_thread(outbox.record, store, write)
    if faults:
        raise faults[0]


async def _sealed(events: Sequence[Event], log: Log, faults: list[AuditFault]) -> list[outbox.Place | None]:
    async def sealed(event: Event) -> outbox.Place | None:
        try:
            receipt = await log.seal(event)
        except AuditFault as fault:
            faults.append(fault)
            return None
        return receipt.chain_uid, receipt.seq

    try:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*map(sealed, events))
    except TimeoutError as late:
        raise AuditFault(f"what the store holds was not recorded within {PATIENCE:g} s") from late
