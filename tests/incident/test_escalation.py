"""The ladder: who is called in by time, impact and complexity."""

from __future__ import annotations

import msgspec
import pytest

from airlock.incident import escalation, keeping, lifecycle
from airlock.incident.escalation import LADDER
from airlock.incident.orders import Acknowledge, Edit, Escalate, RaiseFlags, Reopen
from airlock.model.incident import Decided, Incident
from airlock.model.lease import Unfit
from tests.incident.life_parts import BOB, HOUR, MINUTE, NOW, at, brought_to, opened


def levels(decided: Decided) -> list[object]:
    return [event.details["level"] for event in decided.events if event.kind == "escalated"]


def answered(incident: Incident, level: str = "L5", now: float = NOW) -> Incident:
    order = Acknowledge(level=level)  # pyright: ignore[reportArgumentType]
    return lifecycle.acknowledge(incident, order, at(now)).incident


@pytest.mark.parametrize(
    ("severity", "after", "called"),
    [
        ("P0", 29, []),
        ("P0", 30, ["L2"]),
        ("P0", 60, ["L2", "L3"]),
        ("P1", 30, ["L2"]),
        ("P1", 239, ["L2"]),
        ("P1", 240, ["L2", "L3"]),
    ],
)
def test_time_calls_the_next_level(severity: str, after: int, called: list[str]) -> None:
    it = answered(opened(severity))  # pyright: ignore[reportArgumentType]
    assert levels(escalation.news(it, NOW + after * MINUTE)) == called


def test_a_p0_pages_the_first_level_at_once_and_a_p2_when_it_is_declared() -> None:
    assert set(opened("P0").escalated) == {"L1"}
    assert opened("P2").escalated == {}
    assert set(brought_to("INVESTIGATING", opened("P2")).escalated) == {"L1"}


def test_a_page_without_an_answer_goes_up_and_up() -> None:
    it, called = opened("P0"), list[object]()
    for minute in range(1, 25):
        found = escalation.news(it, NOW + minute * MINUTE)
        it = found.incident
        called += [(minute, level) for level in levels(found)]
    assert called == [(5, "L2"), (10, "L3"), (15, "L4"), (20, "L5")]


def test_who_answers_stops_it() -> None:
    it = answered(opened("P0"), "L1", NOW + MINUTE)
    assert levels(escalation.news(it, NOW + 29 * MINUTE)) == []
    it = answered(opened("P0", commander=""), "L1", NOW + MINUTE)
    found = escalation.news(it, NOW + 16 * MINUTE)
    assert levels(found) == ["L2"]
    assert found.events[0].details["triggers"] == ["no commander after 15 minutes"]
    assert found.events[0].occurred_at == NOW + 15 * MINUTE


@pytest.mark.parametrize(
    ("flag", "called"),
    [
        ("data_loss_suspected", ["L2"]),
        ("architecture_change", ["L2"]),
        ("sensitive_data_exposed", ["L3", "external"]),
        ("regulatory", ["L3", "external"]),
        ("customer_impact", ["L3"]),
        ("compliance_violation", ["L3", "external"]),
        ("breach_confirmed", ["L2", "L4", "external", "external"]),
        ("media", ["L5", "external"]),
        ("third_party_failure", ["external"]),
    ],
)
def test_a_flag_calls_at_once(flag: str, called: list[str]) -> None:
    decided = keeping.raise_flags(opened("P1"), RaiseFlags(flags=(flag,), reason="seen"), at())
    assert levels(decided) == called
    again = keeping.raise_flags(decided.incident, RaiseFlags(flags=(flag,)), at(NOW + MINUTE))
    assert again.events == ()


def test_a_breach_calls_security_and_legal() -> None:
    decided = keeping.edit(opened("P0"), Edit(is_suspected_breach=True), at())
    parties = [
        event.details["parties"] for event in decided.events if event.details.get("level") == "external"
    ]
    assert parties == [["security_team"], ["legal_team"]]


def test_a_declared_security_incident_calls_security() -> None:
    it = brought_to("INVESTIGATING", opened("P2", type="security_incident"))
    assert set(it.escalated) == {"L1", "security_team"}


def test_several_services_and_an_unknown_cause_call_the_second_level() -> None:
    decided = keeping.edit(opened("P2"), Edit(affected_services=("docs", "files")), at())
    assert levels(decided) == ["L2"]
    it = answered(opened("P2"))
    assert levels(escalation.news(it, NOW + 30 * MINUTE)) == ["L2"]
    known = msgspec.structs.replace(it, root_cause="a leak")
    assert levels(escalation.news(known, NOW + 30 * MINUTE)) == []
    assert levels(escalation.news(answered(opened("P3")), NOW + 30 * MINUTE)) == []


def test_nobody_is_called_once_it_is_resolved() -> None:
    assert escalation.news(brought_to("RESOLVED"), NOW + 100 * HOUR).events == ()


def test_a_reopened_incident_calls_again() -> None:
    it = brought_to("RESOLVED")
    again = lifecycle.reopen(it, Reopen(reason="back"), at(NOW + HOUR))
    assert levels(again) == ["L1"]
    keys = {event.once for event in again.events if event.kind == "escalated"}
    assert keys == {f"escalated:L1:{NOW + HOUR:.0f}"}


def test_a_person_calls_a_level_also_twice() -> None:
    it = opened("P2")
    for minute in (1, 2):
        decided = keeping.escalate(it, Escalate(level="L3", reason="I need help"), at(NOW + minute, BOB))
        assert levels(decided) == ["L3"]
        assert decided.events[0].once == ""
        assert decided.events[0].details["parties"] == ["security_team"]
        it = decided.incident
    with pytest.raises(Unfit, match="reason"):
        keeping.escalate(it, Escalate(level="L3", reason=""), at())


def test_every_level_says_who_it_is() -> None:
    assert all(step.who and step.contacts for step in LADDER.values())
