"""Grants in a worker, and the loop of the engine that notes who passed by them and judges it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from airlock.app.debts import ARRIVED, HEALTHY, Debts
from airlock.app.loosening import Loosened
from airlock.core import sealed
from airlock.core.errors import PolicyFault
from airlock.incident.guards import resolve
from airlock.incident.occasion import Facts
from airlock.model.decision import Decision
from airlock.model.entry import Event
from airlock.model.grant import Debt, Grant
from airlock.model.incident import Incident
from airlock.model.snapshot import Current
from airlock.store import grants, incident_facts, incidents
from airlock.store.changes import GRANTS
from airlock.store.database import Store, open_store
from tests.audit.conftest import Log
from tests.gateway.parts import NOW, HandClock, Lines, snapshot

ID = "INC-20261122-180000"
INCIDENT = Incident(
    id=ID, title="t", type="policy_failure", severity="P1", status="MONITORING",
    detection_source="gateway_detection", opened_at=NOW, detected_at=NOW, clocks_from=NOW,
)  # fmt: skip
GRANT = Grant(
    id="g", scope="fail_open", incident=ID, proposal="p", people=("i|a", "i|b"), reason="policy is down",
    granted_at=NOW, expires_at=NOW + 600,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "sark.db")
    incidents.create(opened, INCIDENT, [])
    with opened.change(GRANTS) as change:
        grants.give(change, GRANT)
    yield opened
    opened.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "log")
    made.clock.now = NOW + 1
    yield made
    made.release()


class Policy:
    """Answers this, unless it is broken."""

    def __init__(self) -> None:
        self.broken = False
        self.allow = True

    def decide(self, question: bytes) -> Decision:
        if self.broken:
            raise PolicyFault("policy_error", "panic")
        return Decision(allow=self.allow, reason="role" if self.allow else "forbidden")

    def trouble(self) -> str:
        return "panic" if self.broken else ""


class Engine:
    """The loop over a store and a log, turned by hand."""

    def __init__(self, store: Store, log: Log) -> None:
        self.store, self.log = store, log
        self.clock, self.policy, self.looks = HandClock(), Policy(), 0
        self.loop = Debts(
            store=store, data=log.data_dir, policy=lambda: self.policy, look=self._look, clock=self.clock,
            log=Lines(),
        )  # fmt: skip

    def _look(self) -> None:
        self.looks += 1

    def passes(self, *phases: str, request: str = "r1", kept: bool = True) -> None:
        inputs = sealed.load_or_create_keys(self.log.data_dir) if kept else None
        for phase in phases:
            made = msgspec.convert(
                {"event_type": "call", "phase": phase, "action": "tool_call", "request_id": request,
                 "decision": "allow" if phase == "outcome" else None, "metadata": {"grant": "g"},
                 "personal": {"subject": "bob"}}, Event,
            )  # fmt: skip
            if inputs is not None:
                asked = inputs.seal("inputs", b"{}").encode()
                made = msgspec.structs.replace(
                    made, personal=msgspec.structs.replace(made.personal, inputs=asked)
                )
            self.log.append(made)
        self.log.project()

    def debt(self) -> list[Debt]:
        return grants.debt(self.store, incident=ID)

    def missing(self) -> set[str]:
        """What a resolution lacks because of grants."""
        now = self.clock.wall()
        facts = Facts(
            grants=incident_facts.grants_of(self.store, ID, now=now),
            uncounted=incident_facts.uncounted(self.store, ID),
            debt=incident_facts.debt_of(self.store, ID),
        )
        return {each.key for each in resolve(INCIDENT, facts)} & {"grants", "debt", "debt_uncounted"}


@pytest.fixture
def engine(store: Store, log: Log) -> Engine:
    log.fill(0)
    log.project()
    return Engine(store, log)


def test_calls_that_passed_while_no_engine_ran_are_owed_all_the_same(engine: Engine) -> None:
    engine.passes("intent", "outcome")
    engine.passes("intent", request="r2")  # its worker crashed
    engine.clock.seconds += 7 * 24 * 3600
    assert engine.missing() == {"debt_uncounted"}
    engine.policy.broken = True
    engine.loop.once()
    assert engine.missing() == {"debt"}
    assert len(engine.debt()) == 2
    engine.policy.broken, engine.policy.allow = False, False
    engine.loop.once()
    assert engine.missing() == set()
    assert [each.state for each in engine.debt()] == ["violation", "violation"]


def test_a_call_that_ends_between_two_looks_is_owed_once(engine: Engine) -> None:
    engine.policy.broken = True
    engine.passes("intent")
    engine.loop.once()
    engine.passes("outcome")
    engine.loop.once()
    assert [each.subject for each in engine.debt()] == ["bob"]
    engine.policy.broken = False
    engine.loop.once()
    assert [each.state for each in engine.debt()] == ["upheld"]


def test_a_grant_is_counted_a_while_after_its_end(engine: Engine) -> None:
    engine.loop.once()
    assert engine.missing() == {"grants"}
    engine.clock.seconds += HEALTHY
    engine.loop.once()
    assert (engine.looks, engine.missing()) == (1, {"debt_uncounted"})
    engine.passes("intent", "outcome")
    engine.clock.seconds += ARRIVED - 1
    engine.loop.once()
    assert engine.missing() == {"debt_uncounted"}
    engine.clock.seconds += 1
    engine.loop.once()
    assert (engine.missing(), len(engine.debt())) == (set(), 1)
    engine.loop.once()  # nothing is left to look at


def test_a_grant_is_not_counted_before_the_log_has_caught_up(engine: Engine) -> None:
    engine.passes("intent", "outcome")
    engine.clock.seconds += 600 + ARRIVED
    late = {"event_type": "call", "phase": "single", "action": "tool_call"}
    engine.log.append(msgspec.convert(late, Event))
    engine.loop.once()
    assert engine.missing() == {"debt_uncounted"}
    engine.log.project()
    engine.loop.once()
    assert engine.missing() == set()


def test_what_nobody_can_tell_is_said_once(engine: Engine, store: Store) -> None:
    engine.passes("intent", kept=False)
    for _ in range(2):
        engine.loop.once()
    assert engine.missing() == {"grants", "debt"}
    assert len(incidents.timeline(store, ID)) == 1


class Turned(HandClock):
    """Its wall was turned back by so many seconds."""

    back = 0.0

    def wall(self) -> float:
        return super().wall() - self.back


def test_whoever_turns_the_clock_back_lengthens_no_grant(store: Store) -> None:
    clock = Turned()
    current = Current(snapshot())
    loosened = Loosened(store=store, current=current, clock=clock)
    assert loosened.until()
    clock.seconds += 500
    clock.back = 500.0
    assert loosened.until()
    clock.seconds += 100
    asyncio.run(loosened.follow())
    assert not loosened.until()
    assert not current.get().grants.held
    again = Loosened(store=store, current=current, clock=clock)
    clock.back = 0.0
    assert not again.until()


def test_what_is_over_ends_without_a_look_at_the_store(store: Store) -> None:
    clock, current = Turned(), Current(snapshot())
    loosened = Loosened(store=store, current=current, clock=clock)
    clock.seconds, clock.back = clock.seconds + 600, 600.0

    async def scenario() -> None:
        running = asyncio.create_task(loosened.run())
        await asyncio.sleep(0)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert not current.get().grants.held
