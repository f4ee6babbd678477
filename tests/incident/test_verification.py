"""Verifications on the timeline: what counts as green, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident.guard import GuardFailed
from airlock.incident.verification import CHECKS, MOST_SEEN, Name, Ran, Seen, Verify, verified
from airlock.model.incident import SYSTEM_ACTOR, Incident
from airlock.model.lease import Unfit
from tests.incident.life_parts import at, brought_to, opened

OK = Seen(check="live", result="ok", observed="alive")


def incident() -> Incident:
    return brought_to("MONITORING")


def test_each_check_is_one_line_that_says_what_was_wrong() -> None:
    wrong = Seen(check="p95", result="fail", observed="900 ms")
    runs = (Ran(check="e2e", exit=0, seen=(OK,)), Ran(check="performance", exit=1, seen=(OK, wrong)))
    decided = verified(incident(), Verify(runs=runs), at())
    told = [(event.summary, event.details["passed"]) for event in decided.events]
    assert told == [("Verification e2e: green", True), ("Verification performance: not green: p95", False)]
    assert {event.basis for event in decided.events} == {"reported"}
    assert decided.events[1].details["seen"][1]["observed"] == "900 ms"  # type: ignore[index] # JSON


def test_what_the_engine_saw_itself_is_observed() -> None:
    decided = verified(incident(), Verify(runs=(Ran(check="live", exit=1),)), at(actor=SYSTEM_ACTOR))
    assert (decided.events[0].basis, decided.events[0].summary) == (
        "observed", "Verification live: not green, it ended with 1"
    )  # fmt: skip


@given(st.integers(0, 3), st.lists(st.sampled_from(("ok", "fail", "untried")), max_size=4))
def test_green_is_only_what_was_tried_and_true(exit: int, results: list[Any]) -> None:
    ran = Ran(check="e2e", exit=exit, seen=tuple(Seen(check="x", result=each) for each in results))
    assert ran.passed == (exit == 0 and set(results) <= {"ok"})


@pytest.mark.parametrize(
    "names", [(), ("e2e", "e2e")], ids=["none", "twice"]
)  # fmt: skip
def test_a_report_names_each_check_once(names: tuple[Name, ...]) -> None:
    with pytest.raises(Unfit) as caught:
        verified(incident(), Verify(runs=tuple(Ran(check=name, exit=0) for name in names)), at())
    assert caught.value.reason == "verification_invalid"
    assert all(name in caught.value.text for name in CHECKS)


def test_a_report_is_bounded() -> None:
    run = Ran(check="e2e", exit=0, seen=(OK,) * (MOST_SEEN + 1))
    with pytest.raises(Unfit, match="parts at most"):
        verified(incident(), Verify(runs=(run,)), at())
    long = Ran(check="e2e", exit=0, seen=(Seen(check="x", result="fail", observed="y" * 5000),))
    told: Any = verified(incident(), Verify(runs=(long,)), at()).events[0].details["seen"]
    assert len(told[0]["observed"]) == 300


def test_nothing_is_noted_once_the_incident_has_ended() -> None:
    with pytest.raises(GuardFailed):
        verified(brought_to("CLOSED"), Verify(runs=(Ran(check="e2e", exit=0),)), at())


def test_before_the_mitigation_a_verification_may_be_noted_too() -> None:
    assert verified(opened(), Verify(runs=(Ran(check="e2e", exit=0),)), at()).events
