"""Leases are given, extended and taken back in the store; each change is one epoch, and time ends them."""

from __future__ import annotations

import pytest

from airlock.model.lease import Selector, Unfit
from airlock.store import leases
from airlock.store.changes import LEASES
from airlock.store.database import Store
from airlock.store.leases import Activated

NOW = 1_800_000_000.0
BLOCK = Selector(cidr="203.0.113.7/32")
HOUR = 3600.0


def block(
    store: Store,
    *,
    selector: Selector = BLOCK,
    ttl: float | None = None,
    key: str = "",
    reason: str = "attack",
    actor: str = "ops",
    now: float = NOW,
) -> Activated:
    return leases.activate(
        store,
        action="ip.block",
        selector=selector,
        ttl=ttl,
        reason=reason,
        actor=actor,
        origin="api",
        now=now,
        idempotency_key=key,
        incident="INC-1",
    )


def test_a_lease_holds_for_whoever_reads_the_store(store: Store, other: Store) -> None:
    given = block(store)
    assert given.lease.expires_at == NOW + HOUR
    assert given.lease.max_until == NOW + 24 * HOUR
    assert leases.get(other, id=given.lease.id, now=NOW) == given.lease
    assert leases.listing(other, now=NOW) == [given.lease]
    part = leases.load(other, now=NOW)
    assert part.epoch == given.epoch == given.lease.epoch
    assert part.held == (given.lease,)


def test_every_change_is_an_epoch_of_its_own(store: Store) -> None:
    one = block(store)
    two = leases.extend(store, id=one.lease.id, ttl=2 * HOUR, actor="ops", reason="goes on", now=NOW)
    three = leases.release(store, id=one.lease.id, actor="ops", reason="over", now=NOW + 1)
    assert [one.epoch, two.epoch, three.epoch] == [1, 2, 3]
    assert store.versions()[LEASES] == leases.load(store, now=NOW).epoch == 3


def test_an_unfit_lease_changes_nothing(store: Store) -> None:
    for wrong in ({"ttl": 25 * HOUR}, {"reason": " "}, {"reason": "a\nb"}, {"key": "k" * 129}):
        with pytest.raises(Unfit):
            block(store, **wrong)  # pyright: ignore[reportArgumentType]
    assert leases.listing(store, now=NOW, include_ended=True) == []
    assert store.versions()[LEASES] == 0


def test_a_lease_that_is_over_is_over_although_nobody_noted_it(store: Store) -> None:
    given = block(store, ttl=60)
    later = NOW + 60
    assert leases.listing(store, now=later) == []
    assert leases.load(store, now=later).index is None
    found = leases.get(store, id=given.lease.id, now=later)
    assert found is not None
    assert (found.state, found.ended_at) == ("expired", later)
    with pytest.raises(Unfit) as unfit:
        leases.release(store, id=given.lease.id, actor="ops", reason="late", now=later)
    assert unfit.value.reason == "lease_ended"


def test_expiry_is_noted_once_whoever_comes_first(store: Store, other: Store) -> None:
    given = block(store, ttl=60)
    block(store, selector=Selector(cidr="203.0.113.8/32"), ttl=600)
    assert leases.expire(store, now=NOW + 59) == 0
    assert leases.expire(other, now=NOW + 61) == 1
    assert leases.expire(store, now=NOW + 61) == 0
    assert store.versions()[LEASES] == 3
    found = leases.get(store, id=given.lease.id, now=NOW + 61)
    assert found is not None
    assert (found.state, found.ended_at, found.end_reason) == ("expired", NOW + 60, "its time was over")


def test_a_lease_is_released_with_a_reason_and_by_somebody(store: Store) -> None:
    given = block(store)
    ended = leases.release(store, id=given.lease.id, actor="lead", reason="false alarm", now=NOW + 5)
    assert (ended.lease.state, ended.lease.ended_at) == ("released", NOW + 5)
    assert (ended.lease.ended_by, ended.lease.end_reason) == ("lead", "false alarm")
    assert leases.load(store, now=NOW + 5).index is None
    assert leases.listing(store, now=NOW + 5, include_ended=True) == [ended.lease]


def test_what_remains_after_a_release_still_holds(store: Store) -> None:
    one = block(store)
    two = block(store)
    leases.release(store, id=one.lease.id, actor="ops", reason="double", now=NOW)
    assert leases.load(store, now=NOW).held == (two.lease,)


def test_a_lease_is_extended_and_never_shortened(store: Store) -> None:
    given = block(store)
    longer = leases.extend(store, id=given.lease.id, ttl=3 * HOUR, actor="ops", reason="on", now=NOW + 60)
    assert longer.lease.expires_at == NOW + 60 + 3 * HOUR
    same = leases.extend(store, id=given.lease.id, ttl=60, actor="ops", reason="on", now=NOW + 120)
    assert same.lease.expires_at == longer.lease.expires_at
    assert leases.get(store, id=given.lease.id, now=NOW) == same.lease


@pytest.mark.parametrize(("ttl", "reason"), [(25 * HOUR, "duration_too_long"), (0.0, "duration_invalid")])
def test_an_unfit_extension_changes_nothing(store: Store, ttl: float, reason: str) -> None:
    given = block(store)
    with pytest.raises(Unfit) as unfit:
        leases.extend(store, id=given.lease.id, ttl=ttl, actor="ops", reason="on", now=NOW)
    assert unfit.value.reason == reason
    assert leases.get(store, id=given.lease.id, now=NOW) == given.lease


def test_a_revoked_token_stays_revoked(store: Store) -> None:
    given = leases.activate(
        store,
        action="token.revoke",
        selector=Selector(token="j-1"),
        ttl=None,
        reason="stolen",
        actor="ops",
        origin="cli",
        now=NOW,
    )
    assert (given.lease.expires_at, given.lease.max_until) == (None, None)
    for change in ("release", "extend"):
        with pytest.raises(Unfit) as unfit:
            if change == "release":
                leases.release(store, id=given.lease.id, actor="ops", reason="x", now=NOW)
            else:
                leases.extend(store, id=given.lease.id, ttl=60, actor="ops", reason="x", now=NOW)
        assert unfit.value.reason == "irreversible"
    assert leases.load(store, now=NOW + 1e9).held == (given.lease,)


def test_what_does_not_exist_is_unknown(store: Store) -> None:
    assert leases.get(store, id="nothing", now=NOW) is None
    with pytest.raises(Unfit) as unfit:
        leases.release(store, id="nothing", actor="ops", reason="x", now=NOW)
    assert unfit.value.reason == "lease_unknown"


def test_the_same_key_gives_the_lease_of_the_first_time(store: Store, other: Store) -> None:
    first = block(store, key="k")
    again = block(other, key="k", now=NOW + 10)
    assert again.repeated
    assert not first.repeated
    assert (again.lease, again.epoch) == (first.lease, first.epoch)
    assert leases.listing(store, now=NOW) == [first.lease]


def test_a_key_used_for_something_else_is_refused(store: Store) -> None:
    block(store, key="k")
    with pytest.raises(Unfit) as unfit:
        block(store, key="k", ttl=60)
    assert unfit.value.reason == "idempotency_conflict"


def test_keys_are_of_whoever_sent_them(store: Store) -> None:
    assert block(store, key="k").lease.id != block(store, key="k", actor="another").lease.id


def test_leases_of_one_action_are_listed(store: Store) -> None:
    block(store)
    assert leases.listing(store, now=NOW, action="server.disable") == []
    assert len(leases.listing(store, now=NOW, action="ip.block")) == 1
