"""One worker and the leases in the store: it takes them over, cuts, says so, and records what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.app.containment import Containment, event_of, in_turn
from airlock.core.errors import AuditFault, Fault, Refused, Unauthenticated
from airlock.gateway.live import Live
from airlock.model.entry import Event
from airlock.model.lease import Action, read_selector
from airlock.model.snapshot import Current
from airlock.store import leases, replicas
from airlock.store.database import Store, open_store
from airlock.store.lease_events import LeaseEvent
from airlock.store.leases import Activated
from tests.gateway.parts import FakeLog, HandClock, Lines, authenticated, principal, redacted, snapshot


class Worker:
    """A worker's containment on a store of its own, with a log that a test can break."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(folder / "sark.db")
        self.clock = HandClock()
        self.lines = Lines()
        self.log = FakeLog([])
        self.current = Current(snapshot())
        self.live = Live()
        self.enforced: list[int] = []
        """The epoch each time that settings were to be taken over."""
        self.containment = self.containing()

    def containing(self) -> Containment:
        return Containment(
            store=self.store,
            current=self.current,
            live=self.live,
            writer=self.log,
            replica="one",
            enforced=lambda: self.enforced.append(self.epoch),
            clock=self.clock,
            log=self.lines,
        )

    def give(self, action: Action, **pairs: str) -> Activated:
        return leases.activate(
            self.store,
            action=action,
            selector=read_selector(action, pairs),
            ttl=None,
            reason="test",
            actor="ops",
            origin="api",
            now=self.clock.wall(),
            incident="INC-1",
        )

    @property
    def epoch(self) -> int:
        return self.current.get().leases.epoch

    def play(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a scenario while this worker beats."""

        async def playing() -> None:
            beat = asyncio.get_running_loop().create_task(self.containment.run())
            try:
                await scenario()
            finally:
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)
                self.store.close()

        asyncio.run(playing())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - a condition of threads and a store
                await asyncio.sleep(0.01)

    def rows(self, action: str) -> list[Event]:
        return [event for event in self.log.events if event.action == action]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def test_settings_are_taken_over_with_the_leases_and_looked_at_with_every_beat(worker: Worker) -> None:
    epoch = worker.give("logging.enhance", level="debug").epoch
    asyncio.run(worker.containment.follow())
    assert worker.enforced == [epoch]

    async def scenario() -> None:
        await worker.until(lambda: len(worker.enforced) > 1)

    worker.play(scenario)


def test_a_worker_begins_with_the_leases_in_force(worker: Worker) -> None:
    given = worker.give("ip.block", cidr="203.0.113.7")
    worker.containing()
    assert worker.current.get().leases.held == (given.lease,)
    assert replicas.receipt(worker.store, epoch=given.epoch, now=worker.clock.wall()).acked == 1
    worker.store.close()


def test_a_change_made_here_holds_at_once_and_the_others_are_told(worker: Worker) -> None:
    async def scenario() -> None:
        given = worker.give("ip.block", cidr="203.0.113.7")
        await worker.containment.look()
        assert worker.epoch == given.epoch
        assert worker.containment.changed.is_set()
        with pytest.raises(Refused) as refused:
            worker.containment.address("203.0.113.7")
        assert refused.value.scope == {"kind": "address"}
        worker.containment.address("203.0.113.8")

    worker.play(scenario)


def test_a_worker_that_is_told_nothing_looks_by_itself(worker: Worker) -> None:
    async def scenario() -> None:
        given = worker.give("tenant.isolate", tenant="acme")
        await worker.until(lambda: worker.epoch == given.epoch)

    worker.play(scenario)


def test_what_is_contained_is_cut_as_soon_as_the_leases_are_taken_over(worker: Worker) -> None:
    async def scenario() -> None:
        async def call() -> None:
            with worker.live.running(redacted()):
                await asyncio.Event().wait()

        running = asyncio.get_running_loop().create_task(call())
        await asyncio.sleep(0)
        worker.give("tenant.isolate", tenant="acme")
        await worker.containment.follow()
        assert running.cancelling()
        with pytest.raises(Refused):
            await running

    worker.play(scenario)


def test_a_worker_says_which_epoch_it_enforces(worker: Worker) -> None:
    async def scenario() -> None:
        given = worker.give("tenant.isolate", tenant="acme")
        await worker.containment.look()

        def acked() -> bool:
            receipt = replicas.receipt(worker.store, epoch=given.epoch, now=worker.clock.wall())
            return receipt.acked == receipt.total == 1

        await worker.until(acked)

    worker.play(scenario)


def test_a_worker_that_stops_counts_no_more(tmp_path: Path) -> None:
    worker = Worker(tmp_path)

    async def nothing() -> None:
        await asyncio.sleep(0)

    worker.play(nothing)
    store = open_store(tmp_path / "sark.db")
    assert replicas.receipt(store, epoch=9, now=worker.clock.wall()).total == 0
    store.close()


def test_an_older_picture_never_replaces_a_newer_one(worker: Worker) -> None:
    async def scenario() -> None:
        worker.give("tenant.isolate", tenant="acme")
        await worker.containment.follow()
        newer = worker.current.swap(leases=type(worker.current.get().leases)(epoch=99)).leases
        await worker.containment.follow()
        assert worker.current.get().leases is newer

    worker.play(scenario)


def test_what_happened_is_in_the_log_and_its_place_is_known(worker: Worker) -> None:
    async def scenario() -> None:
        given = worker.give("tool.quarantine", server="docs", tool="echo")
        await worker.containment.look()
        await worker.until(
            lambda: leases.recorded(worker.store, id=given.lease.id, epoch=given.epoch) is not None
        )
        (row,) = worker.rows("lease_applied")
        assert (row.event_type, row.reason, row.severity) == ("admin", "activated", "MEDIUM")
        assert (row.server_id, row.tool_name, row.personal.subject) == ("docs", "echo", "ops")
        assert row.metadata["lease_id"] == given.lease.id
        assert (row.metadata["kind"], row.metadata["incident"]) == ("tool.quarantine", "INC-1")
        assert worker.lines.events() == ["lease_applied"]

    worker.play(scenario)


def test_a_lease_that_is_over_is_told_once(worker: Worker) -> None:
    async def scenario() -> None:
        given = worker.give("tenant.isolate", tenant="acme")
        await worker.containment.look()
        worker.clock.seconds += 3601
        await worker.until(lambda: worker.rows("lease_expired"))
        (row,) = worker.rows("lease_expired")
        assert (row.reason, row.severity, row.metadata["lease_id"]) == ("expired", "LOW", given.lease.id)
        await worker.until(lambda: worker.current.get().leases.index is None)

    worker.play(scenario)


def test_a_log_that_takes_nothing_loses_no_row_and_holds_no_lease_up(worker: Worker) -> None:
    async def scenario() -> None:
        worker.log.broken = lambda _: True
        given = worker.give("tenant.isolate", tenant="acme")
        await worker.containment.look()
        await worker.until(lambda: "containment_stale" in worker.lines.events())
        assert worker.epoch == given.epoch
        assert leases.recorded(worker.store, id=given.lease.id, epoch=given.epoch) is None
        worker.log.broken = lambda _: False
        await worker.until(lambda: worker.rows("lease_applied"))
        assert worker.lines.events().count("containment_stale") == 1

    worker.play(scenario)


def test_a_store_that_cannot_be_read_is_said_once_and_the_leases_stay(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        given = worker.give("tenant.isolate", tenant="acme")
        await worker.containment.follow()
        monkeypatch.setattr(worker.store, "versions", unreadable)
        await worker.until(lambda: "containment_stale" in worker.lines.events())
        assert worker.current.get().leases.held == (given.lease,)

    worker.play(scenario)


def test_a_store_that_cannot_be_read_from_the_first_beat_on_ends_the_right_to_serve(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlock.gateway.serving.LAPSE", 0.01)
    monkeypatch.setattr("airlock.gateway.serving.DARK", 0.01)
    monkeypatch.setattr(worker.store, "versions", unreadable)

    def refused() -> bool:
        try:
            worker.containment.contain.who(authenticated())
        except Fault:
            return True
        return False

    async def scenario() -> None:
        assert not refused()
        await worker.until(refused)

    worker.play(scenario)


def unreadable() -> dict[str, int]:
    raise AuditFault("gone")


def test_a_log_that_does_not_answer_is_waited_for_in_vain(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlock.app.containment.PATIENCE", 0.01)

    async def scenario() -> None:
        worker.log.held = asyncio.Event()
        worker.give("tenant.isolate", tenant="acme")
        await worker.containment.look()
        await worker.until(lambda: "containment_stale" in worker.lines.events())
        worker.log.held.set()
        await worker.until(lambda: worker.rows("lease_applied"))

    worker.play(scenario)


@pytest.mark.parametrize(
    ("action", "pairs", "error"),
    [
        ("token.revoke", {"token": "token-of-alice"}, Unauthenticated),
        ("subject.suspend", {"subject": "alice"}, Refused),
        ("ip.block", {"cidr": "203.0.113.7"}, Refused),
        ("tenant.isolate", {"tenant": "acme"}, Refused),
    ],
)
def test_a_contained_administrator_is_turned_away(
    worker: Worker, action: Action, pairs: dict[str, str], error: type[Refused]
) -> None:
    worker.containment.administrator(principal(), "203.0.113.7")
    worker.give(action, **pairs)
    worker.containing()
    with pytest.raises(error):
        worker.containment.administrator(principal(), "203.0.113.7")
    worker.containment.administrator(principal("bob", "other"), "203.0.113.8")
    worker.store.close()


def test_no_name_of_a_person_stands_in_the_open_part_of_a_row(worker: Worker) -> None:
    given = worker.give("subject.suspend", subject="alice", tenant="acme")
    row = event_of(
        LeaseEvent(
            event="lease_applied", lease=given.lease, at=1.0, actor="ops", reason="test", epoch=given.epoch
        )
    )
    assert "alice" not in repr(row.metadata)
    assert (row.tenant, b'"alice"' in (row.personal.arguments or b"")) == ("acme", True)
    worker.store.close()


def test_a_row_of_a_lease_without_end_or_incident_names_neither(worker: Worker) -> None:
    given = worker.give("token.revoke", token="j-1")
    lease = msgspec.structs.replace(given.lease, incident="")
    row = event_of(
        LeaseEvent(event="lease_extended", lease=lease, at=1.0, actor="ops", reason="test", epoch=2)
    )
    assert row.metadata.keys() == {"lease_id", "kind", "origin", "epoch"}
    assert (row.action, row.reason, row.lease_epoch) == ("lease_applied", "extended", 2)
    worker.store.close()


def test_checks_that_find_nothing_let_pass() -> None:
    asked: list[str] = []
    in_turn(asked.append, asked.append)("x")
    assert asked == ["x", "x"]


def test_checks_are_made_in_turn_and_the_first_that_raises_ends_it() -> None:
    asked: list[str] = []

    def no(of: str) -> None:
        raise AuditFault(of)

    with pytest.raises(AuditFault):
        in_turn(asked.append, no, asked.append)("x")
    assert asked == ["x"]
