"""The beginning of a record: its id, and the severity that somebody chose or the facts propose."""

from __future__ import annotations

import pytest

from airlock.incident.opening import incident_id, open_incident, read_id
from airlock.incident.orders import Open
from airlock.incident.severity import FLAGS, MATRIX, cadence
from airlock.model.incident import SEVERITIES
from airlock.model.lease import Unfit
from tests.incident.life_parts import DETECTOR, HOUR, NOW, at, kinds

DAY_OF_NOW = incident_id(NOW)


def test_an_id_is_the_time_of_the_opening() -> None:
    assert incident_id(1_795_000_000.0) == "INC-20261118-110640"
    assert incident_id(1_795_000_000.0, 2) == "INC-20261118-110640-2"
    assert open_incident(Open(), at()).incident.id == DAY_OF_NOW
    assert open_incident(Open(), at(), nth=3).incident.id == f"{DAY_OF_NOW}-3"


def test_an_id_of_this_form_is_adopted() -> None:
    assert open_incident(Open(id="INC-20260101-000000"), at()).incident.id == "INC-20260101-000000"
    assert read_id("INC-20260101-000000-2") == "INC-20260101-000000-2"


@pytest.mark.parametrize(
    "id",
    [
        "",
        "INC-1",
        "inc-20260101-000000",
        "INC-20261301-000000",
        "INC-20260101-000000\n",
        "../x",
        "INC-20260101-000000-0",
    ],
)
def test_any_other_id_is_refused(id: str) -> None:
    with pytest.raises(Unfit) as refused:
        read_id(id)
    assert refused.value.reason == "incident_id_invalid"


@pytest.mark.parametrize(
    ("order", "severity", "why"),
    [
        (Open(type="service_outage"), "P0", "usual for service_outage"),
        (Open(type="performance_degradation"), "P2", "usual for performance_degradation"),
        (Open(rules=("MCP-001",), alerted="P2"), "P1", "usual for security_incident"),
        (Open(type="performance_degradation", alerted="P3"), "P3", "that of its gravest alert"),
        (Open(rules=("MCP-002",), alerted="P1"), "P1", "that of its gravest alert"),
        (
            Open(rules=("MCP-023",), alerted="P2"),
            "P0",
            "the audit log does not match its chain or checkpoint",
        ),
        (Open(rules=("MCP-022",), severity="P3"), "P1", "the audit log does not record"),
        (Open(is_suspected_breach=True, severity="P2"), "P0", "a breach is suspected"),
        (Open(subtype="data_breach"), "P0", "a breach is suspected"),
        (Open(subtype="audit_events_not_recording", severity="P3"), "P1", "the audit log does not record"),
        (Open(flags=("cross_tenant_success",)), "P0", "one tenant reached data of another"),
        (Open(severity="P3"), "P3", "chosen"),
        (Open(severity="P0", flags=("fail_open_active",)), "P0", "chosen"),
    ],
)
def test_a_severity_is_chosen_or_proposed_and_never_below_its_floor(
    order: Open, severity: str, why: str
) -> None:
    begun = open_incident(order, at())
    assert (begun.incident.severity, begun.events[0].details["why"]) == (severity, why)


def test_a_record_begins_in_triage_with_six_questions() -> None:
    begun = open_incident(
        Open(title="Odd calls", detected_at=NOW - HOUR, estimated_start=NOW - 2 * HOUR, refs=("row-1",)),
        at(actor=DETECTOR),
    )
    it = begun.incident
    assert (it.status, it.opened_at, it.detected_at, it.clocks_from) == ("TRIAGE", NOW, NOW - HOUR, NOW)
    assert [task.key for task in it.tasks if task.done_at is None] == [
        "affected",
        "security",
        "impact",
        "commander",
        "ticket",
    ]
    assert kinds(begun)[:2] == ["detected", "clock_started"]
    seen = begun.events[0]
    assert (seen.occurred_at, seen.basis, seen.refs) == (NOW - HOUR, "observed", ("row-1",))


def test_who_opens_can_name_the_commander() -> None:
    begun = open_incident(Open(commander="alice", severity="P2"), at())
    assert begun.incident.person("incident_commander") == "alice"
    assert "role_assumed" in kinds(begun)
    assert begun.incident.engaged_at == NOW


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (Open(detected_at=NOW + 1), "time_invalid"),
        (Open(estimated_start=NOW + 1), "time_invalid"),
        (Open(flags=("nonsense",)), "flag_unknown"),
        (Open(title="x" * 10_001), "text_invalid"),
        (Open(symptoms=("x" * 10_001,)), "text_invalid"),
        (Open(symptoms=("x",) * 201), "text_invalid"),
        (Open(id="INC"), "incident_id_invalid"),
    ],
)
def test_a_wrong_order_opens_nothing(order: Open, reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        open_incident(order, at())
    assert refused.value.reason == reason


def test_text_and_clock_say_the_same_cadence() -> None:
    assert [cadence(severity) for severity in SEVERITIES] == [
        "every 15 minutes",
        "every 30 minutes",
        "every 2 hours",
        "every 24 hours",
    ]
    assert {row.pagerduty for row in MATRIX.values()} == {"critical", "error", "warning", "info"}


def test_every_flag_says_what_it_means() -> None:
    assert all(FLAGS.values())
