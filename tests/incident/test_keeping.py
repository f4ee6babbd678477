"""What is kept in a record while an incident lasts."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from airlock.incident import aftermath, keeping
from airlock.incident.guard import GuardFailed
from airlock.incident.orders import (
    AddAction,
    AddTask,
    Assume,
    CloseAction,
    Edit,
    FinishTask,
    HandOver,
    Renounce,
    UpdateSent,
    Write,
    WriteReview,
)
from airlock.model.incident import ActionItem
from airlock.model.lease import Unfit
from tests.incident.life_parts import ALICE, DETECTOR, MINUTE, NOW, at, brought_to, kinds, opened


def reason(step: Callable[[], object]) -> str:
    with pytest.raises(Unfit) as refused:
        step()
    return refused.value.reason


def test_facts_are_recorded_and_tick_off_their_questions() -> None:
    decided = keeping.edit(opened("P2"), Edit(affected_users="12", tenants=("acme",)), at(NOW + MINUTE))
    assert (decided.incident.affected_users, decided.incident.tenants) == ("12", ("acme",))
    assert decided.events[0].details["changed"] == {"affected_users": "12", "tenants": ("acme",)}
    done = {task.key: task.done_at for task in decided.incident.tasks}
    assert done["affected"] == NOW + MINUTE
    cleared = keeping.edit(decided.incident, Edit(affected_users="", tenants=()), at()).incident
    assert {task.key: task.done_at for task in cleared.tasks}["affected"] is None


def test_what_is_known_already_is_no_event() -> None:
    it = opened()
    assert keeping.edit(it, Edit(title=it.title), at()) == keeping.edit(it, Edit(), at())
    assert keeping.edit(it, Edit(), at()).events == ()
    assert reason(lambda: keeping.edit(it, Edit(estimated_start=NOW + 1), at())) == "time_invalid"


def test_a_suspected_breach_raises_the_severity_and_restarts_its_clocks() -> None:
    decided = keeping.edit(opened("P2"), Edit(is_suspected_breach=True), at(NOW + MINUTE))
    assert decided.incident.severity == "P0"
    assert kinds(decided)[:3] == ["note", "severity_changed", "clock_started"]
    assert decided.events[1].details["why"] == "a breach is suspected"
    assert decided.incident.deadlines["response"] == NOW + 16 * MINUTE


def test_there_is_one_commander_and_any_number_of_others() -> None:
    it = opened()
    taken = keeping.assume(it, Assume(role="incident_commander", person="bob"), at(NOW + MINUTE))
    assert kinds(taken)[:2] == ["role_renounced", "role_assumed"]
    assert taken.incident.person("incident_commander") == "bob"
    two = keeping.assume(taken.incident, Assume(role="scribe", person="carol"), at()).incident
    two = keeping.assume(two, Assume(role="scribe", person="dave"), at()).incident
    assert [role.person for role in two.roles if role.role == "scribe" and role.renounced_at is None] == [
        "carol",
        "dave",
    ]
    assert keeping.assume(two, Assume(role="scribe", person="dave"), at()).events == ()
    left = keeping.renounce(two, Renounce(role="scribe", person="carol"), at(NOW + 2 * MINUTE))
    assert kinds(left) == ["role_renounced"]
    assert left.incident.person("scribe") == "dave"
    assert reason(lambda: keeping.renounce(left.incident, Renounce(role="deputy"), at())) == "role_not_held"
    assert reason(lambda: keeping.assume(it, Assume(role="scribe", person=" "), at())) == "text_invalid"


def test_a_program_lets_nobody_approve() -> None:
    order = Assume(role="approver", person="bot")
    assert reason(lambda: keeping.assume(opened(), order, at(actor=DETECTOR))) == "approver_not_human"
    assert keeping.assume(opened(), order, at(actor=ALICE)).incident.person("approver") == "bot"


def test_tasks_are_added_and_done() -> None:
    it = keeping.add_task(opened(), AddTask(key="call", text="Call the vendor", due_at=NOW), at()).incident
    assert reason(lambda: keeping.add_task(it, AddTask(key="call", text="again"), at())) == "task_exists"
    done = keeping.finish_task(it, FinishTask(key="call", note="nobody there"), at(NOW + MINUTE))
    assert done.events[0].summary == "Task done: Call the vendor: nobody there"
    assert {task.key: task.done_at for task in done.incident.tasks}["call"] == NOW + MINUTE
    assert reason(lambda: keeping.finish_task(it, FinishTask(key="x"), at())) == "task_unknown"


@pytest.mark.parametrize("far", [-1.0, 1e11, 1e18, float("inf"), float("nan")])
def test_a_time_that_no_calendar_has_is_no_time(far: float) -> None:
    """Whoever showed it would fail for good: files, pages, and every list of incidents."""
    task = AddTask(key="k", text="t", due_at=far)
    assert reason(lambda: keeping.add_task(opened(), task, at())) == "time_invalid"
    review = WriteReview(scheduled_for=far)
    assert reason(lambda: aftermath.write_review(opened(), review, at())) == "time_invalid"


def test_a_question_of_the_triage_is_done_by_its_answer() -> None:
    it = opened(commander="")
    for key in ("impact", "commander"):
        order = FinishTask(key=key)
        assert reason(lambda order=order: keeping.finish_task(it, order, at())) == "task_unanswered"
    done = keeping.finish_task(it, FinishTask(key="impact", note="searches fail"), at()).incident
    assert done.business_impact == "searches fail"


def test_words_go_to_the_timeline() -> None:
    order = Write(
        kind="decision", text="let it run out", refs=("l-1",), occurred_at=NOW - MINUTE, supersedes=3
    )
    (said,) = keeping.write(opened("P2"), order, at()).events
    assert (said.kind, said.occurred_at, said.refs, said.supersedes) == (
        "decision",
        NOW - MINUTE,
        ("l-1",),
        3,
    )
    guess = keeping.write(opened("P2"), Write(kind="hypothesis", text="a leak"), at())
    assert guess.incident.hypothesis == "a leak"
    assert reason(lambda: keeping.write(opened(), Write(text=""), at())) == "text_invalid"
    assert (
        reason(lambda: keeping.write(opened(), Write(text="x", occurred_at=NOW + 1), at())) == "time_invalid"
    )


def test_a_person_answers_for_a_lease() -> None:
    decided = keeping.hand_over(opened("P2"), HandOver(lease="l-1", person="bob"), at())
    assert decided.incident.owners == {"l-1": "bob"}
    assert (decided.events[0].kind, decided.events[0].refs) == ("decision", ("l-1",))


def test_an_update_is_counted_once() -> None:
    order = UpdateSent(message="m-1", template="update", audience="internal", receipt="202", sha256="ab")
    (sent,) = keeping.update_sent(opened("P2"), order, at()).events
    assert (sent.once, sent.summary) == ("comm_sent:m-1", "Sent update to internal")


def test_nothing_changes_after_the_end() -> None:
    it = brought_to("CLOSED")
    steps: list[Callable[[], object]] = [
        lambda: keeping.edit(it, Edit(title="x"), at()),
        lambda: keeping.write(it, Write(text="x"), at()),
        lambda: keeping.assume(it, Assume(role="scribe", person="x"), at()),
        lambda: keeping.add_task(it, AddTask(key="a", text="x"), at()),
        lambda: aftermath.write_review(it, WriteReview(link="x"), at()),
        lambda: aftermath.add_action(it, AddAction(item=ActionItem(id="", text="x")), at()),
    ]
    for step in steps:
        with pytest.raises(GuardFailed) as refused:
            step()
        assert [each.key for each in refused.value.missing] == ["status"]


def test_the_review_is_written_piece_by_piece() -> None:
    it = opened("P2")
    order = WriteReview(occurrence="a leak", prevention="no rule", preventive_measures="a rule")
    it = aftermath.write_review(it, order, at()).incident
    it = aftermath.write_review(it, WriteReview(went_well=("calm",), breach_answered=False), at()).incident
    assert (it.review.whys.occurrence, it.review.whys.prevention, it.review.prevention) == (
        "a leak",
        "no rule",
        "a rule",
    )
    assert (it.review.went_well, it.review.breach_answered) == (("calm",), False)
    assert aftermath.write_review(it, WriteReview(occurrence="a leak"), at()).events == ()


def test_action_items_have_an_id_an_owner_and_an_end() -> None:
    it = opened("P2")
    item = ActionItem(id="mine", text="rotate", owner="bob", due="2026-12-01", closed_at=1.0)
    added = aftermath.add_action(it, AddAction(item=item), at())
    assert added.incident.actions == (msgspec.structs.replace(item, id="A-1", closed_at=None),)
    assert added.events[0].details["owner"] == "bob"
    for due in ("tomorrow", "2026-13-01"):
        wrong = AddAction(item=msgspec.structs.replace(item, due=due))
        assert reason(lambda order=wrong: aftermath.add_action(it, order, at())) == "date_invalid"
    long = AddAction(item=msgspec.structs.replace(item, text="x" * 10_001))
    assert reason(lambda: aftermath.add_action(it, long, at())) == "text_invalid"
    done = aftermath.close_action(added.incident, CloseAction(id="A-1", note="rotated"), at(NOW + MINUTE))
    assert (kinds(done), done.incident.actions[0].closed_at) == (["action_item_closed"], NOW + MINUTE)
    unknown = CloseAction(id="A-1")
    assert reason(lambda: aftermath.close_action(done.incident, unknown, at())) == "action_item_unknown"
