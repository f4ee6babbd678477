"""Duties to notify: dates by the file, started and met by people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airlock.incident import regulation
from airlock.incident.clocks import Clock
from airlock.incident.orders import MeetRegulatory, StartRegulatory, Trigger
from airlock.incident.regulation import add, chosen, clocks, meet, parse, shipped, start
from airlock.model.incident import Incident
from airlock.model.lease import Unfit
from tests.incident.life_parts import DAY, HOUR, NOW, at, kinds, opened


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def reason(step: Callable[[], object]) -> str:
    with pytest.raises(Unfit) as refused:
        step()
    return refused.value.reason


def started(
    id: str, trigger: Trigger = "awareness", when: float = NOW, it: Incident | None = None
) -> Incident:
    order = StartRegulatory(id=id, trigger=trigger, at=when)
    return start(opened() if it is None else it, order, at(), shipped()).incident


def running(it: Incident, now: float = NOW) -> dict[str, Clock]:
    return {clock.name: clock for clock in clocks(it, shipped(), now)}


@pytest.mark.parametrize(
    ("since", "limit", "until"),
    [
        ("2026-11-22T21:07", "72h", "2026-11-25T21:07"),
        ("2026-11-22T21:07", "15d", "2026-12-07T21:07"),
        ("2026-01-31T12:00", "1mo", "2026-02-28T12:00"),
        ("2027-12-15T12:00", "2mo", "2028-02-15T12:00"),
        ("2026-11-20T10:00", "4bd", "2026-11-26T10:00"),  # a Friday
        ("2026-11-21T10:00", "1bd", "2026-11-23T10:00"),  # a Saturday
    ],
)
def test_a_limit_leads_to_a_date(since: str, limit: str, until: str) -> None:
    assert add(moment(since), limit) == moment(until)


def test_gdpr_is_due_after_72_hours() -> None:
    begun = start(opened(), StartRegulatory(id="gdpr", trigger="awareness"), at(), shipped())
    assert kinds(begun) == ["clock_started"]
    assert begun.events[0].visibility == "legal"
    clock = running(begun.incident)["gdpr:notification"]
    assert (clock.due_at, clock.state) == (NOW + 72 * HOUR, "running")
    assert clock.note.endswith("unreviewed")
    assert running(begun.incident, NOW + 80 * HOUR)["gdpr:notification"].breached_at == NOW + 72 * HOUR


def test_dora_is_due_by_classification_and_at_most_a_day_after_awareness() -> None:
    it = started("dora", when=NOW - 10 * HOUR)
    assert running(it)["dora:initial"].due_at == NOW + 14 * HOUR
    it = started("dora", "classification", NOW, it)
    found = running(it)
    assert found["dora:initial"].due_at == NOW + 4 * HOUR
    assert found["dora:intermediate"].due_at == NOW + 76 * HOUR
    assert found["dora:final_report"].due_at == add(NOW + 76 * HOUR, "1mo")
    met = meet(it, MeetRegulatory(id="dora", stage="initial", at=NOW - HOUR), at(), shipped())
    assert kinds(met) == ["clock_met"]
    found = running(met.incident)
    assert (found["dora:initial"].state, found["dora:intermediate"].due_at) == ("met", NOW + 71 * HOUR)
    again = running(started("dora", "awareness", NOW - HOUR, met.incident))
    assert again["dora:initial"].state == "met"


def test_nis2_and_sec_count_as_their_texts_say() -> None:
    found = running(started("nis2"))
    assert [clock.due_at for clock in found.values()] == [
        NOW + DAY,
        NOW + 3 * DAY,
        add(NOW + 3 * DAY, "1mo"),
    ]
    assert running(started("sec_8k", "materiality"))["sec_8k:filing"].due_at == add(NOW, "4bd")


def test_a_duty_without_a_date_has_a_clock_without_one() -> None:
    clock = running(started("ccpa"), NOW + 100 * DAY)["ccpa:notice"]
    assert (clock.due_at, clock.state) == (None, "no_limit")


def test_a_duty_does_not_apply_and_why() -> None:
    order = StartRegulatory(id="gdpr", not_applicable="no personal data")
    aside = start(started("gdpr"), order, at(), shipped())
    assert kinds(aside) == ["decision"]
    assert running(aside.incident) == {}
    assert aside.incident.regulatory[0].not_applicable.startswith("no personal data (https://idp")


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (StartRegulatory(id="hipaa", trigger="awareness"), "regulation_unknown"),
        (StartRegulatory(id="eu_ai_act", trigger="awareness"), "regulation_disabled"),
        (StartRegulatory(id="gdpr", trigger="materiality"), "regulation_trigger"),
        (StartRegulatory(id="gdpr"), "regulation_trigger"),
        (StartRegulatory(id="gdpr", trigger="awareness", at=NOW + 1), "time_invalid"),
    ],
)
def test_a_wrong_start_is_refused(order: StartRegulatory, word: str) -> None:
    assert reason(lambda: start(opened(), order, at(), shipped())) == word


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (MeetRegulatory(id="nis2", stage="early_warning"), "regulation_stage"),
        (MeetRegulatory(id="gdpr", stage="nonsense"), "regulation_stage"),
        (MeetRegulatory(id="gdpr", stage="notification", at=NOW + 1), "time_invalid"),
    ],
)
def test_a_wrong_stage_is_refused(order: MeetRegulatory, word: str) -> None:
    assert reason(lambda: meet(started("gdpr"), order, at(), shipped())) == word


ENTRY = """
- id: one
  title: One
  trigger: [awareness]
  source_url: https://law.example
  stages: [{name: first, limits: {awareness: 1h}}]
"""


def test_a_file_of_ones_own_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    file = tmp_path / "duties.yaml"
    file.write_text(ENTRY + "  reviewed_on: 2026-11-01\n  reviewer: counsel\n")
    assert chosen(str(file))["one"].reviewed
    assert chosen(None) is shipped()
    assert reason(lambda: chosen(str(tmp_path / "absent.yaml"))) == "regulations_invalid"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("id: one", "id: One!", "no id"),
        ("trigger: [awareness]", "trigger: []", "needs a trigger"),
        ("trigger: [awareness]", "trigger: [boredom]", "boredom"),
        ("1h", "soon", "no limit"),
        ("awareness: 1h", "materiality: 1h", "limits count from"),
        ("name: first", "name: ''", "a name of its own"),
        ("{awareness: 1h}", "{stage: 1h}, after: zero", "does not come before"),
        ("title: One", "titel: One", "titel"),
        ("[{name", "{name", "regulations"),
    ],
)
def test_a_wrong_file_is_refused_by_name(old: str, new: str, what: str) -> None:
    with pytest.raises(Unfit, match=r"duties\.yaml") as refused:
        parse(ENTRY.replace(old, new), "duties.yaml")
    assert refused.value.reason == "regulations_invalid"
    assert what in refused.value.text or what == "regulations"


def test_an_id_stands_in_a_file_once() -> None:
    assert reason(lambda: parse(ENTRY + ENTRY, "duties.yaml")) == "regulations_invalid"


def test_nothing_that_is_shipped_counts_as_reviewed() -> None:
    law = shipped()
    assert list(law) == ["gdpr", "ccpa", "sox", "nis2", "dora", "sec_8k", "eu_ai_act"]
    assert not any(duty.reviewed for duty in law.values())
    assert [id for id, duty in law.items() if not duty.enabled] == ["eu_ai_act"]
    assert regulation.clocks(opened(), law, NOW) == []
