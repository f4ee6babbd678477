"""Verified, resolved and watched over HTTP: what a refused step leaves, and how long a watch lasts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.core.clock import rfc3339
from airlock.incident.occasion import Facts, Verification
from airlock.model.lease import Lease
from airlock.store import incidents, leases
from tests.api.containing import House
from tests.gateway.parts import NOW
from tests.incident.life_parts import brought_to

DAY = 86400.0
GREEN = Facts(verification=Verification(at=NOW), containments=1, events=3)
"""Everything but the watch."""


def kept(house: House, status: Any = "MONITORING") -> str:
    incident = msgspec.structs.replace(brought_to(status), id="INC-20260101-000001")
    incidents.create(house.store, incident, ())
    house.facts = GREEN
    return incident.id


def step(house: House, part: str, body: object = b"") -> tuple[int, Any]:
    return house.ask("POST", f"/api/v1/incidents/INC-20260101-000001/{part}", body)


def watches(house: House) -> list[Lease]:
    return leases.listing(house.store, now=house.clock.wall(), action="monitoring.enhance")


def test_a_watch_begins_with_the_resolution(house: House) -> None:
    id = kept(house)
    status, answer = step(house, "resolve", {"watch": "24h", "resolution": "rolled back"})
    assert (status, answer["incident"]["status"]) == (200, "RESOLVED")
    (lease,) = watches(house)
    assert (lease.incident, lease.expires_at) == (id, house.clock.wall() + DAY)


def test_a_step_that_is_refused_leaves_no_watch(house: House) -> None:
    kept(house)
    house.facts = msgspec.structs.replace(GREEN, verification=None)
    assert step(house, "resolve", {"watch": "24h"}) == (409, "guard_failed")
    assert watches(house) == []
    missing = msgspec.json.decode(house.body)["missing"]
    assert [each["key"] for each in missing] == ["verification"]
    assert "airlock incident verify INC-20260101-000001" in missing[0]["text"]


@pytest.mark.parametrize(
    ("watch", "told"),
    [
        ("1h", (409, "guard_failed")),
        ("", (409, "guard_failed")),
        ("soon", (422, "invalid_params")),
        ("73h", (422, "duration_too_long")),
    ],
)
def test_a_watch_that_is_too_short_or_no_time_does_not_resolve(
    house: House, watch: str, told: tuple[int, str]
) -> None:
    kept(house)
    assert step(house, "resolve", {"watch": watch}) == told
    assert watches(house) == []


def test_what_is_watched_already_is_not_watched_twice(house: House) -> None:
    id = kept(house, "RESOLVED")
    status, first = step(house, "watch", {"lasting": "48h"})
    assert (status, first["incident"]) == (200, id)
    assert first["expires_at"] == rfc3339(house.clock.wall() + 2 * DAY)
    assert step(house, "watch")[1]["lease"] == first["lease"]
    assert len(watches(house)) == 1


def test_what_people_still_work_on_is_not_watched(house: House) -> None:
    kept(house, "INVESTIGATING")
    assert step(house, "watch") == (409, "guard_failed")
    assert watches(house) == []


def test_what_checks_found_is_noted_by_whoever_ran_them(house: House) -> None:
    id = kept(house)
    seen = [{"check": "live", "result": "ok", "observed": "alive"}]
    status, _ = step(house, "verify", {"runs": [{"check": "live", "exit": 0, "seen": seen}]})
    assert status == 200
    events = [each.event for each in incidents.timeline(house.store, id)]
    (noted,) = [each for each in events if each.kind == "verification_run"]
    assert (noted.actor.type, noted.details["passed"]) == ("human", True)
    assert step(house, "verify", {"runs": []}) == (422, "verification_invalid")
    assert step(house, "verify", {"runs": [{"check": "nothing", "exit": 0}]}) == (422, "invalid_params")
