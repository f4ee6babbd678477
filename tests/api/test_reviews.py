"""Counterfactuals over HTTP: worked out by a program of their own, kept on the timeline, shown again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airlock.api import reviews
from airlock.core.config import Config
from airlock.incident.counterfactuals import Question
from airlock.store import alerts, incidents
from airlock.store.changes import INCIDENTS
from tests.api.containing import House
from tests.incident.test_counterfactuals import Planted

ID = "INC-20260101-000001"
WHERE = f"/api/v1/reviews/{ID}/counterfactuals"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


def kept(house: House, planted: Planted) -> None:
    asked = planted.question()
    incidents.create(house.store, asked.incident, ())
    with house.store.change(INCIDENTS) as change:
        for alert in asked.alerts:
            found = msgspec.structs.replace(alert, incident=ID)
            alerts.fold(
                change,
                [found.finding],
                lambda _, finding, found=found: msgspec.structs.replace(found, finding=finding),
                lambda _: "fingerprint",
                now=planted.detected,
            )
    house.base = Config(data_dir=str(planted.path.parent))


def test_the_answer_stands_on_the_timeline(house: House, planted: Planted) -> None:
    kept(house, planted)
    assert house.ask("GET", WHERE) == (404, "counterfactuals_unknown")
    status, answer = house.ask("POST", WHERE, {"days": 10})
    assert status == 200
    assert any("rule MCP-001 at count=10" in line for line in answer["lines"])
    assert house.ask("GET", WHERE) == (200, answer)
    event = incidents.timeline(house.store, ID)[-1].event
    assert (event.kind, event.basis, event.details["digest"]) == ("query_run", "inferred", answer["digest"])
    assert event.refs


def test_what_cannot_be_asked_is_refused(house: House, planted: Planted) -> None:
    assert house.ask("POST", WHERE) == (404, "incident_unknown")
    assert house.ask("GET", WHERE) == (404, "incident_unknown")
    kept(house, planted)
    assert house.ask("POST", WHERE, {"days": 0}) == (422, "invalid_params")
    house.parts.reviews._busy = True  # pyright: ignore[reportPrivateUsage] # another one runs
    assert house.ask("POST", WHERE) == (409, "counterfactuals_running")


def test_a_log_that_is_not_there_is_a_fault(house: House, planted: Planted, tmp_path: Path) -> None:
    kept(house, planted)
    house.base = Config(data_dir=str(tmp_path / "none"))
    assert house.ask("POST", WHERE) == (503, "counterfactuals_failed")


def test_a_program_that_takes_too_long_is_ended(
    house: House, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(house, planted)
    monkeypatch.setattr(reviews, "PATIENCE", 0.001)
    assert house.ask("POST", WHERE) == (503, "counterfactuals_failed")
    assert incidents.timeline(house.store, ID) == []


def test_questions_travel_whole(planted: Planted) -> None:
    asked = planted.question()
    assert msgspec.json.decode(msgspec.json.encode(asked), type=Question) == asked
