"""An alert and the incident that seemed to be over: which findings open it again."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from airlock.incident import alerts as states
from airlock.incident import declaring
from airlock.model.incident import Alert, Finding, Status
from airlock.store import alerts, incidents
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from tests.app.play_parts import opened
from tests.incident.life_parts import BOB, MINUTE, NOW, brought_to
from tests.incident.test_alerts import finding

MITIGATED = NOW - 10 * MINUTE


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    store = opened(tmp_path / "data")
    yield store
    store.close()


def alerted(store: Store, what: Finding) -> Alert:
    with store.change(INCIDENTS) as change:
        return alerts.fold(
            change,
            (what,),
            lambda before, it: states.folded(before, it, NOW, "alert-1"),
            states.fingerprint,
            now=NOW,
        )[0]


@pytest.mark.parametrize(
    ("until", "rows", "status"),
    [
        (MITIGATED - 1, ("row-1",), "MONITORING"),
        (MITIGATED, ("row-1",), "MONITORING"),
        (MITIGATED + 1, ("row-1",), "INVESTIGATING"),
        (MITIGATED, (), "INVESTIGATING"),
    ],
    ids=["from before", "from the moment itself", "from afterwards", "without rows"],
)
def test_what_is_found_in_rows_up_to_the_mitigation_opens_nothing_again(
    store: Store, until: float, rows: tuple[str, ...], status: Status
) -> None:
    over = msgspec.structs.replace(brought_to("MONITORING"), mitigated_at=MITIGATED)
    incidents.create(store, over, ())
    alert = alerted(store, finding(since=until - 60, until=until, event_ids=rows))
    after = declaring.attach(store, alert.id, over.id, BOB, now=NOW)
    record = incidents.get(store, over.id)
    assert record is not None
    assert (record.status, after.incident) == (status, over.id)
