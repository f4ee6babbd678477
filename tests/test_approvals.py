"""An approval from the command line gets its row in the log: once, and never none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from airlock.approvals import event_of, record_approvals
from airlock.core.errors import AuditFault
from airlock.model.entry import Event, Receipt
from airlock.store import pins
from airlock.store.database import Store, open_store
from airlock.store.pins import Approval


class Log:
    """A log in memory that can be out of order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fault: AuditFault | None = None
        self.slow = 0.0

    async def seal(self, event: Event) -> Receipt:
        if self.fault is not None:
            raise self.fault
        await asyncio.sleep(self.slow)
        self.events.append(event)
        return Receipt(chain_uid="c", seq=len(self.events), id="i", hash="h")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "sark.db")
    yield opened
    opened.close()


def approve(store: Store, *digests: str) -> None:
    for number, digest in enumerate(digests):
        tools = {"read": (digest, {"name": "read", "v": digest})}
        pins.observe(store, server="notes", tenant="acme", tools=tools, pin_new=True, now=number)
        pins.approve(
            store, server="notes", tenant="acme", tool="read", digest=digest, by="olga", now=10.0 + number
        )


def recorded(log: Log) -> list[tuple[str, str]]:
    return [(event.definition_digest, event.metadata.get("replaced_digest", "")) for event in log.events]


def test_several_workers_at_once_write_one_row_each_approval(store: Store) -> None:
    approve(store, "d0", "d1", "d2")
    log = Log()

    async def workers() -> None:
        await asyncio.gather(*(record_approvals(store, log) for _ in range(3)))

    asyncio.run(workers())
    asyncio.run(record_approvals(store, log))
    assert recorded(log) == [("d1", "d0"), ("d2", "d1")]


def test_going_back_and_forth_is_recorded_every_time(store: Store) -> None:
    approve(store, "d0", "d1", "d0", "d1")
    log = Log()
    asyncio.run(record_approvals(store, log))
    assert recorded(log) == [("d1", "d0"), ("d0", "d1"), ("d1", "d0")]


def test_what_could_not_be_recorded_is_recorded_later(store: Store) -> None:
    approve(store, "d0", "d1")
    log = Log()
    log.fault = AuditFault("disk full")
    with pytest.raises(AuditFault):
        asyncio.run(record_approvals(store, log))
    assert log.events == []
    log.fault = None
    asyncio.run(record_approvals(store, log))
    assert recorded(log) == [("d1", "d0")]


def test_a_log_that_does_not_answer_holds_nobody_for_long(store: Store) -> None:
    approve(store, "d0", "d1")
    log = Log()
    log.slow = 60.0
    with pytest.raises(AuditFault) as caught:
        asyncio.run(record_approvals(store, log))
    assert "not recorded within 2 s" in caught.value.detail


def test_looking_for_approvals_tells_nobody_of_a_change(store: Store) -> None:
    approve(store, "d0", "d1")
    before = store.versions()
    asyncio.run(record_approvals(store, Log()))
    assert store.versions() == before


def test_the_row_says_who_approved_what_and_when() -> None:
    event = event_of(
        Approval(
            server="notes",
            tenant="acme",
            tool="read",
            digest="d1",
            replaced="",
            decided_at=1_000_000_000.5,
            decided_by="olga",
        )
    )
    assert (event.event_type, event.action, event.reason) == ("admin", "approval", "definition_approved")
    assert (event.resource, event.definition_digest) == ("mcp://notes/read", "d1")
    assert (event.tenant, event.severity, event.decision) == ("acme", "MEDIUM", None)
    assert event.occurred_at == "2001-09-09 01:46:40.500000"
    assert (event.personal.subject, event.metadata) == ("olga", {})
