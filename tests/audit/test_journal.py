"""Segments: what is read back, what is a torn end, and what is damage."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from airlock.audit import journal
from airlock.audit.append import Appender
from airlock.audit.chain import Chain
from airlock.audit.files import LocalVolume
from airlock.audit.journal import JournalDamaged
from tests.audit.test_chain import grow
from tests.audit.writing_parts import UID, event

if TYPE_CHECKING:
    from pathlib import Path

    from airlock.model.entry import Event


class Written:
    """A chain on this machine's disk, in batches."""

    def __init__(self, root: Path) -> None:
        self.path = root / "journal" / UID
        self.directory = LocalVolume(root / "journal").directory(UID)
        self.chain = Chain(uid=UID)
        self.appender = Appender(directory=self.directory, segment_size=64 * 1024)
        self.ends: list[int] = []

    def batch(self, *events: Event) -> None:
        draft = grow(self.chain, *events)
        self.appender.append(self.chain, draft)
        self.chain.accept(draft)
        self.directory.publish(self.chain.seq)

    def only(self) -> Path:
        (segment,) = journal.segments(self.path)
        return segment

    def change(self, at: int, data: bytes) -> None:
        with self.only().open("r+b") as stream:
            stream.seek(at)
            stream.write(data)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    found = Written(tmp_path)
    found.batch(event(1), event(2))
    found.batch(event(3))
    found.batch(event(4), event(5))
    return found


def seqs(written: Written, **bounds: int) -> list[int]:
    return [record.seq for record in journal.history(written.path, **bounds)]


def test_records_come_back_as_they_were_written(written: Written) -> None:
    draft = grow(written.chain, event(6))
    written.appender.append(written.chain, draft)
    last = list(journal.read(written.only()))[-1]
    assert last[:3] == (6, draft.sealed[0].entry, draft.sealed[0].personal)


def test_reading_goes_on_where_it_stopped(written: Written) -> None:
    first = next(journal.read(written.only()))
    rest = journal.read(written.only(), offset=first.end_offset)
    assert [record.seq for record in rest] == [2, 3, 4, 5]


def test_reading_stops_at_the_number_that_is_durable(written: Written) -> None:
    assert [record.seq for record in journal.read(written.only(), until=journal.durable(written.path))] == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip
    assert [record.seq for record in journal.read(written.only(), until=3)] == [1, 2, 3]
    middle = list(journal.read(written.only()))[2].end_offset
    assert list(journal.read(written.only(), offset=middle, until=3)) == []


def test_asking_for_more_than_was_written_gives_what_there_is(written: Written) -> None:
    assert [record.seq for record in journal.read(written.only(), until=99)] == [1, 2, 3, 4, 5]


def test_nobody_has_flushed_a_chain_without_watermark(tmp_path: Path) -> None:
    assert journal.durable(tmp_path) == 0


def test_chains_are_directories_with_a_uuid_for_a_name(tmp_path: Path) -> None:
    assert journal.chains(tmp_path / "journal") == []
    written = Written(tmp_path)
    (tmp_path / "journal" / "lost+found").mkdir()
    (tmp_path / "journal" / UID.replace("1", "2")).touch()
    assert journal.chains(tmp_path / "journal") == [written.path]


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    written = Written(tmp_path)
    for number in range(200):
        written.batch(event(number, metadata={"pad": "x" * 500}))
    paths = journal.segments(written.path)
    assert len(paths) > 1
    assert seqs(written) == list(range(1, 201))
    assert seqs(written, after=150, until=170) == list(range(151, 171))
    assert seqs(written, after=2, until=4) == [3, 4]
    assert paths[0].stat().st_size < 64 * 1024  # what it did not use went back to the disk
    assert paths[-1].stat().st_size == 64 * 1024


def test_a_record_larger_than_a_segment_gets_a_segment_of_its_own_size(tmp_path: Path) -> None:
    written = Written(tmp_path)
    written.batch(event(1, personal=event().personal.__class__(inputs=bytes(100_000))))
    assert seqs(written) == [1]


def test_a_torn_last_batch_is_no_damage(written: Written) -> None:
    ends = [record.end_offset for record in journal.read(written.only())]
    written.change(ends[3] - 5, b"torn")
    assert seqs(written) == [1, 2, 3]


def test_a_torn_mark_of_the_last_batch_is_no_damage(written: Written) -> None:
    ends = [record.end_offset for record in journal.read(written.only())]
    written.change(ends[2] + 9, b"\x13")
    assert seqs(written) == [1, 2, 3]


def test_a_torn_end_that_looks_like_a_mark_is_no_damage(written: Written) -> None:
    end = list(journal.read(written.only()))[-1].end_offset
    written.change(end, b"torn" + journal.mark(6)[:-1] + b"?")
    assert seqs(written) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("place", ["mark", "lengths", "entry", "zeros"])
def test_a_bad_record_in_front_of_a_later_batch_is_damage(written: Written, place: str) -> None:
    ends = [record.end_offset for record in journal.read(written.only())]
    at, data = {
        "mark": (journal.HEADER + 9, b"\x13"),
        "lengths": (ends[0] + 1, b"\xff\xff\xff"),
        "entry": (ends[0] + 40, b"X"),
        "zeros": (ends[0], bytes(64)),
    }[place]
    written.change(at, data)
    with pytest.raises(JournalDamaged, match="later") as raised:
        list(journal.history(written.path))
    assert raised.value.path == written.only()
    assert raised.value.offset in {journal.HEADER, ends[0]}


def test_a_bad_record_below_the_durable_number_is_damage(written: Written) -> None:
    ends = [record.end_offset for record in journal.read(written.only())]
    written.change(ends[3] + 40, b"X")
    with pytest.raises(JournalDamaged, match="acknowledged"):
        list(journal.read(written.only(), until=5))


def test_a_journal_shorter_than_the_durable_number_is_damage(written: Written) -> None:
    with pytest.raises(JournalDamaged, match="record 9 was written"):
        seqs(written, until=9)


@pytest.mark.parametrize("at", [0, 3, 20, 50, 60, 90, 126])
def test_a_changed_header_is_damage(written: Written, at: int) -> None:
    written.change(at, b"\x99")
    with pytest.raises(JournalDamaged, match="header"):
        seqs(written)


def test_a_file_cut_inside_its_header_is_damage(written: Written) -> None:
    written.only().write_bytes(b"AIRLOCK1")
    with pytest.raises(JournalDamaged, match="header"):
        seqs(written)


def test_a_header_of_another_version_is_refused() -> None:
    import struct

    from airlock.audit.crc32c import crc32c

    raw = b"AIRLOCK9".ljust(124, b"\0")
    with pytest.raises(JournalDamaged, match="version"):
        journal.parse_header(raw + struct.pack("<I", crc32c(raw)), "x")


def segment(*frames: bytes) -> io.BytesIO:
    head = journal.Header(chain_uid=UID, first_seq=1, previous_hash=None)
    return io.BytesIO(journal.header(head) + b"".join(frames) + bytes(64))


def test_a_header_comes_back_as_it_was_written() -> None:
    head = journal.Header(chain_uid=UID, first_seq=77, previous_hash="ab" * 32)
    assert journal.parse_header(journal.header(head), "x") == head
    first = journal.Header(chain_uid=UID, first_seq=1, previous_hash=None)
    assert journal.parse_header(journal.header(first), "x") == first


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (b"not json", "no entry"),
        (b'{"chain_uid":"0192bbbb-0000-7000-8000-000000000001","seq":1}', "0192bbbb"),
        (f'{{"chain_uid":"{UID}","seq":2}}'.encode(), "record 2 where 1 belongs"),
    ],
)
def test_a_record_of_another_place_is_damage(entry: bytes, what: str) -> None:
    with pytest.raises(JournalDamaged, match=what):
        list(journal.records(segment(journal.mark(1), journal.frame(entry, b"")), "x"))


def test_a_length_beyond_the_limit_is_no_record() -> None:
    assert list(journal.records(segment(b"\xff\xff\xff\x7f" + bytes(8)), "x")) == []


def test_a_segment_may_end_in_the_middle_of_a_frame() -> None:
    frame = journal.frame(f'{{"chain_uid":"{UID}","seq":1}}'.encode(), b"")
    whole = segment(journal.mark(1), frame).getvalue()
    for size in range(journal.HEADER, journal.HEADER + 20 + len(frame)):
        assert list(journal.records(io.BytesIO(whole[:size]), "x")) == []


def test_what_a_failed_flush_left_behind_is_superseded_by_the_fresh_segment(written: Written) -> None:
    lost = grow(written.chain, event(6), event(7))
    written.appender.append(written.chain, lost)
    written.appender.abandon()
    written.batch(event(8))
    assert seqs(written) == [1, 2, 3, 4, 5, 6]
    last = list(journal.history(written.path))[-1]
    assert b"req-8" in last.entry


def test_a_hole_between_segments_is_damage(written: Written) -> None:
    written.appender.roll(written.chain)
    written.batch(event(6))
    first, second = journal.segments(written.path)
    second.rename(second.with_name(journal.segment_name(8)))
    with pytest.raises(JournalDamaged, match="record 7 was written"):
        seqs(written)
    assert first.exists()


def test_a_spool_is_read_up_to_its_first_bad_record() -> None:
    raw = journal.frame(b"one", b"1") + journal.frame(b"two", b"")
    assert journal.frames(raw + bytes(30)) == [(b"one", b"1"), (b"two", b"")]
    assert journal.frames(raw[:-1]) == [(b"one", b"1")]
