"""What becomes of a batch when the disk refuses."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from airlock.audit import commit as group
from airlock.audit import journal
from airlock.core.errors import AuditFault, Effect
from airlock.model.entry import Event, Personal, Receipt
from tests.audit.writing_parts import (
    UID,
    HandClock,
    Lines,
    SimVolume,
    check_chain,
    commit,
    dice,
    entries,
    event,
    history,
    intent,
    outcome,
)

if TYPE_CHECKING:
    from airlock.audit.commit import GroupCommit, Verdict

SYSTEM_EVENT = Event(event_type="system", action="heartbeat")


def seal(log: GroupCommit, *events: Event) -> list[Verdict]:
    batch = log.begin()
    for each in events:
        log.add(batch, each)
    return log.finish(batch)


def effects(verdicts: list[Verdict]) -> list[str]:
    return [verdict.effect if isinstance(verdict, AuditFault) else "sealed" for verdict in verdicts]


class Disk:
    """Fails the given operations on segments, so many times."""

    def __init__(
        self, volume: SimVolume, *operations: str, times: int = 1000, number: int = errno.EIO
    ) -> None:
        self.left = times
        self.operations = operations
        self.number = number
        self.volume = volume
        volume.fail = self

    def __call__(self, operation: str, name: str) -> int:
        if operation in self.operations and (".seg" in name or operation == "sync") and self.left:
            self.left -= 1
            return self.number
        return 0

    def heal(self) -> None:
        self.left = 0


@pytest.fixture
def volume() -> SimVolume:
    return SimVolume()


def test_a_batch_is_durable_when_finish_returns(volume: SimVolume) -> None:
    log = commit(volume)
    verdicts = seal(log, event(1), event(2))
    volume.lose_power(dice(1))
    found = entries(volume.directories[UID])
    assert [(each["seq"], each["id"]) for each in found] == [
        (verdict.seq, verdict.id) for verdict in verdicts if isinstance(verdict, Receipt)
    ]
    assert volume.directories[UID].published == 2


def test_stamps_draw_randomness_in_bulk_and_never_twice(volume: SimVolume) -> None:
    verdicts = [verdict for _ in range(3) for verdict in seal(commit(SimVolume()), *map(event, range(100)))]
    assert len({verdict.id for verdict in verdicts[:100] if isinstance(verdict, Receipt)}) == 100


def test_a_malformed_event_fails_alone(volume: SimVolume) -> None:
    lines = Lines()
    log = commit(volume, log=lines)
    first, bad, second = seal(log, event(1), outcome(2, metadata={"ratio": 0.5}), event(3))
    assert (getattr(first, "seq", 0), getattr(second, "seq", 0)) == (1, 2)
    assert isinstance(bad, AuditFault)
    assert bad.effect is Effect.POSSIBLE
    assert isinstance(bad.__cause__, ValueError)
    assert lines.words() == ["audit_event_malformed"]


def test_after_a_failed_flush_the_batch_stands_in_a_fresh_segment(volume: SimVolume) -> None:
    log = commit(volume)
    seal(log, event(1))
    Disk(volume, "flush", times=1)
    assert effects(seal(log, intent(2), outcome(3))) == ["sealed", "sealed"]
    assert not log.trouble
    volume.lose_power(dice(3))
    check_chain(list(history(volume.directories[UID])))
    assert [each["seq"] for each in entries(volume.directories[UID])] == [1, 2, 3]
    assert len(journal.segment_names(volume.directories[UID].names())) == 2


def test_a_first_segment_that_fails_is_replaced(volume: SimVolume) -> None:
    log = commit(volume)
    Disk(volume, "write", times=1)
    assert effects(seal(log, event(1))) == ["sealed"]


@pytest.mark.parametrize(
    "operations", [("flush",), ("write",), ("create",), ("rename",), ("sync",), ("flush", "read")]
)
def test_without_a_journal_nothing_begins_and_outcomes_wait_in_the_spool(
    volume: SimVolume, operations: tuple[str, ...]
) -> None:
    lines = Lines()
    log = commit(volume, log=lines)
    seal(log, event(1), intent(2))
    if operations[0] in {"create", "rename", "sync"}:
        Disk(volume, "write", *operations)
    else:
        Disk(volume, *operations)
    verdicts = seal(log, intent(3), outcome(2), event(4), SYSTEM_EVENT)
    assert effects(verdicts) == ["none", "possible", "none", "none"]
    assert log.trouble
    assert not log.failure
    assert [each.members["correlation_id"] for each in log.spool.entries] == ["req-2"]
    assert "audit_spooled" in lines.words()
    assert log.chain.seq == 2


def test_the_spool_is_emptied_into_the_chain_once_the_journal_works_again(volume: SimVolume) -> None:
    log = commit(volume)
    disk = Disk(volume, "flush")
    seal(log, outcome(1, personal=Personal(subject="alice")))
    disk.heal()
    assert effects(seal(log, event(2))) == ["sealed"]
    found = entries(volume.directories[UID])
    assert [each["correlation_id"] for each in found] == ["req-2", "req-1"]
    assert found[1]["metadata"]["late"] is True
    assert found[1]["occurred_at"] <= found[1]["timestamp"]
    assert log.spool.entries == []
    assert bytes(volume.directories[UID].files["spool"].medium).strip(b"\0") == b""


def test_an_idle_log_finds_out_by_itself_that_the_disk_obeys_again(volume: SimVolume) -> None:
    log = commit(volume)
    log.mend()
    disk = Disk(volume, "flush")
    seal(log, outcome(1))
    log.mend()
    assert log.trouble
    disk.heal()
    log.mend()
    assert not log.trouble
    assert [each["correlation_id"] for each in entries(volume.directories[UID])] == ["req-1"]


def test_a_spool_that_fails_too_ends_the_log(volume: SimVolume) -> None:
    log = commit(volume)
    seal(log, event(1))
    volume.fail = lambda operation, name: errno.EIO if operation == "flush" else 0
    assert effects(seal(log, outcome(2))) == ["possible"]
    assert "neither journal nor spool" in log.failure
    volume.fail = lambda operation, name: 0
    assert effects(seal(log, intent(3), outcome(4), SYSTEM_EVENT)) == ["none", "possible", "none"]
    log.mend()
    assert log.failure


def test_a_spool_without_room_ends_the_log(volume: SimVolume) -> None:
    log = commit(volume)
    Disk(volume, "flush")
    for number in range(100):
        seal(log, outcome(number, metadata={"pad": "x" * 2000}))
    assert "neither journal nor spool" in log.failure


def test_a_spool_that_cannot_be_emptied_ends_the_log(volume: SimVolume) -> None:
    log = commit(volume)
    disk = Disk(volume, "flush")
    seal(log, outcome(1))
    disk.heal()
    volume.fail = lambda operation, name: errno.EIO if name == "spool" else 0
    assert effects(seal(log, event(2))) == ["sealed"]
    assert "cannot be emptied" in log.failure


def test_what_waits_stays_in_the_spool_while_the_journal_fails(volume: SimVolume) -> None:
    log = commit(volume)
    disk = Disk(volume, "flush")
    seal(log, outcome(1))
    disk.heal()
    batch = log.begin()
    log.add(batch, event(2))
    volume.fail = AfterTwoFlushes()
    assert effects(log.finish(batch)) == ["sealed"]
    assert len(log.spool.entries) == 1
    assert log.trouble


class AfterTwoFlushes:
    """Those of a fresh segment's header and of its first batch succeed, all later ones fail."""

    def __init__(self) -> None:
        self.flushes = 0

    def __call__(self, operation: str, name: str) -> int:
        self.flushes += operation == "flush"
        return errno.EIO if operation == "flush" and self.flushes > 2 else 0


@pytest.mark.parametrize("place", [slice(200, 210), slice(journal.HEADER, None)])
def test_an_acknowledged_record_that_is_gone_ends_the_log(volume: SimVolume, place: slice) -> None:
    log = commit(volume)
    seal(log, event(1))
    directory = volume.directories[UID]
    Disk(volume, "flush", times=1)
    medium = directory.files[journal.segment_name(1)].medium
    medium[place] = bytes(len(medium[place]))
    assert effects(seal(log, outcome(2))) == ["possible"]
    assert journal.segment_name(1) in log.failure


def test_a_full_volume_spends_its_reserve_on_closing_records(volume: SimVolume) -> None:
    log = commit(volume)
    for number in range(40):
        seal(log, event(number, metadata={"pad": "x" * 500}))
    volume.foreign = volume.total - (volume.total - volume.foreign - volume.space().free) - 1000
    verdicts: list[str] = []
    while "none" not in verdicts:
        verdicts = effects(seal(log, intent(50, metadata={"pad": "x" * 500}), outcome(51)))
    assert verdicts == ["none", "sealed"]
    assert log.room.starved
    assert effects(seal(log, intent(60), outcome(61), SYSTEM_EVENT)) == ["none", "sealed", "sealed"]
    assert not log.failure


def test_when_the_reserve_is_used_up_outcomes_wait_in_the_spool(volume: SimVolume) -> None:
    log = commit(volume)
    Disk(volume, "create", number=errno.ENOSPC)
    assert effects(seal(log, intent(1), outcome(2))) == ["none", "possible"]
    assert log.room.starved
    assert len(log.spool.entries) == 1


def test_a_batch_is_full_at_a_thousand_events_or_four_mebibytes(volume: SimVolume) -> None:
    log = commit(volume)
    batch = log.begin()
    for number in range(group.EVENTS_MAX):
        assert not batch.is_full
        log.add(batch, event(number))
    assert batch.is_full
    large = log.begin()
    while not large.is_full:
        log.add(large, event(personal=Personal(inputs=bytes(700_000))))
    assert len(large.events) == 5


def test_several_batches_are_written_for_many_events(volume: SimVolume) -> None:
    log = commit(volume)
    receipts = log.append_all([(event(number), None) for number in range(2500)])
    assert [receipt.seq for receipt in receipts] == list(range(1, 2501))


def test_append_all_stops_at_the_first_that_has_no_place(volume: SimVolume) -> None:
    log = commit(volume)
    Disk(volume, "flush")
    with pytest.raises(AuditFault):
        log.append_all([(event(1), None)])


def test_a_segment_with_records_is_finished_after_a_minute(volume: SimVolume) -> None:
    clock = HandClock()
    log = commit(volume, clock=clock)
    names = volume.directory(UID).names

    def count() -> int:
        return len(journal.segment_names(names()))

    clock.forward(100)
    log.roll_if_old()
    assert count() == 0, "nothing to finish"
    seal(log, event(1))
    log.roll_if_old()
    assert count() == 2
    seal(log, event(2))
    log.roll_if_old()
    assert count() == 2, "too young"
    log.room.spend()
    clock.forward(100)
    log.roll_if_old()
    assert count() == 2, "no room to waste"


def test_a_failed_finish_of_an_old_segment_costs_nothing(volume: SimVolume) -> None:
    clock = HandClock()
    log = commit(volume, clock=clock)
    seal(log, event(1))
    clock.forward(100)
    disk = Disk(volume, "create")
    log.roll_if_old()
    assert log.trouble
    disk.heal()
    assert effects(seal(log, event(2))) == ["sealed"]
    assert not log.trouble
    check_chain(list(history(volume.directories[UID])))


def test_closing_gives_the_unused_room_and_the_lock_back(volume: SimVolume) -> None:
    log = commit(volume)
    directory = volume.directories[UID]
    seal(log, event(1))
    log.close()
    assert len(directory.files[journal.segment_name(1)].cache) < 5000
    assert not directory.held
    log.close()


def test_a_segment_that_cannot_be_cut_is_closed_all_the_same(volume: SimVolume) -> None:
    log = commit(volume)
    seal(log, event(1))
    volume.fail = lambda operation, name: errno.EIO if operation == "truncate" else 0
    log.close()
    check_chain(list(history(volume.directories[UID])))


def test_little_room_is_told_when_it_begins_and_when_it_ends(volume: SimVolume) -> None:
    clock, lines = HandClock(), Lines()
    log = commit(volume, clock=clock, log=lines)
    for foreign in (0.0, 0.93, 0.93, 0.985, 0.0):
        volume.foreign = int(volume.total * foreign)
        clock.forward(1)
        log.look()
    assert [(level, fields["below_10_percent"], fields["refusing"]) for level, _, fields in lines.said] == [
        ("warning", True, False),
        ("error", True, True),
        ("warning", False, False),
    ]
