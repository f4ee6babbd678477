"""Rows that wait for the audit log: where they stand is asked of as many as an incident has."""

from __future__ import annotations

import sqlite3

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
