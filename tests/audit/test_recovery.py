"""Taking a chain over: what is extended, what never is, and what is put in order first."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from airlock.audit import journal
from airlock.audit.append import FRESH
from airlock.audit.entry import commitment, entry_hash
from airlock.audit.journal import JournalDamaged
from airlock.audit.occurrences import Whole
from airlock.audit.spool import NAME as SPOOL
from airlock.audit.survey import Watermark
from airlock.core.errors import AuditFault
from airlock.model.entry import Personal, Receipt
from tests.audit.test_commit import Disk, seal
from tests.audit.test_entry import decode
from tests.audit.writing_parts import (
    Lines,
    SimDirectory,
    SimVolume,
    check_chain,
    dice,
    entries,
    event,
    history,
    intent,
    outcome,
    recovery,
)

if TYPE_CHECKING:
    from airlock.audit.commit import GroupCommit


@pytest.fixture
def volume() -> SimVolume:
    return SimVolume()


def first(volume: SimVolume) -> SimDirectory:
    return volume.directories[volume.names()[0]]


def restarted(volume: SimVolume, head: Watermark | None = None, *, seed: int = 2) -> GroupCommit:
    """kill -9, then a new process."""
    volume.end_process()
    known = volume.names()
    return recovery(volume, heads=lambda uid: head if uid in known else None, seed=seed).open()


def actions(directory: SimDirectory) -> list[str]:
    return [each["action"] for each in entries(directory)]


def watermark(volume: SimVolume, seq: int, **fields: Any) -> Watermark:
    (record,) = [each for each in history(first(volume)) if each.seq == seq]
    return Watermark(seq=seq, hash=entry_hash(record.entry), **fields)


def test_a_first_start_opens_a_chain_and_says_so(volume: SimVolume) -> None:
    log = recovery(volume).open()
    opening, start = entries(first(volume))
    assert (opening["action"], start["action"]) == ("chain_open", "process_start")
    assert opening["metadata"]["origin"] == f"test.local/audit/{log.chain.uid}"
    assert opening["metadata"]["configuration_digest"] == "c0" * 32
    assert "predecessor" not in opening["metadata"]
    assert start["metadata"] == {
        "configuration_digest": "c0" * 32, "version": "0.1.0", "late_outcomes": 0, "unknown_outcomes": 0,
    }  # fmt: skip


def test_the_name_of_the_host_is_committed_and_not_written(volume: SimVolume) -> None:
    recovery(volume).open()
    record = next(history(first(volume)))
    side = decode(record.personal)
    assert b"gw-1" not in record.entry
    assert decode(record.entry)["commit"] == {"host": commitment(bytes.fromhex(side["salt"]), "host", "gw-1")}


def test_a_restart_extends_the_chain_in_a_fresh_segment(volume: SimVolume) -> None:
    log = recovery(volume).open()
    seal(log, event(1), event(2, tenant="umbrella"))
    again = restarted(volume, watermark(volume, 2))
    assert volume.names() == [log.chain.uid]
    seal(again, event(3))
    check_chain(list(history(first(volume))))
    assert actions(first(volume))[2:] == ["tool_call", "tool_call", "process_start", "tool_call"]
    assert len(journal.segment_names(first(volume).names())) == 2
    assert first(volume).published == again.chain.seq


def test_a_second_process_takes_another_chain(volume: SimVolume) -> None:
    logs = [recovery(volume, seed=seed).open() for seed in (1, 2)]
    assert sorted(log.chain.uid for log in logs) == volume.names()


def test_tenant_counters_go_on_from_database_and_journal(volume: SimVolume) -> None:
    seal(recovery(volume).open(), *(event(number, tenant=tenant) for number, tenant in enumerate("abab")))
    log = restarted(volume, watermark(volume, 3, tenants={"b": 1, "c": 9, "a": 1}))
    assert log.chain.tenants == {"a": 2, "b": 2, "c": 9}


def test_a_torn_end_is_cut_off_and_told(volume: SimVolume) -> None:
    log = recovery(volume).open()
    seal(log, event(1))
    (name,) = journal.segment_names(first(volume).names())
    end = list(history(first(volume)))[-1].end_offset
    first(volume).files[name].write(end, journal.mark(4) + b"torn")
    lines = Lines()
    volume.end_process()
    again = recovery(volume, log=lines).open()
    assert ("warning", "audit_torn_tail") in [(level, word) for level, word, _ in lines.said]
    assert len(first(volume).files[name].cache) == end
    seal(again, event(2))
    check_chain(list(history(first(volume))))


@pytest.mark.parametrize(
    ("at", "data", "what"),
    [(5, b"\x13", "header"), (300, b"\x13\x13", "written later"), (44, b"\x07", "header")],
)
def test_damage_in_the_journal_stops_the_start(volume: SimVolume, at: int, data: bytes, what: str) -> None:
    log = recovery(volume).open()
    for number in range(3):
        seal(log, event(number))
    (name,) = journal.segment_names(first(volume).names())
    first(volume).files[name].write(at, data)
    with pytest.raises(JournalDamaged, match=what):
        restarted(volume)
    assert not first(volume).held


def test_a_segment_of_another_chain_stops_the_start(volume: SimVolume) -> None:
    for seed in (1, 2):
        recovery(volume, seed=seed).open()
    name = journal.segment_name(1)
    mine, other = (volume.directories[uid] for uid in volume.names())
    mine.files[name] = other.files[name]
    volume.end_process()
    with pytest.raises(JournalDamaged, match="segment 1 of chain"):
        recovery(volume).open()


def test_a_missing_segment_stops_the_start(volume: SimVolume) -> None:
    log = recovery(volume).open()
    for number in range(200):
        seal(log, event(number, metadata={"pad": "x" * 900}))
    names = journal.segment_names(first(volume).names())
    assert len(names) > 2
    del first(volume).files[names[1]]
    with pytest.raises(JournalDamaged, match=r"was written"):
        restarted(volume)


def test_a_segment_that_does_not_link_stops_the_start(volume: SimVolume) -> None:
    log = recovery(volume).open()
    head = journal.Header(chain_uid=log.chain.uid, first_seq=3, previous_hash="ab" * 32)
    handle = first(volume).create(journal.segment_name(3), 4096)
    handle.write(0, journal.header(head))
    with pytest.raises(JournalDamaged, match="does not follow record 2"):
        restarted(volume)


@pytest.mark.parametrize(
    ("change", "what"),
    [({"previous_hash": "ab" * 32}, "does not follow"), ({"phase": 7}, "not an entry")],
)
def test_a_rewritten_record_with_a_good_checksum_stops_the_start(
    volume: SimVolume, change: dict[str, Any], what: str
) -> None:
    from airlock.audit.limits import canonical

    log = recovery(volume).open()
    records = list(history(first(volume)))
    changed = canonical({**decode(records[1].entry), **change})
    head = journal.Header(chain_uid=log.chain.uid, first_seq=1, previous_hash=None)
    handle = first(volume).create(journal.segment_name(1), 8192)
    frames = journal.frame(records[0].entry, b""), journal.frame(changed, b"")
    handle.write(0, b"".join((journal.header(head), journal.mark(1), *frames)))
    with pytest.raises(JournalDamaged, match=what):
        restarted(volume)


def behind(volume: SimVolume) -> Watermark:
    return Watermark(seq=99, hash="ab" * 32)


def other_hash(volume: SimVolume) -> Watermark:
    return Watermark(seq=2, hash="ab" * 32)


def lost_journal(volume: SimVolume) -> Watermark:
    for name in journal.segment_names(first(volume).names()):
        first(volume).remove(name)
    return Watermark(seq=3, hash="ab" * 32)


def unlinked(volume: SimVolume) -> Watermark:
    log = restarted(volume)
    seal(log, event(9))
    first(volume).remove(journal.segment_name(1))
    return Watermark(seq=1, hash="ab" * 32)


@pytest.mark.parametrize(
    ("attack", "what"),
    [
        (behind, "the journal ends at record 3, the database knows 99"),
        (other_hash, "record 2 has another hash"),
        (lost_journal, "the journal is gone, the database knows 3 records"),
        (unlinked, "the database ends at record 1, the journal begins at 4"),
    ],
)
def test_a_chain_that_contradicts_the_database_is_never_extended(
    volume: SimVolume, attack: Any, what: str
) -> None:
    log = recovery(volume).open()
    seal(log, event(1))
    head = attack(volume)
    old = first(volume)
    before = {name: bytes(file.cache).rstrip(b"\0") for name, file in old.files.items() if ".seg" in name}
    new = restarted(volume, head)
    assert new.chain.uid != old.name
    opening = entries(volume.directories[new.chain.uid])[0]
    assert (opening["action"], opening["severity"]) == ("chain_open", "CRITICAL")
    assert what in opening["reason"]
    assert opening["metadata"]["predecessor"]["chain_uid"] == old.name
    assert {
        name: bytes(file.cache).rstrip(b"\0") for name, file in old.files.items() if ".seg" in name
    } == before
    assert new.chain.uid.encode() in bytes(old.files[journal.CLOSED].medium)
    volume.end_process()
    assert recovery(volume, seed=9).open().chain.uid == new.chain.uid


def test_the_predecessor_is_named_up_to_where_it_was_last_known(volume: SimVolume) -> None:
    log = recovery(volume).open()
    seal(log, event(1))
    known = Watermark(seq=99, hash="ab" * 32)
    new = restarted(volume, known)
    opening = entries(volume.directories[new.chain.uid])[0]
    assert opening["metadata"]["predecessor"] == {"chain_uid": log.chain.uid, "seq": 99, "hash": "ab" * 32}


def test_the_hash_in_front_of_the_first_segment_is_compared_too(volume: SimVolume) -> None:
    log = recovery(volume).open()
    seal(log, event(1))
    head = watermark(volume, 3)
    again = restarted(volume)
    first(volume).remove(journal.segment_name(1))
    resumed = restarted(volume, head, seed=3)
    assert resumed.chain.uid == again.chain.uid


def test_spooled_outcomes_enter_the_chain_late_and_once(volume: SimVolume) -> None:
    log = recovery(volume).open()
    seal(log, intent(1))
    Disk(volume, "flush")
    seal(log, outcome(1))
    volume.fail = lambda operation, name: 0
    restarted(volume)
    found = [each for each in entries(first(volume)) if each.get("correlation_id") == "req-1"]
    assert [each["phase"] for each in found] == ["intent", "outcome"]
    assert found[1]["metadata"]["late"] is True
    assert entries(first(volume))[-1]["metadata"]["late_outcomes"] == 1


def test_a_crash_between_late_entries_and_emptying_the_spool_doubles_nothing(volume: SimVolume) -> None:
    log = recovery(volume).open()
    Disk(volume, "flush")
    seal(log, outcome(1))
    volume.fail = lambda operation, name: 0
    spooled = bytes(first(volume).files[SPOOL].medium)
    restarted(volume)
    first(volume).files[SPOOL].write(0, spooled)
    restarted(volume)
    found = [each for each in entries(first(volume)) if each.get("correlation_id") == "req-1"]
    assert len(found) == 1


def test_an_outcome_that_reached_journal_and_spool_is_one(volume: SimVolume) -> None:
    log = recovery(volume).open()
    (receipt,) = seal(log, outcome(1))
    assert isinstance(receipt, Receipt)
    record = list(history(first(volume)))[-1]
    first(volume).files[SPOOL].write(0, journal.frame(record.entry, record.personal))
    restarted(volume)
    found = [each for each in entries(first(volume)) if each.get("correlation_id") == "req-1"]
    assert [each["id"] for each in found] == [receipt.id]


def test_spooled_outcomes_of_an_abandoned_chain_enter_its_successor(volume: SimVolume) -> None:
    log = recovery(volume).open()
    seal(log, intent(1), intent(2))
    Disk(volume, "flush")
    seal(log, outcome(1))
    volume.fail = lambda operation, name: 0
    new = restarted(volume, Watermark(seq=99, hash="ab" * 32))
    found = entries(volume.directories[new.chain.uid])
    assert [(each.get("correlation_id"), each.get("reason")) for each in found[1:3]] == [
        ("req-1", None),
        ("req-2", "outcome_unknown"),
    ]


def test_an_intent_without_outcome_is_closed_as_unknown(volume: SimVolume) -> None:
    log = recovery(volume).open()
    caller = Personal(subject="alice", source_ip="192.0.2.7", token_id="t-1", source_port=4711)
    seal(log, intent(1, personal=caller, identity={"auth": "local"}), intent(2), outcome(2))
    restarted(volume)
    *_, record, _ = history(first(volume))
    closing = decode(record.entry)
    assert (closing["phase"], closing["decision"], closing["reason"]) == (
        "outcome",
        "error",
        "outcome_unknown",
    )
    assert (closing["action"], closing["correlation_id"]) == ("tool_call", "req-1")
    assert closing["metadata"] == {"intent_chain": log.chain.uid, "intent_seq": 3}
    assert closing["identity"] == {"auth": "local"}
    assert decode(record.personal)["values"] == {
        "subject": "alice",
        "source_ip": "192.0.2.7",
        "token_id": "t-1",
    }
    assert entries(first(volume))[-1]["metadata"]["unknown_outcomes"] == 1
    restarted(volume)
    assert entries(first(volume))[-1]["metadata"]["unknown_outcomes"] == 0


def test_an_intent_of_nobody_is_closed_for_nobody(volume: SimVolume) -> None:
    seal(recovery(volume).open(), intent(1, personal=Personal()))
    restarted(volume)
    *_, record, _ = history(first(volume))
    assert (decode(record.entry)["reason"], record.personal) == ("outcome_unknown", b"")


def test_an_intent_that_only_the_database_still_has_is_closed(volume: SimVolume) -> None:
    log = recovery(volume).open()
    seal(log, intent(1), intent(2))
    rows = [Whole(entry=record.entry, personal=b"") for record in history(first(volume))][2:4]
    head = watermark(volume, 4, open_intents=tuple(rows))
    again = restarted(volume)
    seal(again, outcome(2))
    volume.directories[log.chain.uid].remove(journal.segment_name(1))
    closed = [each for each in entries(first(volume)) if each.get("reason") == "outcome_unknown"]
    assert {each["correlation_id"] for each in closed} == {"req-1", "req-2"}
    restarted(volume, head, seed=5)
    closed = [each for each in entries(first(volume)) if each.get("reason") == "outcome_unknown"]
    assert len(closed) == 2


def test_a_half_made_segment_is_swept_away(volume: SimVolume) -> None:
    recovery(volume).open()
    first(volume).create(FRESH, 4096)
    restarted(volume)
    assert FRESH not in first(volume).names()


def test_a_directory_without_records_becomes_a_chain(volume: SimVolume) -> None:
    uid = "0192aaaa-0000-7000-8000-00000000000c"
    volume.directory(uid)
    log = recovery(volume).open()
    assert log.chain.uid == uid
    assert actions(first(volume)) == ["chain_open", "process_start"]


def test_an_empty_segment_is_replaced(volume: SimVolume) -> None:
    log = recovery(volume).open()
    seal(log, event(1))
    log.close()
    restarted(volume)
    head = journal.Header(chain_uid=log.chain.uid, first_seq=5, previous_hash=previous(volume, 4))
    first(volume).create(journal.segment_name(5), 4096).write(0, journal.header(head))
    restarted(volume, seed=8)
    check_chain(list(history(first(volume))))


def previous(volume: SimVolume, seq: int) -> str:
    (record,) = [each for each in history(first(volume)) if each.seq == seq]
    return entry_hash(record.entry)


def test_surplus_chains_are_closed_in_order(volume: SimVolume) -> None:
    logs = [recovery(volume, seed=seed).open() for seed in (1, 2, 3)]
    seal(logs[2], intent(1))
    volume.end_process()
    names = volume.names()
    retired = recovery(volume, seed=4).retire(keep=1)
    assert retired == names[1:]
    for uid in retired:
        assert actions(volume.directories[uid])[-1] == "chain_close"
        assert "reserve" not in volume.directories[uid].names()
    told = [each.get("reason") for uid in retired for each in entries(volume.directories[uid])]
    assert "outcome_unknown" in told
    assert recovery(volume, seed=5).open().chain.uid == names[0]
    assert recovery(volume, seed=6).retire(keep=1) == []


def test_a_chain_that_somebody_holds_is_not_retired(volume: SimVolume) -> None:
    for seed in (1, 2):
        recovery(volume, seed=seed).open()
    assert recovery(volume, seed=4).retire(keep=0) == []


def test_a_crash_in_the_middle_of_retiring_is_repeated(volume: SimVolume) -> None:
    for seed in (1, 2):
        recovery(volume, seed=seed).open()
    volume.end_process()
    volume.fail = lambda operation, name: errno.EIO if name == journal.CLOSED else 0
    with pytest.raises(AuditFault, match="cannot be closed"):
        recovery(volume, seed=3).retire(keep=1)
    volume.fail = lambda operation, name: 0
    volume.lose_power(dice(2))
    assert recovery(volume, seed=4).retire(keep=1) == [volume.names()[1]]


def test_a_disk_that_takes_nothing_stops_the_start(volume: SimVolume) -> None:
    volume.fail = lambda operation, name: errno.EIO if operation == "create" else 0
    with pytest.raises(AuditFault, match="cannot be opened"):
        recovery(volume).open()


def test_spooled_outcomes_that_cannot_be_recorded_stop_the_start(volume: SimVolume) -> None:
    log = recovery(volume).open()
    Disk(volume, "flush")
    seal(log, outcome(1))
    with pytest.raises(AuditFault, match="1 spooled outcomes"):
        restarted(volume)
    volume.fail = lambda operation, name: 0
    restarted(volume)
    assert "req-1" in [each.get("correlation_id") for each in entries(first(volume))]


class Contested(SimVolume):
    """Another worker takes the first chains as soon as they are there."""

    def __init__(self, lost: int) -> None:
        super().__init__()
        self.lost = lost

    def directory(self, name: str) -> SimDirectory:
        made = name not in self.directories
        directory = super().directory(name)
        if made and self.lost:
            self.lost -= 1
            self.directories[name].lock()
        return directory


def test_a_chain_that_another_worker_took_while_it_was_made_is_left_to_it() -> None:
    volume = Contested(2)
    recovery(volume, heads=lambda _: None, seed=1).open().close()
    assert [len(volume.directories[name].files) > 0 for name in volume.names()].count(True) == 1
    assert len(volume.names()) == 3


def test_who_loses_every_chain_that_is_made_records_nothing() -> None:
    with pytest.raises(AuditFault, match="were taken while they were made"):
        recovery(Contested(1000), heads=lambda _: None, seed=1).open()
