"""What is true outside of a record: evidence counts as long as it is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from airlock.app.incident_facts import gather
from airlock.incident.evidence.verify_bundle import TAGS
from airlock.store import incidents
from tests.incident.evidence.parts import INCIDENT, House


@pytest.mark.parametrize("gone", ["", TAGS, "manifest-sha256.txt", "data/record/incident.json"])
def test_a_sealed_bundle_counts_while_it_stands_where_it_was_closed(tmp_path: Path, gone: str) -> None:
    house = House(tmp_path)
    house.open_incident()
    bag = house.path(house.seal(house.collect(quick=True)))
    record = incidents.get(house.store, INCIDENT)
    assert record is not None
    assert gather(house.store, record, house.clock.wall(), data=house.data).bundle_verified
    (bag / gone).unlink() if gone else shutil.rmtree(bag)
    after = gather(house.store, record, house.clock.wall(), data=house.data)
    house.close()
    assert (after.bundle_sealed, after.bundle_verified) == (True, False)
