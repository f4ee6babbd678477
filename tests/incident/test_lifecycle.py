"""The states of an incident: which steps there are, and what each needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident import lifecycle
from airlock.incident.guard import GuardFailed
from airlock.incident.lifecycle import TRANSITIONS, Step
from airlock.incident.occasion import Facts, HeldLease, Occasion, Verification
from airlock.incident.orders import (
    Acknowledge,
    Cancel,
    Close,
    Declare,
    Identify,
    Merge,
    Mitigate,
    Reopen,
    Resolve,
    SetSeverity,
    StartReview,
)
from airlock.model.incident import SEVERITIES, Decided, Incident, Status
from airlock.model.lease import Unfit
from tests.incident.life_parts import (
    ALICE,
    BOB,
    DAY,
    DETECTOR,
    GREEN,
    HOUR,
    MINUTE,
    NOW,
    answered,
    at,
    brought_to,
    closable,
    kinds,
    opened,
)

STATUSES: tuple[Status, ...] = (
    "TRIAGE",
    "INVESTIGATING",
    "IDENTIFIED",
    "MONITORING",
    "RESOLVED",
    "IN_REVIEW",
    "CLOSED",
)
STEPS: Mapping[Step, Callable[[Incident, Occasion], Decided]] = {
    "declare": lambda it, when: lifecycle.declare(it, Declare(commander="alice"), when),
    "identify": lambda it, when: lifecycle.identify(it, Identify(hypothesis="a leak"), when),
    "mitigate": lambda it, when: lifecycle.mitigate(it, Mitigate(), when),
    "resolve": lambda it, when: lifecycle.resolve(it, Resolve(resolution="rotated"), when),
    "reopen": lambda it, when: lifecycle.reopen(it, Reopen(reason="it is back"), when),
    "start_review": lambda it, when: lifecycle.start_review(
        it, StartReview(scheduled_for=(it.resolved_at or 0) + DAY), when
    ),
    "close": lambda it, when: lifecycle.close(closable(it), Close(summary="done"), when),
    "cancel": lambda it, when: lifecycle.cancel(it, Cancel(verdict="test", reason="a drill"), when),
    "merge": lambda it, when: lifecycle.merge(it, Merge(into="INC-20261122-210000"), when),
}


def missing(step: Callable[[], object]) -> list[str]:
    """The keys with which a step is refused."""
    with pytest.raises(GuardFailed) as refused:
        step()
    return [each.key for each in refused.value.missing]


@given(
    steps=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.booleans(), st.booleans()), max_size=12),
    severity=st.sampled_from(SEVERITIES),
)
def test_only_the_steps_of_the_table_lead_anywhere(
    steps: list[tuple[Step, bool, bool]], severity: str
) -> None:
    it, now = opened(severity), NOW  # pyright: ignore[reportArgumentType]
    for step, knows, green in steps:
        now += MINUTE
        before = answered(it, now) if knows and it.status not in lifecycle.ENDED else it
        sources, target = TRANSITIONS[step]
        try:
            after = STEPS[step](before, at(now, facts=GREEN if green else Facts()))
        except GuardFailed as refused:
            assert refused.missing
            assert before.status not in sources or not (green and knows)
            it = before
            continue
        assert before.status in sources
        assert after.incident.status == target
        assert [event.details for event in after.events if event.details.get("step") == step] == [
            {"step": step, "from": before.status, "to": target}
        ]
        it = after.incident


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_step_leads_from_the_statuses_of_the_table_alone(step: Step, status: Status) -> None:
    it = brought_to(status)
    sources, target = TRANSITIONS[step]
    it = answered(it) if status == "TRIAGE" else it
    if status in sources:
        assert STEPS[step](it, at()).incident.status == target
    else:
        assert missing(lambda: STEPS[step](it, at())) == ["status"]


def test_triage_is_not_resolved_in_one_step() -> None:
    assert missing(lambda: lifecycle.resolve(opened(), Resolve(), at())) == ["status"]


def test_the_public_is_told_four_words() -> None:
    assert [lifecycle.public_status(status) for status in STATUSES] == [
        "INVESTIGATING",
        "INVESTIGATING",
        "IDENTIFIED",
        "MONITORING",
        "RESOLVED",
        "RESOLVED",
        "RESOLVED",
    ]


def test_a_p2_is_declared_when_the_six_questions_are_answered() -> None:
    it = opened("P2", commander="")
    asked = missing(lambda: lifecycle.declare(it, Declare(), at()))
    assert asked == ["affected", "security", "impact", "commander", "ticket"]
    assert lifecycle.declare(answered(it), Declare(commander="alice"), at()).incident.declared_at == NOW


def test_questions_of_a_declared_p0_become_tasks_that_are_due_soon() -> None:
    declared = lifecycle.declare(opened("P0", commander=""), Declare(), at(NOW + MINUTE))
    tasks = {task.key: (task.done_at, task.due_at) for task in declared.incident.tasks}
    assert tasks.pop("severity") == (NOW, None)
    assert set(tasks.values()) == {(None, NOW + 16 * MINUTE)}
    assert declared.events[0].details["to"] == "INVESTIGATING"


def test_a_cause_is_identified_with_a_hypothesis_and_evidence() -> None:
    it = brought_to("INVESTIGATING")
    bare = at(facts=Facts())
    assert missing(lambda: lifecycle.identify(it, Identify(), bare)) == ["hypothesis", "evidence"]
    it = lifecycle.identify(it, Identify(hypothesis="a leak", evidence=("row-1",)), bare).incident
    assert (it.hypothesis, it.identified_at) == ("a leak", NOW)


def test_a_mitigation_names_what_was_done() -> None:
    it = brought_to("INVESTIGATING")
    bare = at(facts=Facts())
    assert missing(lambda: lifecycle.mitigate(it, Mitigate(), bare)) == ["mitigation"]
    for order in (Mitigate(action="blocked"), Mitigate(self_recovered=True)):
        assert lifecycle.mitigate(it, order, bare).incident.status == "MONITORING"
    contained = lifecycle.mitigate(it, Mitigate(), at(facts=Facts(containments=1))).incident
    assert contained.mitigation == "contained"
    earlier = lifecycle.mitigate(it, Mitigate(action="blocked", at=NOW - MINUTE), at())
    assert earlier.incident.mitigated_at == earlier.events[0].occurred_at == NOW - MINUTE
    with pytest.raises(Unfit, match="ahead"):
        lifecycle.mitigate(it, Mitigate(action="blocked", at=NOW + 1), at())


@pytest.mark.parametrize(
    ("facts", "lacks"),
    [
        ({"verification": None}, "verification"),
        ({"verification": Verification(at=NOW, red=("e2e",))}, "verification"),
        ({"grants": ("G-1",)}, "grants"),
        ({"debt": 3}, "debt"),
        ({"leases": (HeldLease(id="l", action="ip.block"),)}, "lease"),
        ({"leases": (HeldLease(id="l", action="ip.block", owner="bob", ends=False),)}, "lease"),
        ({"monitoring_until": None}, "monitoring"),
    ],
)
def test_an_incident_is_not_resolved_while_something_stands_against_it(
    facts: dict[str, object], lacks: str
) -> None:
    it = brought_to("MONITORING")
    order = at(facts=msgspec.structs.replace(GREEN, **facts))
    assert missing(lambda: lifecycle.resolve(it, Resolve(), order)) == [lacks]


def test_everything_that_is_missing_is_told_at_once() -> None:
    refused = missing(lambda: lifecycle.resolve(brought_to("MONITORING"), Resolve(), at(facts=Facts())))
    assert refused == ["verification", "monitoring"]


def test_the_mitigation_does_not_lie_before_the_start() -> None:
    it = msgspec.structs.replace(brought_to("MONITORING"), estimated_start=NOW + 1)
    assert missing(lambda: lifecycle.resolve(it, Resolve(), at(NOW + 2))) == ["mitigated_at"]


def test_an_owned_lease_with_an_end_may_stay() -> None:
    held = HeldLease(id="l", action="ip.block", owner="bob")
    facts = msgspec.structs.replace(GREEN, leases=(held,), repeated=True)
    order = Resolve(root_cause="a password", resolution="rotated")
    it = lifecycle.resolve(brought_to("MONITORING"), order, at(facts=facts)).incident
    assert (it.resolved_at, it.root_cause, it.review.resolution, it.repeated) == (
        NOW,
        "a password",
        "rotated",
        True,
    )


def test_a_review_that_has_to_be_is_scheduled_one_to_three_days_later() -> None:
    it = brought_to("RESOLVED")
    for when in (None, NOW + 23 * HOUR, NOW + 73 * HOUR):
        order = StartReview(scheduled_for=when)
        assert missing(lambda order=order: lifecycle.start_review(it, order, at())) == ["scheduled_for"]
    begun = lifecycle.start_review(it, StartReview(scheduled_for=NOW + DAY, link="https://meet"), at())
    assert kinds(begun) == ["review_started"]
    assert (begun.incident.review.scheduled_for, begun.incident.review.link) == (NOW + DAY, "https://meet")


def test_a_p3_is_reviewed_without_a_date() -> None:
    it = brought_to("RESOLVED", opened("P3"))
    assert lifecycle.start_review(it, StartReview(), at()).incident.status == "IN_REVIEW"


def test_an_incident_is_closed_when_nothing_is_left_to_say() -> None:
    it = brought_to("IN_REVIEW")
    assert missing(lambda: lifecycle.close(it, Close(), at(facts=Facts()))) == [
        "timeline",
        "root_cause",
        "why_occurrence",
        "why_prevention",
        "why_detection_delay",
        "why_resolution_time",
        "why_monitoring",
        "breach_answered",
        "bundle_sealed",
        "action_item",
    ]
    unverified = msgspec.structs.replace(GREEN, bundle_verified=False)
    assert missing(lambda: lifecycle.close(closable(it), Close(), at(facts=unverified))) == [
        "bundle_verified"
    ]
    closed = lifecycle.close(closable(it), Close(summary="done"), at())
    assert (kinds(closed), closed.incident.verdict, closed.incident.closed_at) == (
        ["closed"],
        "true_positive",
        NOW,
    )


def test_a_p2_is_closed_without_an_action_item() -> None:
    it = closable(brought_to("IN_REVIEW", opened("P2")))
    assert lifecycle.close(msgspec.structs.replace(it, actions=()), Close(), at()).incident.closed_at == NOW


def test_what_was_none_is_cancelled_with_a_verdict_and_without_leases() -> None:
    it = brought_to("INVESTIGATING")
    held = msgspec.structs.replace(GREEN, leases=(HeldLease(id="l", action="ip.block", owner="bob"),))
    order = Cancel(verdict="true_positive")
    assert missing(lambda: lifecycle.cancel(it, order, at(facts=held))) == ["verdict", "lease"]
    owed = msgspec.structs.replace(GREEN, grants=("g",), uncounted=("g", "h"), debt=2)
    order = Cancel(verdict="benign")
    assert missing(lambda: lifecycle.cancel(it, order, at(facts=owed))) == [
        "grants",
        "debt_uncounted",
        "debt",
    ]
    it = lifecycle.cancel(it, Cancel(verdict="benign"), at()).incident
    assert (it.status, it.verdict, it.closed_at) == ("CANCELLED", "benign", NOW)


def test_an_incident_is_merged_into_another_one() -> None:
    it = brought_to("INVESTIGATING")
    for into in ("", it.id):
        order = Merge(into=into)
        assert missing(lambda order=order: lifecycle.merge(it, order, at())) == ["into"]
    owed = msgspec.structs.replace(GREEN, debt=2)
    assert missing(lambda: lifecycle.merge(it, Merge(into="INC-20261122-210000"), at(facts=owed))) == ["debt"]
    merged = lifecycle.merge(it, Merge(into="INC-20261122-210000"), at())
    assert merged.incident.merged_into == "INC-20261122-210000"
    assert merged.events[-1].refs == ("INC-20261122-210000",)


def test_what_comes_back_starts_every_clock_again() -> None:
    it = brought_to("IN_REVIEW")
    later = NOW + 2 * HOUR
    again = lifecycle.reopen(it, Reopen(reason="the attacker is back"), at(later)).incident
    assert again.clocks_from == later
    assert (again.resolved_at, again.mitigated_at, again.identified_at, again.evidence_at) == (None,) * 4
    assert again.acknowledged_at == later
    by_rule = lifecycle.reopen(it, Reopen(reason="MCP-002"), at(later, DETECTOR)).incident
    assert by_rule.acknowledged_at is None
    with pytest.raises(Unfit, match="reason"):
        lifecycle.reopen(it, Reopen(reason=" "), at(later))


def test_who_acknowledges_answers_the_pages_of_the_levels_below() -> None:
    seen = lifecycle.acknowledge(opened(), Acknowledge(level="L2"), at(NOW + MINUTE))
    assert kinds(seen) == ["acknowledged", "clock_met"]
    assert seen.incident.acknowledged_at == NOW + MINUTE
    assert set(seen.incident.answered) == {"L1", "L2"}
    again = lifecycle.acknowledge(seen.incident, Acknowledge(level="L3"), at(NOW + 2 * MINUTE))
    assert kinds(again) == ["acknowledged"]
    assert again.incident.answered == {"L1": NOW + 60, "L2": NOW + 60, "L3": NOW + 120}
    assert again.incident.acknowledged_at == NOW + MINUTE
    assert missing(lambda: lifecycle.acknowledge(brought_to("CLOSED"), Acknowledge(), at())) == ["status"]


def test_only_the_commander_lowers_a_severity() -> None:
    it = opened("P1")
    lower, higher = SetSeverity(severity="P2", reason="less"), SetSeverity(severity="P0", reason="more")
    for actor in (BOB, DETECTOR):
        assert missing(lambda who=actor: lifecycle.set_severity(it, lower, at(actor=who))) == ["commander"]
        assert lifecycle.set_severity(it, higher, at(actor=actor)).incident.severity == "P0"
    assert lifecycle.set_severity(it, lower, at(actor=ALICE)).incident.severity == "P2"
    nobody = opened("P1", commander="")
    assert missing(lambda: lifecycle.set_severity(nobody, lower, at())) == ["commander"]
    with pytest.raises(Unfit, match="already"):
        lifecycle.set_severity(it, SetSeverity(severity="P1", reason="same"), at())
    ended = brought_to("CLOSED")
    assert missing(lambda: lifecycle.set_severity(ended, lower, at())) == ["status"]


def test_the_table_is_the_one_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "incidents.md").read_text()
    for step, (sources, target) in TRANSITIONS.items():
        row = f"| `{step}` | {', '.join(sources)} | {target} |"
        assert row in page, row
