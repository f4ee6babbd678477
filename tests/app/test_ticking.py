"""The ticker, and readers without it: what is due is written once, with the time at which it was due."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, text

from airlock.app import incident_facts as facts_of
from airlock.app import ticking
from airlock.app.incident_facts import CHECKS, verification
from airlock.app.ticking import Ticker
from airlock.core.config import Config
from airlock.core.incident_config import IncidentSection
from airlock.incident import keeping
from airlock.incident.containment import state, terms
from airlock.incident.evidence.bag import PAYLOAD
from airlock.incident.evidence.report import FOLDER
from airlock.incident.evidence.verify_bundle import TAGS, sha256
from airlock.incident.keeping import said
from airlock.incident.notice import look, notice
from airlock.incident.occasion import Facts, HeldLease, Verification
from airlock.incident.orders import HandOver, Write
from airlock.incident.regulation import shipped
from airlock.model.evidence import Asked
from airlock.model.incident import Incident, Recorded
from airlock.model.lease import Action, Lease, Origin, Selector, Unfit
from airlock.store import bundles, incident_facts, incidents, leases, replicas
from airlock.store.database import Store, open_store
from airlock.store.schema import debts, grants
from tests.incident.life_parts import DAY, HOUR, MINUTE, NOW, at, brought_to, opened

ADDRESS = Selector(cidr="203.0.113.7/32")


class HandClock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.told = asyncio.Event()

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(event)
        self.told.set()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which nothing stands: copied for each test, which is quicker than making one."""
    file = tmp_path_factory.mktemp("empty") / "sark.db"
    open_store(file).close()
    return file


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> Generator[Store]:
    store = open_store(shutil.copy(empty, tmp_path / "sark.db"))
    yield store
    store.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def ticker(store: Store, clock: HandClock, told: Callable[[], None] = lambda: None) -> Ticker:
    return Ticker(config=Config(), store=store, clock=clock, tell_look=told, log=Lines())


def kept(store: Store, incident: Incident) -> Incident:
    return incidents.create(store, incident, []).incident


def given(
    store: Store,
    incident: str,
    *,
    action: Action = "ip.block",
    selector: Selector = ADDRESS,
    ttl: float | None = HOUR,
    origin: Origin = "detector",
    now: float = NOW,
) -> Lease:
    return leases.activate(
        store,
        action=action,
        selector=selector,
        ttl=ttl,
        reason="an attack",
        actor="MCP-002" if origin == "detector" else "https://idp.example|alice",
        origin=origin,
        now=now,
        incident=incident,
    ).lease


def gather(store: Store, incident: Incident, now: float, *, data: Path = Path("nowhere")) -> Facts:
    return facts_of.gather(store, incident, now, data=data)


def lines(store: Store, incident: Incident, *kinds: str) -> list[Recorded]:
    found = incidents.timeline(store, incident.id)
    return [each for each in found if not kinds or each.event.kind in kinds]


def test_a_ticker_that_was_dead_for_two_hours_writes_each_breach_once_as_it_was_due(
    store: Store, clock: HandClock
) -> None:
    it = kept(store, opened("P1"))
    lease = given(store, it.id)
    ticking = ticker(store, clock)
    clock.now = NOW + 2 * HOUR
    assert leases.expire(store, now=clock.now) == 1
    ticking.tick()
    ticking.tick()
    clock.now += 1
    ticker(store, clock).tick()
    breached = lines(store, it, "clock_breached")
    assert {(each.event.details["clock"], each.event.occurred_at - NOW) for each in breached} == {
        ("response", HOUR),
        ("update", 30 * MINUTE),
        ("evidence", HOUR),
    }
    assert len(breached) == 3
    (expired,) = lines(store, it, "containment_expired")
    assert (expired.event.occurred_at, expired.event.refs) == (NOW + HOUR, (lease.id,))
    called = [each.event.details["level"] for each in lines(store, it, "escalated")]
    assert called == ["L2"]


def test_a_reader_writes_the_same_without_a_ticker(store: Store) -> None:
    it = kept(store, opened("P1"))
    first, after = (notice(store, it.id, shipped(), NOW + 2 * HOUR) for _ in range(2))
    assert after == first
    assert len(lines(store, it, "clock_breached")) == 3
    assert after.version == 2
    with pytest.raises(Unfit, match="no incident"):
        notice(store, "INC-20260101-000000", shipped(), NOW)


def test_a_look_at_nothing_changes_nothing(store: Store, clock: HandClock) -> None:
    it = kept(store, opened("P2"))
    ticking = ticker(store, clock)
    versions = store.versions()
    ticking.tick()
    ticking.tick()
    assert store.versions() == versions
    assert incidents.get(store, it.id) == it


def test_leases_of_an_incident_are_told_on_its_timeline(store: Store, clock: HandClock) -> None:
    it = kept(store, opened("P1"))
    lease = given(store, it.id)
    watching = given(
        store, it.id, action="monitoring.enhance", selector=Selector(enhanced="true"), ttl=DAY, origin="api"
    )
    given(store, "INC-19990101-000000")
    ticking = ticker(store, clock)
    ticking.tick()
    (started,) = lines(store, it, "containment_started")
    assert (started.event.actor.type, started.event.refs) == ("detector", (lease.id,))
    (note,) = lines(store, it, "note")
    assert (note.event.actor.type, note.event.refs) == ("human", (watching.id,))
    assert look(store, it.id, NOW).state == "CONTAINING"
    assert lines(store, it, "containment_succeeded") == []

    replicas.seen(store, replica="w0", epoch=store.versions()["leases"], now=NOW + 1)
    clock.now = NOW + 2
    ticking.tick()
    (succeeded,) = lines(store, it, "containment_succeeded")
    assert succeeded.event.refs == (lease.id,)
    assert look(store, it.id, clock.now).state == "CONTAINED"
    contained = incidents.get(store, it.id)
    assert contained is not None
    assert contained.contained_at == NOW + 2

    leases.release(store, id=lease.id, actor="https://idp.example|bob", reason="over", now=NOW + 3)
    clock.now = NOW + 3
    assert look(store, it.id, clock.now).state == "RELEASING"
    replicas.seen(store, replica="w0", epoch=store.versions()["leases"], now=NOW + 3)
    ticking.tick()
    assert look(store, it.id, clock.now).state == "RELEASED"
    (released,) = lines(store, it, "containment_released")
    assert released.event.actor.id == "https://idp.example|bob"
    assert len(lines(store, it, "containment_started")) == 1


def test_a_lease_that_ends_after_its_incident_is_still_told(store: Store, clock: HandClock) -> None:
    it = kept(store, brought_to("CLOSED"))
    given(store, it.id)
    ticker(store, clock).tick()
    assert [each.event.kind for each in lines(store, it)] == ["containment_started"]


def test_without_leases_there_is_no_containment() -> None:
    assert state([], now=NOW, enforced=True) == "NONE"


def test_a_lease_of_an_open_p1_is_extended_when_nobody_decides(store: Store, clock: HandClock) -> None:
    it, looks = kept(store, opened("P1")), list[int]()
    lease = given(store, it.id)
    ticking = ticker(store, clock, lambda: looks.append(1))
    clock.now = NOW + 56 * MINUTE
    ticking.tick()
    assert looks == []
    warned = lines(store, it, "clock_warned")
    assert f"lease:{lease.id}" in [each.event.details["clock"] for each in warned]
    clock.now = NOW + 57 * MINUTE
    ticking.tick()
    ticking.tick()
    found = leases.get(store, id=lease.id, now=clock.now)
    assert found is not None
    assert found.expires_at == pytest.approx(NOW + 2 * HOUR, abs=0.01)
    assert looks == [1]
    (extended,) = lines(store, it, "containment_extended")
    assert extended.event.actor.type == "system"


def test_a_lease_is_never_extended_beyond_its_longest_time(store: Store, clock: HandClock) -> None:
    it = kept(store, opened("P0"))
    lease = given(store, it.id, ttl=20 * HOUR)
    for hour in (19.5, 24):
        clock.now = NOW + hour * HOUR - 1
        ticker(store, clock).tick()
    found = leases.get(store, id=lease.id, now=NOW)
    assert found is not None
    assert found.expires_at == pytest.approx(NOW + DAY, abs=0.01)
    assert len(lines(store, it, "containment_extended")) == 1


@pytest.mark.parametrize("why", ["decided", "quiet", "resolved"])
def test_a_lease_runs_out_where_somebody_decided_or_nothing_is_urgent(
    store: Store, clock: HandClock, why: str
) -> None:
    it = {"decided": opened("P1"), "quiet": opened("P2"), "resolved": brought_to("RESOLVED")}[why]
    it = kept(store, it)
    lease = given(store, it.id)
    if why == "decided":
        order = Write(kind="decision", text="let it run out", refs=(lease.id,))
        incidents.change(store, it.id, lambda one: keeping.write(one, order, at(NOW + MINUTE)))
    clock.now = NOW + 58 * MINUTE
    ticker(store, clock).tick()
    assert lines(store, it, "containment_extended") == []


def test_capacity_is_not_extended_and_what_has_no_end_has_no_term(store: Store, clock: HandClock) -> None:
    it = kept(store, opened("P1"))
    given(store, it.id, action="cache.tune", selector=Selector(cache_ttl="5m"), ttl=HOUR)
    given(store, it.id, action="token.revoke", selector=Selector(token="j-1"), ttl=None)
    clock.now = NOW + 58 * MINUTE
    ticker(store, clock).tick()
    assert lines(store, it, "containment_extended") == []
    found = incident_facts.leases_of(store, it.id, now=NOW)
    assert [term.action for term in terms(found, {}, NOW)] == ["cache.tune"]


def test_leases_move_with_a_merge(store: Store) -> None:
    it = kept(store, opened("P1"))
    lease = given(store, it.id)
    before = store.versions()["leases"]
    with store.change("incidents") as change:
        assert incident_facts.move(change, source=it.id, target="INC-20260101-000000") == 1
        assert incident_facts.move(change, source=it.id, target="INC-20260101-000000") == 0
    assert store.versions()["leases"] == before + 1
    (moved,) = incident_facts.leases_of(store, "INC-20260101-000000", now=NOW)
    assert moved.id == lease.id


def test_an_incident_at_which_something_breaks_does_not_stop_the_clocks_of_others(
    store: Store, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [
        kept(store, msgspec.structs.replace(opened(), id=f"INC-20260101-00000{n}", opened_at=NOW - n))
        for n in range(3)
    ]
    bad = known[1].id
    usual = ticking.notice.news

    def broken(incident: Incident, *rest: Any) -> Any:
        if incident.id == bad:
            raise OverflowError("date value out of range")
        return usual(incident, *rest)

    monkeypatch.setattr(ticking.notice, "news", broken)
    clock.now += DAY
    with pytest.raises(ExceptionGroup, match="clocks of incidents"):
        ticker(store, clock).tick()
    assert [bool(incidents.timeline(store, each.id)) for each in known] == [True, False, True]


def test_a_store_that_fails_is_told_once_and_tried_again(store: Store, clock: HandClock) -> None:
    with store.change("incidents") as change:
        change.connection.execute(text("DROP TABLE parts"))
    log = Lines()
    broken = Ticker(config=Config(), store=store, clock=clock, tell_look=lambda: None, log=log)

    async def until_told() -> None:
        running = asyncio.get_running_loop().create_task(broken.run())
        async with asyncio.timeout(30):
            await log.told.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(until_told())
    assert log.lines == ["ticker_stalled"]


def test_duties_of_a_file_that_cannot_be_used_are_the_shipped_ones(
    store: Store, clock: HandClock, tmp_path: Path
) -> None:
    section = IncidentSection(regulations_file=str(tmp_path / "absent.yaml"))
    log = Lines()
    Ticker(config=Config(incident=section), store=store, clock=clock, tell_look=lambda: None, log=log).tick()
    assert log.lines == ["regulations_invalid"]


def test_nothing_is_known_of_a_fresh_incident(store: Store) -> None:
    it = kept(store, opened())
    facts = gather(store, it, NOW)
    assert (facts.verification, facts.leases, facts.monitoring_until, facts.events) == (None, (), None, 0)
    assert not (facts.bundle_sealed or facts.bundle_verified or facts.repeated or facts.containments)


def test_everything_that_stands_against_a_step_is_gathered(store: Store) -> None:
    it = kept(store, msgspec.structs.replace(opened(), owners={}))
    by_rule = given(store, it.id)
    by_person = given(store, it.id, action="server.disable", selector=Selector(server="docs"), origin="api")
    given(store, it.id, action="token.revoke", selector=Selector(token="j-1"), ttl=None)
    given(store, it.id, action="logging.enhance", selector=Selector(level="debug"), origin="api")
    it = incidents.change(
        store,
        it.id,
        lambda one: keeping.hand_over(one, HandOver(lease=by_rule.id, person="bob"), at()),
    ).incident
    with store.change("grants") as change:
        row: dict[str, Any] = {"scope": "fail_open", "incident": it.id, "ended_at": None}
        told: dict[str, Any] = {"proposal": "p", "people": [], "reason": "r", "granted_at": NOW - 900}
        for id, expires, counted in (
            ("g-1", NOW + 60, None), ("g-2", NOW - 60, None), ("g-3", NOW - 600, NOW - 500),
        ):  # fmt: skip
            values = {**row, "id": id, "expires_at": expires}
            document = msgspec.json.encode({**values, **told, "counted_at": counted}).decode()
            change.connection.execute(insert(grants).values(**values, document=document))
        for id, standing in (("d-1", "open"), ("d-2", "upheld")):
            debt = {"id": id, "grant_id": "g-1", "incident": it.id, "state": standing, "document": "{}"}
            change.connection.execute(insert(debts).values(**debt))
    facts = gather(store, it, NOW + 1)
    assert facts.leases == (
        HeldLease(id=by_rule.id, action="ip.block", owner="bob"),
        HeldLease(id=by_person.id, action="server.disable", owner="https://idp.example|alice"),
    )
    assert (facts.grants, facts.debt, facts.containments) == (("g-1",), 1, 3)
    assert facts.uncounted == ("g-1", "g-2")
    assert facts.evidence == (by_rule.id,)


def test_a_lease_of_a_program_belongs_to_nobody(store: Store) -> None:
    it = kept(store, opened())
    given(store, it.id)
    (held,) = gather(store, it, NOW).leases
    assert held.owner == ""


@pytest.mark.parametrize(
    ("ttl", "released", "watched"), [(DAY, False, True), (HOUR, False, False), (DAY, True, False)]
)
def test_it_is_watched_for_a_day(store: Store, ttl: float, released: bool, watched: bool) -> None:
    it = kept(store, opened())
    selector = Selector(enhanced="true")
    lease = given(store, "", action="monitoring.enhance", selector=selector, ttl=ttl, origin="config")
    if released:
        leases.release(store, id=lease.id, actor="a", reason="enough", now=NOW + 1)
    until = gather(store, it, NOW + 2).monitoring_until
    assert until == (NOW + DAY if watched else None)


def test_what_was_done_before_it_was_reopened_or_for_another_one_ends_nothing(store: Store) -> None:
    it = kept(store, opened())
    selector = Selector(enhanced="true")
    given(store, "INC-20200101-000000", action="monitoring.enhance", selector=selector, ttl=DAY, origin="api")
    assert gather(store, it, NOW + 2).monitoring_until is None
    given(store, it.id, action="monitoring.enhance", selector=selector, ttl=DAY, origin="api")
    ran = [said("verification_run", at(NOW + 1), "ran", check=check, passed=True) for check in CHECKS]
    incidents.append(store, it.id, ran)
    it = msgspec.structs.replace(it, mitigated_at=NOW)
    facts = gather(store, it, NOW + 2)
    assert (facts.verification, facts.monitoring_until) == (Verification(at=NOW + 1), NOW + DAY)
    facts = gather(store, msgspec.structs.replace(it, clocks_from=NOW + 2), NOW + 2)
    assert (facts.verification, facts.monitoring_until) == (None, None)


def test_an_incident_of_the_same_type_within_thirty_days_is_a_repetition(store: Store) -> None:
    kept(store, opened(now=NOW - 31 * DAY))
    it = kept(store, opened("P2"))
    assert not gather(store, it, NOW).repeated
    kept(store, opened(now=NOW - 29 * DAY))
    assert gather(store, it, NOW).repeated


def test_a_bundle_counts_when_it_is_sealed_and_was_whole_after_that(store: Store, tmp_path: Path) -> None:
    it = kept(store, opened())
    bundle = bundles.request(store, it.id, Asked(who="a"), quick=True, now=NOW)
    bag = tmp_path / FOLDER / bundle.id
    (bag / "data").mkdir(parents=True)
    (bag / "data" / "row").write_text("row")
    (bag / PAYLOAD).write_text(f"{sha256(bag / 'data' / 'row')}  data/row\n")
    (bag / TAGS).write_text(f"{sha256(bag / PAYLOAD)}  {PAYLOAD}\n")
    for whole in (False, True):
        sealed = msgspec.structs.replace(bundle, state="sealed", whole=whole, digest=sha256(bag / TAGS))
        bundles.done(store, sealed, [], now=NOW)
        facts = gather(store, it, NOW, data=tmp_path)
        assert (facts.bundle_sealed, facts.bundle_verified) == (True, whole)
    (bag / "data" / "row").unlink()
    assert not gather(store, it, NOW, data=tmp_path).bundle_verified


def test_a_verification_counts_after_the_mitigation_and_with_every_check() -> None:
    def run(check: str, passed: bool, now: float) -> Recorded:
        event = said("verification_run", at(now), "ran", check=check, passed=passed)
        return Recorded(incident="INC", seq=1, event=event, digest="")

    every = [run(check, True, NOW) for check in CHECKS]
    assert verification(every, None) is None
    assert verification(every, NOW + 1) is None
    assert verification(every, NOW) == Verification(at=NOW)
    assert verification([*every, run("e2e", False, NOW + 1)], NOW) == Verification(at=NOW + 1, red=("e2e",))
    assert verification([run("live", True, NOW)], NOW) == Verification(at=NOW, red=CHECKS[1:])
