"""Grants and what is owed for them, over HTTP."""

from __future__ import annotations

import msgspec
import pytest

from airlock.incident.debt import UNTOLD
from airlock.model.grant import Debt, Grant
from airlock.model.incident import Incident
from airlock.store import grants, incidents
from airlock.store.changes import GRANTS
from airlock.store.database import Store
from tests.api.containing import House
from tests.api.doors import ADMIN
from tests.gateway.parts import NOW

ID = "INC-20261122-180000"
GRANT = Grant(
    id="g", scope="fail_open", incident=ID, proposal="p", people=("i|a", "i|b"), reason="policy is down",
    granted_at=NOW - 60, expires_at=NOW + 600,
)  # fmt: skip
OWED = Debt(id="d1", grant="g", incident=ID, state="open", at="2026-11-22 18:00:01.000000", why="not asked")
LOST = msgspec.structs.replace(OWED, id="d2", why=f"{UNTOLD}: it was erased")
WAIVE = f"/api/v1/incidents/{ID}/debt"


@pytest.fixture
def kept(store: Store) -> Store:
    incidents.create(
        store,
        Incident(
            id=ID, title="t", type="policy_failure", severity="P1", status="INVESTIGATING",
            detection_source="gateway_detection", opened_at=NOW, detected_at=NOW, clocks_from=NOW,
        ),
        [],
    )  # fmt: skip
    with store.change(GRANTS) as change:
        grants.give(change, GRANT)
    grants.owe(store, [OWED, LOST])
    return store


def said(store: Store) -> list[str]:
    return [each.event.summary for each in incidents.timeline(store, ID)]


def test_one_person_ends_a_grant_and_the_timeline_has_it(kept: Store) -> None:
    house = House(kept)
    status, answer = house.ask("POST", "/api/v1/grants/g/end", {"reason": "enough"})
    assert (status, answer["grant"]["in_force"], answer["grant"]["end_reason"]) == (200, False, "enough")
    assert said(kept) == ["Failing open was ended: enough"]
    assert house.ask("POST", "/api/v1/grants/g/end") == (409, "grant_ended")
    assert [each["in_force"] for each in house.ask("GET", "/api/v1/grants")[1]["grants"]] == [False]


def test_two_people_waive_what_nobody_can_tell_and_nothing_else(kept: Store) -> None:
    house = House(kept)
    why = {"reason": "a public page"}
    assert house.ask("GET", WAIVE)[1]["open"] == 2
    assert house.ask("POST", f"{WAIVE}/d1/waive", why) == (409, "debt_unjudged")
    assert house.ask("POST", f"{WAIVE}/d9/waive", why) == (404, "debt_unknown")
    assert house.ask("POST", f"{WAIVE}/d2/waive", {"reason": " "}) == (422, "text_invalid")
    robot = House(kept, who=msgspec.structs.replace(ADMIN, actor=("agent",)))
    assert robot.ask("POST", f"{WAIVE}/d2/waive", why) == (403, "approver_required")
    assert house.ask("POST", f"{WAIVE}/d2/waive", why)[0] == 202
    other_name = House(kept, who=msgspec.structs.replace(ADMIN, issuer="https://other.example"))
    assert other_name.ask("POST", f"{WAIVE}/d2/waive", why) == (409, "approver_repeated")
    assert said(kept) == ["A call that passed without a decision was waived: a public page"]
    second = House(kept, who=msgspec.structs.replace(ADMIN, subject="bea"))
    assert second.ask("POST", f"{WAIVE}/d2/waive", why)[1]["debt"][0]["state"] == "waived"
    assert (owed := house.ask("GET", WAIVE)[1])["open"] == 1
    assert owed["counting"] == ["g"]
    grants.counted(kept, id="g", now=NOW)
    assert house.ask("GET", WAIVE)[1]["counting"] == []
    assert len(said(kept)) == 2
