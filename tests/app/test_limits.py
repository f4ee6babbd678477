"""The memory of the counts: made once, seen by every worker, closed to strangers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from airlock.app.limits import limits, make_counts, open_counts, spending
from airlock.core.config import ConcurrencySection, Config, RateLimitingSection, ToolEntry
from airlock.core.errors import Refused
from airlock.core.units import rate
from airlock.model.call import Admitted, Allowed
from airlock.model.snapshot import Current
from tests.gateway.parts import HandClock, allowed, authenticated, identified, registered, routed, snapshot


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = make_counts(2)
    yield made
    os.close(made)


def test_workers_see_the_same_counts(descriptor: int) -> None:
    one, other = (open_counts(descriptor, workers=2, slot=slot) for slot in range(2))
    limit, key = one.limit("x", rate("1/min")), one.key("alice")
    one.callers.add(key, limit, 6000.0)
    assert other.callers.wait(other.key("alice"), other.limit("x", rate("1/min")), 6000.0) > 0


def test_every_deployment_has_keys_of_its_own(descriptor: int) -> None:
    elsewhere = make_counts(2)
    keys = {open_counts(memory, workers=2, slot=0).key("alice") for memory in (descriptor, elsewhere)}
    os.close(elsewhere)
    assert len(keys) == 2


def test_a_call_that_policy_refuses_costs_nothing(descriptor: int) -> None:
    open_ = RateLimitingSection(
        per_token=None, burst=None, per_ip=None, unauthenticated=None,
        concurrency=ConcurrencySection(per_token=None),
    )  # fmt: skip
    rates = limits(
        config=Config(rate_limiting=open_),
        counts=open_counts(descriptor, workers=2, slot=0),
        current=Current(snapshot()),
        clock=HandClock(),
    )
    server = registered("docs", tools={"echo": ToolEntry(budget="2/h")})
    of = routed(identified(caller=authenticated(at=snapshot(server))))

    def no(admitted: Admitted) -> Allowed:
        raise ValueError("policy says no")

    for _ in range(5):
        with pytest.raises(ValueError, match="policy says no"):
            spending(no, rates)(Admitted(routed=of))
    rates.budget(of)
    for _ in range(2):
        assert spending(lambda admitted: allowed(admitted.routed), rates)(Admitted(routed=of))
    with pytest.raises(Refused) as refused:
        rates.budget(of)
    assert refused.value.code == 42902
