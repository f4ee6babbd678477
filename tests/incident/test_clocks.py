"""Clocks: what is due when, computed from the record at the time of asking."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident import clocks, keeping, lifecycle, severity
from airlock.incident.clocks import Clock, Term
from airlock.incident.guard import GuardFailed
from airlock.incident.orders import (
    Acknowledge,
    EvidenceSafe,
    Merge,
    RaiseFlags,
    Reopen,
    SetSeverity,
    UpdateSent,
)
from airlock.model.incident import SEVERITIES, Incident, IncidentSeverity, Status
from tests.incident.life_parts import DAY, HOUR, MINUTE, NOW, at, brought_to, kinds, opened


def clock(incident: Incident, name: str, now: float) -> Clock:
    return next(each for each in clocks.clocks(incident, now) if each.name == name)


def due(incident: Incident) -> dict[str, float]:
    """Due times by clock, in seconds after NOW."""
    found = clocks.clocks(incident, NOW)
    return {each.name: each.due_at - NOW for each in found if each.due_at is not None}


def test_the_matrix_says_when_everything_is_due() -> None:
    assert due(opened("P0")) == {
        "response": 15 * MINUTE,
        "update": 15 * MINUTE,
        "L2": 30 * MINUTE,
        "L3": HOUR,
        "evidence": 15 * MINUTE,
    }
    assert due(opened("P1")) == {
        "response": HOUR,
        "update": 30 * MINUTE,
        "L2": 30 * MINUTE,
        "L3": 4 * HOUR,
        "evidence": HOUR,
    }
    assert due(opened("P2")) == {"response": 4 * HOUR, "update": 2 * HOUR}
    assert due(opened("P3")) == {"response": DAY, "update": DAY}


@pytest.mark.parametrize(
    ("after", "state"),
    [(0, "running"), (47, "running"), (48, "warned"), (59, "warned"), (60, "breached"), (600, "breached")],
)
def test_a_clock_runs_warns_and_is_breached(after: int, state: str) -> None:
    found = clock(opened("P1"), "response", NOW + after * MINUTE)
    assert (found.state, found.breached_at) == (state, NOW + HOUR if state == "breached" else None)


def test_a_clock_is_met_in_time_or_late() -> None:
    seen = lifecycle.acknowledge(opened("P1"), Acknowledge(), at(NOW + MINUTE)).incident
    assert (clock(seen, "response", NOW + DAY).state, clock(seen, "response", NOW + DAY).met_by) == (
        "met",
        "acknowledged",
    )
    late = lifecycle.acknowledge(opened("P1"), Acknowledge(), at(NOW + 2 * HOUR))
    assert clock(late.incident, "response", NOW + DAY).state == "met_late"
    breach = [event for event in late.events if event.kind == "clock_breached"]
    assert [event.occurred_at for event in breach] == [NOW + 30 * MINUTE, NOW + HOUR, NOW + HOUR]


def test_the_clock_of_the_updates_starts_again_with_each() -> None:
    it = opened("P0")
    order = UpdateSent(message="m-1", template="update", audience="internal", receipt="202")
    sent = keeping.update_sent(it, order, at(NOW + 10 * MINUTE))
    assert "comm_sent" in kinds(sent)
    assert clock(sent.incident, "update", NOW).due_at == NOW + 25 * MINUTE
    assert clock(sent.incident, "update", NOW).started_by == "comm_sent"


def test_an_update_after_a_rise_counts_from_itself() -> None:
    it = opened("P2")
    risen = lifecycle.set_severity(it, SetSeverity(severity="P0", reason="more"), at(NOW + HOUR)).incident
    assert clock(risen, "update", NOW).due_at == NOW + HOUR + 15 * MINUTE
    order = UpdateSent(message="m-1", template="update")
    sent = keeping.update_sent(risen, order, at(NOW + HOUR + MINUTE)).incident
    assert clock(sent, "update", NOW).due_at == NOW + HOUR + 16 * MINUTE


def test_no_update_is_due_once_it_is_over() -> None:
    assert clocks.next_update(opened("P1")) == NOW + 30 * MINUTE
    assert clocks.next_update(brought_to("RESOLVED")) is None


def test_evidence_meets_its_clock_once() -> None:
    safe = keeping.evidence_safe(opened("P0"), EvidenceSafe(bundle="b-1", digest="ab"), at(NOW + MINUTE))
    assert kinds(safe) == ["evidence_collected", "clock_met"]
    assert clock(safe.incident, "evidence", NOW + HOUR).state == "met"
    again = keeping.evidence_safe(safe.incident, EvidenceSafe(bundle="b-2"), at(NOW + 2 * MINUTE))
    assert kinds(again) == ["evidence_collected"]


def test_the_review_is_due_three_days_after_the_resolution() -> None:
    it = brought_to("RESOLVED")
    assert clock(it, "review", NOW).due_at == NOW + 72 * HOUR
    assert clock(it, "review", NOW + 73 * HOUR).state == "breached"
    assert clock(brought_to("IN_REVIEW"), "review", NOW).state == "met"
    quiet = brought_to("RESOLVED", opened("P2"))
    assert [each.name for each in clocks.clocks(quiet, NOW)] == ["response", "update"]
    assert severity.review_mandatory(msgspec.structs.replace(quiet, repeated=True))
    assert severity.review_mandatory(msgspec.structs.replace(quiet, type="security_incident"))


def test_nothing_runs_after_the_end() -> None:
    it = brought_to("RESOLVED", opened("P2"))
    late = NOW + 100 * DAY
    assert {each.name: each.state for each in clocks.clocks(it, late)} == {"response": "met", "update": "met"}


def test_the_response_to_a_duplicate_is_paused() -> None:
    merged = lifecycle.merge(opened("P1"), Merge(into="INC-20261122-210000"), at(NOW + MINUTE)).incident
    found = clock(merged, "response", NOW + DAY)
    assert (found.state, found.paused_reason) == ("paused", "duplicate of INC-20261122-210000")
    assert clock(merged, "update", NOW + DAY).state == "stopped"


def test_who_reads_two_hours_late_finds_each_breach_once_with_its_due_time() -> None:
    it, now = opened("P1"), NOW + 2 * HOUR
    found = clocks.news(it, now, clocks.clocks(it, now))
    assert {(event.kind, event.details["clock"], event.occurred_at - NOW) for event in found.events} == {
        ("clock_breached", "response", HOUR),
        ("clock_breached", "update", 30 * MINUTE),
        ("clock_breached", "evidence", HOUR),
        ("clock_warned", "L2", 24 * MINUTE),
    }
    assert {event.at for event in found.events} == {now}
    again = clocks.news(found.incident, now + MINUTE, clocks.clocks(found.incident, now + MINUTE))
    assert again.events == ()
    assert len({event.once for event in found.events}) == 4


def test_a_warning_is_told_before_the_breach_and_not_after_it() -> None:
    it = opened("P2")
    warned = clocks.news(it, NOW + 96 * MINUTE, clocks.clocks(it, NOW + 96 * MINUTE))
    assert [(event.kind, event.occurred_at) for event in warned.events] == [
        ("clock_warned", NOW + 96 * MINUTE)
    ]
    later = NOW + 2 * HOUR
    assert [event.kind for event in clocks.news(warned.incident, later, clocks.clocks(it, later)).events] == [
        "clock_breached"
    ]


def test_a_lease_warns_and_breaches_nothing() -> None:
    term = Term(lease="l-1", action="ip.block", started_at=NOW, expires_at=NOW + HOUR)
    (early,) = clocks.lease_clocks([term], NOW + 47 * MINUTE)
    (near,) = clocks.lease_clocks([term], NOW + 48 * MINUTE)
    (over,) = clocks.lease_clocks([term], NOW + 61 * MINUTE)
    assert (early.state, near.state, over.breached_at) == ("running", "warned", None)


def test_a_rise_keeps_what_is_due_earlier() -> None:
    it = opened("P1")
    when = at(NOW + 10 * MINUTE)
    risen = lifecycle.set_severity(it, SetSeverity(severity="P0", reason="more"), when).incident
    assert due(risen) == {
        "response": 25 * MINUTE,
        "update": 25 * MINUTE,
        "L2": 30 * MINUTE,
        "L3": 70 * MINUTE,
        "evidence": 25 * MINUTE,
    }
    fallen = lifecycle.set_severity(risen, SetSeverity(severity="P1", reason="less"), when).incident
    assert due(fallen) == due(it)


LIVING: tuple[Status, ...] = (
    "TRIAGE",
    "INVESTIGATING",
    "IDENTIFIED",
    "MONITORING",
    "RESOLVED",
    "IN_REVIEW",
)


@given(
    status=st.sampled_from(LIVING),
    begin=st.sampled_from(SEVERITIES),
    changes=st.lists(st.tuples(st.sampled_from(SEVERITIES), st.integers(1, 200)), max_size=6),
    suspected=st.booleans(),
)
def test_deadlines_follow_the_severity_and_floors_hold(
    status: Status, begin: IncidentSeverity, changes: list[tuple[IncidentSeverity, int]], suspected: bool
) -> None:
    """In every status: a rise never moves a deadline back, a fall counts anew, and no floor is undercut."""
    it, now = brought_to(status, opened(begin)), NOW
    if suspected:
        it = keeping.raise_flags(it, RaiseFlags(flags=("audit_not_recording",)), at(now)).incident
    for new, minutes in changes:
        now += minutes * MINUTE
        before, order = it, SetSeverity(severity=new, reason="as it is")
        if new == it.severity:
            continue
        try:
            it = lifecycle.set_severity(it, order, at(now)).incident
        except GuardFailed:
            assert suspected and new in ("P2", "P3")
            continue
        _deadlines_fit(before, it, now)
        assert it.status == before.status
        floor = severity.floor(it)
        assert floor is None or not severity.graver(floor.severity, it.severity)


def _deadlines_fit(before: Incident, after: Incident, now: float) -> None:
    for rule in clocks.RULES:
        old, new = clocks.due(before, rule.name), clocks.due(after, rule.name)
        limit = clocks.limit_of(after.severity, rule.name)
        if severity.graver(after.severity, before.severity):
            fresh = [] if limit is None else [now + limit]
            expected = min([*fresh, *([] if old is None else [old])], default=None)
            assert new == expected
        else:
            assert new == (None if limit is None else after.clocks_from + limit)


def test_what_was_reopened_is_due_again() -> None:
    it = brought_to("RESOLVED")
    later = NOW + 5 * HOUR
    again = lifecycle.reopen(it, Reopen(reason="back"), at(later)).incident
    assert clock(again, "update", later).due_at == later + 30 * MINUTE
    assert clock(again, "update", later).started_by == "reopened"
    assert again.noticed == ()
