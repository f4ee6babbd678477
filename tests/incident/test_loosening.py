"""Failing open: who may, when, and what becomes of the calls that passed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import msgspec
import pytest

from airlock.core import ids
from airlock.core.errors import PolicyFault
from airlock.core.sealed import Sealer
from airlock.incident import debt, loosening
from airlock.incident.debt import Passed
from airlock.model.decision import Approval as PolicyApproval
from airlock.model.decision import Decision
from airlock.model.grant import Debt, Grant
from airlock.model.incident import (
    Actor,
    Alert,
    AlertState,
    Finding,
    Incident,
    IncidentEvent,
    IncidentSeverity,
    Status,
)
from airlock.model.lease import Unfit
from airlock.model.proposal import Approval, Order, Proposal
from airlock.store import grants, incidents
from airlock.store.changes import GRANTS, INCIDENTS
from airlock.store.database import Store, open_store
from airlock.store.schema import alerts

NOW = 1_790_000_000.0
ID = "INC-20261122-180000"
ORDER = Order(
    action=loosening.ACTION, selector={"tools": "read-only"}, ttl=600.0, reason="policy is down", incident=ID
)
SEALER = Sealer({"k1": b"k" * 32}, "k1")


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    opened = open_store(tmp_path / "sark.db")
    yield opened
    opened.close()


def happens(
    store: Store,
    *,
    severity: IncidentSeverity = "P1",
    status: Status = "INVESTIGATING",
    seen: float = NOW - 10,
    state: AlertState = "NEW",
) -> None:
    """An incident, and the alert of a failing engine."""
    incidents.create(
        store,
        Incident(
            id=ID,
            title="Policy answers nothing",
            type="policy_failure",
            severity=severity,
            status=status,
            detection_source="gateway_detection",
            opened_at=NOW,
            detected_at=NOW,
            clocks_from=NOW,
        ),
        [],
    )
    finding = Finding(rule=loosening.RULE, severity="P1", summary="policy fails", since=seen - 60, until=seen)
    alert = Alert(id="a1", fingerprint="f", finding=finding, state=state, first_seen=seen, last_seen=seen)
    row = {"id": "a1", "fingerprint": "f", "rule": loosening.RULE, "state": state, "incident": "",
           "last_seen": seen, "version": 1, "document": msgspec.json.encode(alert).decode()}  # fmt: skip
    with store.change(INCIDENTS) as change:
        change.connection.execute(alerts.insert().values(**row))


def proposal(*people: str) -> Proposal:
    approvals = tuple(Approval(person=person, at=NOW, digest="d") for person in people)
    by = Actor(type="human", id="i|alice")
    return Proposal(
        id=ids.uuid7(), order=ORDER, by=by, created_at=NOW, needs="D", digest="d", approvals=approvals
    )


def give(store: Store, *people: str, now: float = NOW) -> Grant:
    with store.change(GRANTS) as change:
        grant = loosening.grant(change.connection, proposal(*people), now=now)
        grants.give(change, grant)
    return grant


def told(_: object) -> IncidentEvent:
    by = Actor(type="system", id="airlock")
    return IncidentEvent(kind="decision", at=NOW, occurred_at=NOW, actor=by, summary="said")


def end(store: Store, *, id: str, by: str, reason: str, now: float) -> Grant:
    return grants.end(store, id=id, by=by, reason=reason, now=now, told=told)


def settle(store: Store, several: Sequence[Debt]) -> None:
    grants.settle(store, several, incident=ID, told=told)


def waive(store: Store, *, incident: str, id: str, decide: Callable[[Debt], Debt]) -> Debt:
    return grants.waive(store, incident=incident, id=id, decide=decide, told=told)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"selector": {"tools": "*"}}, "selector_invalid"),
        ({"selector": {}}, "selector_invalid"),
        ({"ttl": 901.0}, "duration_too_long"),
        ({"ttl": 0.0}, "duration_too_long"),
        ({"incident": ""}, "incident_missing"),
    ],
)
def test_an_order_that_asks_for_more_is_refused(changed: dict[str, object], reason: str) -> None:
    with pytest.raises(Unfit) as refused:
        loosening.checked(msgspec.structs.replace(ORDER, **changed))
    assert refused.value.reason == reason


def test_an_order_without_duration_lasts_as_long_as_may_be() -> None:
    assert loosening.checked(msgspec.structs.replace(ORDER, ttl=None)).ttl == 900.0


def test_two_people_open_it_while_the_engine_fails(store: Store) -> None:
    happens(store)
    grant = give(store, "i|bob", "i|alice")
    assert (grant.people, grant.expires_at) == (("i|alice", "i|bob"), NOW + 600)
    part = grants.load(store, now=NOW + 599)
    assert part.held == (grant,)
    assert part.epoch > 0
    assert grants.load(store, now=NOW + 600).held == ()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"severity": "P2"}, "severity_too_low"),
        ({"status": "RESOLVED"}, "incident_missing"),
        ({"status": "CLOSED"}, "incident_missing"),
        ({"seen": NOW - 301}, "engine_healthy"),
        ({"state": "DISMISSED"}, "engine_healthy"),
    ],
)
def test_without_need_it_stays_closed(store: Store, facts: dict[str, object], reason: str) -> None:
    happens(store, **facts)  # pyright: ignore[reportArgumentType]
    with pytest.raises(Unfit) as refused:
        give(store, "i|alice", "i|bob")
    assert refused.value.reason == reason
    assert grants.listing(store) == []


def test_an_incident_that_nobody_knows_opens_nothing(store: Store) -> None:
    with pytest.raises(Unfit, match="is none"):
        give(store, "i|alice", "i|bob")


def test_a_grant_is_not_extended_and_not_by_the_same_two(store: Store) -> None:
    happens(store)
    first = give(store, "i|alice", "i|bob")
    with pytest.raises(Unfit) as refused:
        give(store, "i|carol", "i|dave")
    assert refused.value.reason == "grant_active"
    end(store, id=first.id, by="i|alice", reason="policy answers", now=NOW + 5)
    with pytest.raises(Unfit) as refused:
        give(store, "i|bob", "i|alice", now=NOW + 6)
    assert refused.value.reason == "approver_repeated"
    assert give(store, "i|alice", "i|carol", now=NOW + 6).people == ("i|alice", "i|carol")
    with pytest.raises(Unfit) as refused:
        end(store, id=first.id, by="i|alice", reason="again", now=NOW + 7)
    assert refused.value.reason == "grant_ended"
    with pytest.raises(Unfit) as refused:
        end(store, id="none", by="i|alice", reason="again", now=NOW + 7)
    assert refused.value.reason == "grant_unknown"


class Says:
    """An engine that says this."""

    def __init__(self, answer: Decision | PolicyFault) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    def decide(self, question: bytes) -> Decision:
        self.asked.append(question)
        if isinstance(self.answer, PolicyFault):
            raise self.answer
        return self.answer


def row(inputs: str | None = None) -> Passed:
    kept = base64.b64encode(SEALER.seal("inputs", b'{"v":1}').encode()).decode() if inputs is None else inputs
    return Passed(
        "row-1", "r1", "outcome", "2026-11-22 18:00:01.000000", "acme", "alice", "mcp://docs/read", kept
    )


OWED = Debt(id="row-1", grant="g", incident=ID, state="open", at="2026-11-22 18:00:01.000000")
YES, NO = Decision(allow=True, reason="role"), Decision(allow=False, reason="forbidden")


@pytest.mark.parametrize(
    ("answer", "state", "why"),
    [
        (YES, "upheld", "role"),
        (NO, "violation", "forbidden"),
        (msgspec.structs.replace(YES, approval=PolicyApproval(by=("x",), within_s=1)), "violation", "role"),
        (PolicyFault("policy_invalid", "no answer"), "violation", "policy_invalid"),
    ],
)
def test_policy_judges_with_what_was_recorded(answer: Decision | PolicyFault, state: str, why: str) -> None:
    engine = Says(answer)
    judged = debt.judged(OWED, row(), opens=SEALER, engine=engine)
    assert (judged.state, judged.why) == (state, why)
    assert engine.asked == [b'{"v":1}']


def test_an_engine_that_still_fails_judges_nothing() -> None:
    with pytest.raises(PolicyFault):
        debt.judged(OWED, row(), opens=SEALER, engine=Says(PolicyFault("policy_error", "panic")))


@pytest.mark.parametrize("kept", ["", "AAAA", base64.b64encode(b"k1.zzzz").decode()])
def test_what_is_not_kept_cannot_be_told(kept: str) -> None:
    engine = Says(YES)
    judged = debt.judged(OWED, row(kept), opens=SEALER, engine=engine)
    assert (judged.state, engine.asked) == ("open", [])
    assert "cannot tell" in judged.why
    assert debt.judged(OWED, row(), opens=None, engine=engine).state == "open"


def test_two_people_waive_what_nobody_can_tell() -> None:
    with pytest.raises(Unfit, match="as soon as it answers"):
        debt.waived(OWED, by="i|alice", reason="read of a public page")
    lost = debt.judged(OWED, None, opens=SEALER, engine=Says(YES))
    once = debt.waived(lost, by="i|alice", reason="read of a public page")
    assert debt.judged(once, None, opens=SEALER, engine=Says(YES)) == once
    with pytest.raises(Unfit, match="another person"):
        debt.waived(once, by="j|Alice", reason="under another name")
    assert once.state == "open"
    with pytest.raises(Unfit, match="another person"):
        debt.waived(once, by="i|alice", reason="again")
    twice = debt.waived(once, by="i|bob", reason="seen")
    assert (twice.state, twice.waivers) == ("waived", ("i|alice", "i|bob"))
    with pytest.raises(Unfit, match="waived"):
        debt.waived(twice, by="i|carol", reason="x")


def test_the_same_two_are_known_under_other_names(store: Store) -> None:
    happens(store)
    end(store, id=give(store, "i|a|b", "i|bob").id, by="i|bob", reason="policy answers", now=NOW + 5)
    with pytest.raises(Unfit) as refused:
        give(store, "j|a|b", "j|Bob", now=NOW + 6)
    assert refused.value.reason == "approver_repeated"


def test_who_judges_and_who_waives_at_once_undo_nothing(store: Store) -> None:
    happens(store)
    grants.owe(store, [OWED])
    lost = debt.judged(OWED, None, opens=None, engine=Says(YES))
    settle(store, [lost])
    once = waive(store, incident=ID, id="row-1", decide=lambda one: debt.waived(one, by="i|a", reason="r"))
    settle(store, [lost])  # the engine read it before that
    assert len(incidents.timeline(store, ID)) == 3
    assert [each.waivers for each in grants.debt(store)] == [once.waivers]
    settle(store, [msgspec.structs.replace(lost, state="violation", why="forbidden")])
    with pytest.raises(Unfit, match="violation"):
        waive(store, incident=ID, id="row-1", decide=lambda one: debt.waived(one, by="i|b", reason="r"))
    settle(store, [lost])
    assert [each.state for each in grants.debt(store)] == ["violation"]
    with pytest.raises(Unfit) as refused:
        waive(store, incident="other", id="row-1", decide=lambda one: one)
    assert refused.value.reason == "debt_unknown"


def test_debts_are_noted_once_and_settled(store: Store) -> None:
    happens(store)
    assert grants.owe(store, [OWED, OWED]) == 1
    assert grants.debt(store, incident=ID, state="open") == [OWED]
    settle(store, [msgspec.structs.replace(OWED, state="upheld")])
    assert grants.owe(store, [OWED]) == 0
    assert grants.debt(store, grant="g", state="open") == []
    assert [each.state for each in grants.debt(store)] == ["upheld"]
