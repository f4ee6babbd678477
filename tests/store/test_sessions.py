"""Sessions that ended before their own end."""

from __future__ import annotations

from airlock.store import sessions
from airlock.store.database import Store


def ended(store: Store, now: float) -> frozenset[str]:
    with store.read() as connection:
        return sessions.ended(connection, now=now)


def test_an_ended_session_is_refused_until_its_own_end(store: Store, other: Store) -> None:
    assert sessions.end(store, sid="s", expires_at=100.0)
    assert ended(other, 99.0) == {"s"}
    assert ended(other, 100.0) == frozenset()


def test_a_session_ends_once(store: Store) -> None:
    sessions.end(store, sid="s", expires_at=100.0)
    before = store.versions()
    assert not sessions.end(store, sid="s", expires_at=200.0)
    assert store.versions() == before


def test_what_has_ended_anyway_is_dropped(store: Store) -> None:
    sessions.end(store, sid="old", expires_at=10.0)
    sessions.end(store, sid="new", expires_at=100.0)
    assert sessions.prune(store, now=50.0) == 1
    assert ended(store, 5.0) == {"new"}
