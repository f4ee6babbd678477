"""Every worker says which epoch it enforces; a receipt says who does not."""

from __future__ import annotations

from airlock.model.lease import Selector
from airlock.store import leases, replicas
from airlock.store.database import Store
from airlock.store.replicas import LAPSE, Receipt

NOW = 1_800_000_000.0


def test_a_receipt_names_who_is_missing(store: Store, other: Store) -> None:
    replicas.seen(store, replica="one", epoch=4, now=NOW)
    replicas.seen(other, replica="two", epoch=3, now=NOW)
    assert replicas.receipt(store, epoch=4, now=NOW) == Receipt(acked=1, total=2, missing=("two",))
    replicas.seen(other, replica="two", epoch=5, now=NOW + 1)
    assert replicas.receipt(store, epoch=4, now=NOW + 1) == Receipt(acked=2, total=2)


def test_who_was_silent_for_too_long_counts_no_more(store: Store) -> None:
    replicas.seen(store, replica="one", epoch=1, now=NOW)
    assert replicas.receipt(store, epoch=2, now=NOW + LAPSE - 0.1).missing == ("one",)
    assert replicas.receipt(store, epoch=2, now=NOW + LAPSE) == Receipt(acked=0, total=0)


def test_who_left_counts_no_more(store: Store) -> None:
    replicas.seen(store, replica="one", epoch=1, now=NOW)
    replicas.gone(store, replica="one")
    assert replicas.receipt(store, epoch=2, now=NOW).total == 0


def test_a_word_of_a_replica_tells_it_what_is_newest_and_is_no_change_of_leases(store: Store) -> None:
    given = leases.activate(
        store,
        action="tenant.isolate",
        selector=Selector(tenant="acme"),
        ttl=None,
        reason="test",
        actor="ops",
        origin="api",
        now=NOW,
    )
    assert replicas.seen(store, replica="one", epoch=0, now=NOW) == given.epoch
    assert leases.load(store, now=NOW).epoch == given.epoch


def test_the_long_gone_are_forgotten(store: Store) -> None:
    replicas.seen(store, replica="old", epoch=1, now=NOW)
    replicas.seen(store, replica="one", epoch=1, now=NOW + 60)
    assert replicas.receipt(store, epoch=2, now=NOW).missing == ("one",)
