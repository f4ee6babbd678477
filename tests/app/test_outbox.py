"""Rows of the store in the log: one that the log refuses keeps no other from it, and is told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from airlock.app.outbox import record_outbox
from airlock.core.errors import AuditFault
from airlock.model.entry import Event, Receipt
from airlock.store import outbox
from airlock.store.changes import OUTBOX
from airlock.store.database import FILE, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / FILE)) as opened:
        yield opened


class Log:
    """Takes every row but those with the reason `refused`."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self._numbers = itertools.count(1)

    async def seal(self, event: Event) -> Receipt:
        if event.reason == "refused":
            raise AuditFault("malformed event")
        self.rows.append(event.reason)
        return Receipt(chain_uid="chain", seq=next(self._numbers), id="id", hash="hash")


def test_a_refused_row_is_told_and_the_others_are_recorded_once(store: Store) -> None:
    with store.change(OUTBOX) as change:
        for reason in ("one", "refused", "two"):
            row = Event(event_type="incident", action="incident_event", reason=reason)
            outbox.leave(change.connection, row, at=1.0)
    log = Log()
    for _ in range(2):
        with pytest.raises(AuditFault, match="malformed event"):
            asyncio.run(record_outbox(store, log))
    assert log.rows == ["one", "two"]
