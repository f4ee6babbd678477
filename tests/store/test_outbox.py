"""Rows that wait for the audit log: where they stand is asked of as many as an incident has."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest

from airlock.model.entry import Event
from airlock.store import outbox
from airlock.store.changes import OUTBOX
from airlock.store.database import Store

ROW = Event(event_type="incident", action="incident_event", reason="note")


def test_the_places_of_more_rows_than_a_question_takes_are_found(store: Store) -> None:
    with store.change(OUTBOX) as change:
        first, last = (outbox.leave(change.connection, ROW, at=1.0) for _ in range(2))
    outbox.record(store, lambda events: [("chain", seq) for seq, _ in enumerate(events, 1)])
    asked = [first, *range(10, 5000), last]
    with store.read() as connection:
        database = connection.connection.driver_connection
        assert isinstance(database, sqlite3.Connection)
        database.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, outbox.ASKED)
        assert outbox.places(connection, asked) == {first: ("chain", 1), last: ("chain", 2)}


def test_a_row_without_a_place_stays_and_keeps_no_other_from_the_log(store: Store) -> None:
    with store.change(OUTBOX) as change:
        first, last = (outbox.leave(change.connection, ROW, at=1.0) for _ in range(2))
    assert outbox.record(store, lambda _: [None, ("chain", 1)]) == 2
    assert (outbox.place(store, first), outbox.place(store, last)) == (None, ("chain", 1))
    assert outbox.record(store, lambda events: [("chain", 2) for _ in events]) == 1
    assert outbox.place(store, first) == ("chain", 2)


def test_what_no_log_can_take_is_refused_before_it_waits(store: Store) -> None:
    unfit = msgspec.structs.replace(ROW, metadata={"seconds": 0.5})
    with pytest.raises(ValueError, match="float at depth 1"), store.change(OUTBOX) as change:
        outbox.leave(change.connection, unfit, at=1.0)
    assert outbox.record(store, lambda _: []) == 0
