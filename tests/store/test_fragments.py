"""Each text of an overlay becomes leases once, and capacity has one holder."""

from __future__ import annotations

import pytest

from airlock.core import fragment
from airlock.core.config import Config
from airlock.model import overrides
from airlock.model.lease import Lease, Selector, Unfit
from airlock.model.overrides import Order
from airlock.store import fragments, leases
from airlock.store.database import Store

NOW = 1_800_000_000.0
OVERLAY = "/etc/airlock/config.yaml"


def orders(**values: str) -> list[Order]:
    found: list[Order] = []
    for name, text in values.items():
        (asked,) = fragment.single(name.replace("__", "."), text).asked
        order = overrides.order(asked, Config())
        assert order is not None
        found.append(order)
    return found


def take(store: Store, digest: str, wanted: list[Order], now: float = NOW) -> int | None:
    given = fragments.take(store, overlay=OVERLAY, digest=digest, orders=wanted, now=now)
    return None if given is None else len(given)


def held(store: Store, now: float = NOW) -> list[Lease]:
    return leases.listing(store, now=now)


def tune(store: Store, selector: Selector, now: float = NOW) -> Lease:
    return leases.activate(
        store, action="cache.tune", selector=selector, ttl=60, reason="r", actor="ops", origin="api", now=now
    ).lease


def test_a_text_is_taken_over_once_whoever_comes(store: Store, other: Store) -> None:
    rates = orders(rate_limiting__per_token="10/min", rate_limiting__per_ip="50/min")
    assert take(store, "a", rates) == 2
    assert take(other, "a", rates) is None
    assert [(lease.origin, lease.actor, lease.reason) for lease in held(store)] == [
        ("config", "config", "rate_limiting.per_token in config.yaml"),
        ("config", "config", "rate_limiting.per_ip in config.yaml"),
    ]
    assert [lease.expires_at for lease in held(store)] == [NOW + 4 * 3600] * 2
    assert fragments.taken(other, overlay=OVERLAY) == "a"
    assert fragments.taken(other, overlay="/elsewhere") == ""


def test_the_same_text_counts_again_after_another_one(store: Store) -> None:
    rates = orders(rate_limiting__per_token="10/min")
    assert [take(store, digest, rates) for digest in ("a", "b", "a")] == [1, 1, 1]


def test_a_later_text_releases_nothing_that_it_leaves_out(store: Store) -> None:
    take(store, "a", orders(rate_limiting__per_token="10/min"))
    take(store, "b", orders(logging__level="debug"))
    assert {lease.action for lease in held(store)} == {"ratelimit.tighten", "logging.enhance"}


def test_a_later_text_replaces_what_the_overlay_tuned(store: Store) -> None:
    take(store, "a", orders(policy__cache_ttl="10m", policy__cache_size="2000"))
    take(store, "b", orders(policy__cache_ttl="20m"))
    assert {(lease.selector.cache_ttl, lease.selector.cache_size) for lease in held(store)} == {
        ("", "2000"),
        ("20m", ""),
    }


def test_what_somebody_else_tuned_is_left_to_them_and_nothing_is_given(store: Store) -> None:
    mine = tune(store, Selector(cache_ttl="5m"))
    with pytest.raises(Unfit, match=mine.id, check=lambda unfit: unfit.reason == "setting_held"):
        take(store, "a", orders(logging__level="debug", policy__cache_ttl="10m"))
    assert held(store) == [mine]
    assert take(store, "a", orders(policy__cache_ttl="10m"), now=NOW + 60) == 1


def test_two_keys_of_one_kind_have_two_holders(store: Store) -> None:
    tune(store, Selector(cache_ttl="5m"))
    tune(store, Selector(cache_size="100"))
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "setting_held"):
        tune(store, Selector(cache_size="100"))
    assert tune(store, Selector(cache_size="100"), now=NOW + 60)
