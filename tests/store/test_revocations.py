"""Credentials that count no more."""

from __future__ import annotations

import pytest

from airlock.model.snapshot import Revocations
from airlock.store import revocations, sessions
from airlock.store.database import Store


def test_what_is_revoked_is_seen_by_another_process(store: Store, other: Store) -> None:
    revocations.revoke_token(store, token_id="j-1", reason="stolen", now=1.0)
    revocations.revoke_subject(store, tenant="t1", issuer="i", subject="alice", reason="left", now=1.0)
    sessions.end(store, sid="s-1", expires_at=100.0)
    assert revocations.load(other, now=2.0) == Revocations(
        token_ids=frozenset(("j-1",)),
        subjects=frozenset((("t1", "i", "alice"),)),
        sessions=frozenset(("s-1",)),
        version=5,
    )


def test_names_with_any_characters_stay_apart(store: Store) -> None:
    owners = [("a", 'b","c', "d"), ("a", "b", 'c","d'), ('a","b', "c", "d"), ("\u00e4", "\n", "")]
    for tenant, issuer, subject in owners:
        revocations.revoke_subject(store, tenant=tenant, issuer=issuer, subject=subject, reason="x", now=1.0)
    assert revocations.load(store, now=2.0).subjects == frozenset(owners)


@pytest.mark.parametrize(
    ("first", "second", "holds_at_50", "holds_at_500"),
    [
        (10.0, 100.0, True, False),
        (100.0, 10.0, True, False),
        (None, 10.0, True, True),
        (10.0, None, True, True),
        (10.0, 20.0, False, False),
    ],
)
def test_revoking_again_only_prolongs(
    store: Store, first: float | None, second: float | None, holds_at_50: bool, holds_at_500: bool
) -> None:
    for end in (first, second):
        revocations.revoke_token(store, token_id="j", reason="stolen", now=1.0, expires_at=end)
    assert ("j" in revocations.load(store, now=50.0).token_ids) is holds_at_50
    assert ("j" in revocations.load(store, now=500.0).token_ids) is holds_at_500


def test_a_revocation_that_changes_nothing_is_not_announced(store: Store) -> None:
    revocations.revoke_token(store, token_id="j", reason="stolen", now=1.0)
    before = store.versions()
    revocations.revoke_token(store, token_id="j", reason="again", now=2.0, expires_at=9.0)
    assert store.versions() == before


def test_what_has_expired_is_dropped_and_nothing_else(store: Store) -> None:
    for token_id, end in (("old", 10.0), ("new", 100.0), ("ever", None)):
        revocations.revoke_token(store, token_id=token_id, reason="x", now=1.0, expires_at=end)
    before = revocations.load(store, now=50.0)
    assert revocations.prune(store, now=50.0) == 1
    assert revocations.load(store, now=50.0) == before
    assert revocations.load(store, now=1.0).token_ids == {"new", "ever"}


def test_the_version_rises_with_every_change_of_either_kind(store: Store) -> None:
    seen = [revocations.load(store, now=2.0).version]
    revocations.revoke_token(store, token_id="j", reason="x", now=1.0)
    seen.append(revocations.load(store, now=2.0).version)
    sessions.end(store, sid="s", expires_at=9.0)
    seen.append(revocations.load(store, now=2.0).version)
    assert seen == sorted(set(seen))
