"""Who must agree to what, and which approval counts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.incident import approval
from airlock.incident.approval import FRESH, OPEN, USERS, VALID, Person
from airlock.model.incident import Actor
from airlock.model.lease import Unfit
from airlock.model.proposal import Class, Order, Prediction, Proposal

NOW = 1_800_000_000.0
ASKED = Actor(type="detector", id="MCP-002")


def order(action: str = "subject.suspend", ttl: float | None = 1800.0, **selector: str) -> Order:
    return Order(action=action, selector=selector or {"subject": "bob"}, ttl=ttl, reason="because")


def prediction(*, users: int = 1, unknown_share: float = 0.0) -> Prediction:
    return Prediction(
        since=NOW - 3600, until=NOW, requests=100, flipped=users, sessions=0, users=users, tenants=("acme",),
        tools=(), share=0.01, unknown=0, unknown_share=unknown_share, of_incident=0, sample=(),
    )  # fmt: skip


def person(name: str = "alice", issuer: str = "https://i", **more: Any) -> Person:
    told: dict[str, Any] = {"approver": True, "auth_time": int(NOW), **more}
    return Person(issuer=issuer, subject=name, **told)


def proposed(asked: Order | None = None, seen: Prediction | None = None) -> Proposal:
    return approval.propose("P", approval.checked(asked or order()), ASKED, seen or prediction(), NOW)


RESTORE = order("server.restore", None, server="docs")


@pytest.mark.parametrize(
    ("asked", "seen", "needs"),
    [
        (order("logging.enhance", None, level="debug"), None, "A"),
        (order(), None, "B"),
        (order("ip.block", 3600.0, cidr="203.0.113.7"), prediction(users=USERS), "B"),
        (order("ip.block", 3600.0, cidr="203.0.113.7"), prediction(users=USERS + 1), "C"),
        (order("ip.block", 3601.0, cidr="203.0.113.7"), None, "C"),
        (order("token.revoke", None, token="t"), None, "B"),
        (order("session.terminate", None, session="a" * 64), None, "B"),
        (order(), prediction(unknown_share=0.05), "B"),
        (order(), prediction(unknown_share=0.051), "C"),
        (order("server.disable", 600.0, server="docs"), None, "C"),
        (order("tenant.isolate", 600.0, tenant="acme"), None, "C"),
        (order("ratelimit.tighten", 600.0, per_token="1/min"), None, "C"),
        (order("ratelimit.tighten", 600.0, per_token="1/min", tenant="acme"), None, "C"),
        (order("ratelimit.tighten", 3600.0, per_token="1/min", tenant="acme", subject="bob"), None, "B"),
        (order("ratelimit.tighten", 3601.0, per_token="1/min", subject="bob"), None, "C"),
        (order("cache.tune", 600.0, cache_size="10"), None, "C"),
        (order("policy.deny_overlay", 600.0, subject="bob"), None, "B"),
        (order("policy.deny_overlay", 600.0, server="docs", tool="send"), None, "B"),
        (order("policy.deny_overlay", 600.0, server="docs"), None, "C"),
        (order("policy.deny_overlay", 600.0, tool="send"), None, "C"),
        (order("lease.release", None, lease="L"), None, "C"),
        (RESTORE, None, "D"),
    ],
)  # fmt: skip
def test_the_class_of_an_order(asked: Order, seen: Prediction | None, needs: Class) -> None:
    judged = approval.judge(approval.checked(asked), seen)
    assert judged.needs == needs
    assert bool(judged.why) == (needs in ("C", "D"))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (order("ip.bless"), "action_unknown"),
        (order("ip.block", cidr="nowhere"), "invalid_ip"),
        (order("ip.block", 1e9, cidr="203.0.113.7"), "duration_too_long"),
        (order("server.restore", 60.0, server="docs"), "selector_invalid"),
        (order("lease.release", None, server="docs"), "selector_invalid"),
    ],
)
def test_what_cannot_be_done_is_not_proposed(asked: Order, reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        approval.checked(asked)
    assert unfit.value.reason == reason


def test_automation_acts_alone_only_where_all_of_it_is_given() -> None:
    narrow, broad = approval.judge(order(), None), approval.judge(order("tenant.isolate", tenant="a"), None)
    quiet = approval.judge(order("logging.enhance", None, level="debug"), None)
    assert approval.alone(narrow, confident=True, prepared=True)
    assert not approval.alone(narrow, confident=False, prepared=True)
    assert not approval.alone(narrow, confident=True, prepared=False)
    assert not approval.alone(broad, confident=True, prepared=True)
    assert approval.alone(quiet, confident=False, prepared=False)


def test_who_may_approve_agrees_by_asking_but_not_to_loosen_and_not_as_a_program() -> None:
    for asked in (order(), order("tenant.isolate", tenant="a")):
        judged = approval.judge(asked, None)
        assert approval.by_asking(judged, person())
        assert not approval.by_asking(judged, person(machine=True))
        assert not approval.by_asking(judged, person(approver=False))
    assert not approval.by_asking(approval.judge(RESTORE, None), person())


def refusal(found: Proposal, who: Person, *, seen: str = "", now: float = NOW) -> str:
    with pytest.raises(Unfit) as unfit:
        approval.approve(found, seen or found.digest, who, now)
    return unfit.value.reason


def test_one_person_is_enough_to_tighten_and_two_are_needed_to_loosen() -> None:
    assert approval.approve(proposed(), proposed().digest, person(), NOW).state == "APPROVED"
    once = approval.approve(proposed(RESTORE), proposed(RESTORE).digest, person(), NOW)
    assert once.state == "DRY_RUN"
    assert approval.approve(once, once.digest, person("bea"), NOW + 1).state == "APPROVED"


@pytest.mark.parametrize("again", [person(), person(issuer="https://other")])
def test_nobody_approves_twice_also_not_under_another_account_of_the_same_name(again: Person) -> None:
    once = approval.approve(proposed(RESTORE), proposed(RESTORE).digest, person(), NOW)
    assert refusal(once, again) == "approved_already"


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (person(machine=True), "approver_automation"),
        (person(approver=False), "approver_required"),
        (person(auth_time=None), "login_insufficient"),
        (person(auth_time=int(NOW - FRESH - 1)), "login_insufficient"),
        (person(auth_time=int(NOW + 3600)), "login_insufficient"),
    ],
)
def test_whose_approval_does_not_count(who: Person, reason: str) -> None:
    assert refusal(proposed(RESTORE), who) == reason


@pytest.mark.parametrize(
    "changed",
    [
        {"ttl": 1801.0},
        {"selector": {"subject": "bobby"}},
        {"incident": "INC-20261122-120000"},
        {"reason": "because."},
    ],
)
def test_an_approval_covers_every_word(changed: dict[str, Any]) -> None:
    """One second more is another order."""
    other = proposed(msgspec.structs.replace(order(), **changed))
    assert other.digest != proposed().digest
    assert refusal(other, person(), seen=proposed().digest) == "approval_void"


def test_an_approval_covers_what_the_dry_run_said() -> None:
    once = approval.approve(proposed(RESTORE), proposed(RESTORE).digest, person(), NOW)
    again = approval.predicted(once, prediction(users=2), NOW + 1)
    assert (again.approvals, again.state) == ((), "DRY_RUN")
    assert refusal(again, person("bea"), seen=once.digest) == "approval_void"


def test_an_approval_lives_ten_minutes() -> None:
    once = approval.approve(proposed(RESTORE), proposed(RESTORE).digest, person(), NOW)
    late = person("bea", auth_time=int(NOW + VALID))
    assert approval.approve(once, once.digest, late, NOW + VALID - 1).state == "APPROVED"
    second = approval.approve(once, once.digest, late, NOW + VALID)
    assert (second.state, [one.person for one in second.approvals]) == ("DRY_RUN", ["https://i|bea"])


def test_an_approval_is_used_once() -> None:
    done = approval.carried_out(approval.approve(proposed(), proposed().digest, person(), NOW), "L", "x", NOW)
    assert refusal(done, person("bea")) == "proposal_ended"


def test_a_proposal_waits_a_day_whoever_is_awake() -> None:
    assert approval.standing(proposed(), NOW + OPEN - 1).state == "DRY_RUN"
    over = approval.standing(proposed(), NOW + OPEN)
    assert (over.state, over.ended_at) == ("EXPIRED", NOW + OPEN)
    assert refusal(proposed(), person(), now=NOW + OPEN) == "proposal_ended"


def test_what_was_declined_stays_so() -> None:
    declined = approval.reject(proposed(), person(), "no need", NOW)
    assert (declined.state, declined.end_reason) == ("REJECTED", "no need")
    assert refusal(declined, person()) == "proposal_ended"
    with pytest.raises(Unfit) as unfit:
        approval.reject(proposed(), person(approver=False), "", NOW)
    assert unfit.value.reason == "approver_required"
