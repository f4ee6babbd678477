"""A row in the audit log for every approval that an operator gave on the command line.

The command line has no chain of its own to write to: it leaves the approval in the store, and one worker
records it. The approval is taken out of the store only after its row is durable.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from airlock.core.clock import timestamp
from airlock.core.errors import AuditFault
from airlock.model.entry import Event, Personal, Receipt
from airlock.store import pins
from airlock.store.database import Store
from airlock.store.pins import Approval

PATIENCE = 2.0
"""Seconds for one row: other processes wait for the store meanwhile."""


class Log(Protocol):
    """The writer of the audit log. Raises `AuditFault` where it cannot write."""

    async def seal(self, event: Event) -> Receipt: ...


async def record_approvals(store: Store, log: Log) -> None:
    """Record what nobody recorded yet. Raises `Fault` where store or log fail; then it is still there."""
    loop = asyncio.get_running_loop()

    def record(approval: Approval) -> None:
        sealing = asyncio.run_coroutine_threadsafe(_sealed(approval, log), loop)
        sealing.result()

    await asyncio.to_thread(pins.record_approvals, store, record)


async def _sealed(approval: Approval, log: Log) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await log.seal(event_of(approval))
    except TimeoutError as late:
        raise AuditFault(f"an approval was not recorded within {PATIENCE:g} s") from late


def event_of(approval: Approval) -> Event:
    """The row: who approved which definition of which tool, and when."""
    return Event(
        event_type="admin",
        action="approval",
        resource=f"mcp://{approval.server}/{approval.tool}",
        server_id=approval.server,
        tool_name=approval.tool,
        definition_digest=approval.digest,
        tenant=approval.tenant,
        reason="definition_approved",
        severity="MEDIUM",
        occurred_at=timestamp(approval.decided_at),
        metadata={"replaced_digest": approval.replaced} if approval.replaced else {},
        personal=Personal(subject=approval.decided_by),
    )
