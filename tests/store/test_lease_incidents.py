"""Leases of two incidents: whatever one takes back, the other holds what it held (I4)."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from airlock.model.containment import Index, Leases, compiled
from airlock.model.deltas import delta
from airlock.model.lattice import Settings, join, join_all
from airlock.model.lease import Action, Lease, Selector
from airlock.store import leases
from airlock.store.database import Store
from tests.api.doors import ADMIN

NOW = 1_800_000_000.0

SCOPES: tuple[tuple[Action, dict[str, str]], ...] = (
    ("ip.block", {"cidr": "203.0.113.0/24"}),
    ("ip.block", {"cidr": "203.0.113.7/32"}),
    ("subject.suspend", {"subject": ADMIN.subject}),
    ("tenant.isolate", {"tenant": ADMIN.tenant or "acme"}),
    ("tool.quarantine", {"server": "crm", "tool": "read"}),
    ("server.disable", {"server": "crm"}),
    ("ratelimit.tighten", {"per_token": "10/min"}),
    ("ratelimit.tighten", {"per_token": "5/min"}),
    ("ratelimit.tighten", {"per_token": "5/min", "subject": ADMIN.subject}),
    ("egress.restrict", {"max_bytes": "1024", "server": "crm"}),
    ("stepup.require", {"server": "crm"}),
    ("policy.freeze", {}),
)
"""The same, overlapping and different scopes: both incidents draw from these."""


@pytest.mark.parametrize("seed", range(4))
def test_i4_a_release_of_one_incident_never_changes_the_effect_of_another(store: Store, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same cases in every run
    given = [
        give(store, dice.choice("AB"), *dice.choice(SCOPES), ttl=dice.uniform(600, 3600)) for _ in range(14)
    ]
    of_b = [each for each in given if each.incident == "B"]
    effect = answers(compiled(of_b, epoch=0))
    of_a = [each for each in given if each.incident == "A"]
    dice.shuffle(of_a)
    for count, lease in enumerate(of_a, 1):
        leases.release(store, id=lease.id, actor="ops", reason="over", now=NOW + 1)
        held = leases.load(store, now=NOW + 1)
        rest = [*of_b, *of_a[count:]]
        assert {each.id for each in held.held} == {each.id for each in rest}
        assert joined(held.held) == joined(rest)
        assert join(joined(of_b), joined(held.held)) == joined(held.held)  # nothing of B was loosened
        assert answers(held).keys() >= effect.keys()
    assert answers(leases.load(store, now=NOW + 1)) == effect


def give(store: Store, incident: str, action: Action, selector: dict[str, str], *, ttl: float) -> Lease:
    return leases.activate(
        store,
        action=action,
        selector=Selector(**selector),
        ttl=ttl,
        reason="attack",
        actor="ops",
        origin="api",
        now=NOW,
        incident=incident,
    ).lease


def joined(held: Iterable[Lease]) -> Settings:
    return join_all(delta(each.action, each.selector) for each in held)


def answers(part: Leases) -> dict[str, str]:
    """Whom the leases of a snapshot refuse or slow, and which lease says so."""
    index = part.index or Index()
    asked = {
        "inside": index.address("203.0.113.9", NOW + 1),
        "address": index.address("203.0.113.7", NOW + 1),
        "subject": index.subject(ADMIN, NOW + 1),
        "tenant": index.tenant(ADMIN.tenant or "acme", NOW + 1),
        "server": index.server("crm", NOW + 1),
        "frozen": index.freeze("policy.frozen", NOW + 1),
    }
    rate, pace = part.rate("per_token", "", NOW + 1), index.pace(ADMIN, ADMIN.subject, NOW + 1)
    asked |= {"rate": rate and rate[1], "pace": pace and pace[1]}
    return {name: lease.id for name, lease in asked.items() if lease is not None}
