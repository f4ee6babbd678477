"""Lines that are kept on disk: whole, bounded, the owner's alone, and never in the way of the work."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from airlock.core import log, log_store
from airlock.core.config import Config
from airlock.core.log_reader import Reading
from airlock.core.log_store import SEGMENTS, KeptLines, Place, retire, segments
from tests.gateway.parts import HandClock

Volume = os.statvfs_result


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def place(folder: Path, most: int = 40_000, processes: int = 1) -> Place:
    return Place(folder=str(folder / "logs"), most=most, processes=processes)


def line(number: int, size: int = 0, *, event: str = "lifecycle", at: float = 0) -> bytes:
    told: dict[str, Any] = {"timestamp": f"2027-01-15T08:00:{at:09.6f}Z", "level": "info", "event": event}
    return json.dumps({**told, "n": number, "x": "x" * size}).encode() + b"\n"


def numbers(folder: Path) -> list[int]:
    return [json.loads(found.text)["n"] for found in Reading(folder / "logs").lines(["lifecycle"])]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether the volume has only the room that belongs to the audit log."""
    state = [False]

    def statvfs(_: object) -> Volume:
        free = 3 if state[0] else 50
        return os.statvfs_result((4096, 4096, 100_000, free * 1000, free * 1000, 0, 0, 0, 0, 255))

    monkeypatch.setattr(log_store.os, "statvfs", statvfs)
    yield state


def test_a_line_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    kept = KeptLines(place(tmp_path), "worker-0")
    kept.write(line(1))
    (path,) = segments(tmp_path / "logs")["worker-0"]
    assert path.read_bytes() == line(1)
    kept.close()


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    kept = KeptLines(place(tmp_path), "worker-0")
    kept.write(line(1))
    kept.close()
    (path,) = segments(tmp_path / "logs")["worker-0"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_process_keeps_its_newest_lines_and_never_more_than_its_share(tmp_path: Path) -> None:
    kept = KeptLines(place(tmp_path, 40_000, processes=2), "worker-0")
    for number in range(500):
        kept.write(line(number, 200))
        files = segments(tmp_path / "logs")["worker-0"]
        assert sum(path.stat().st_size for path in files) <= 20_000
    kept.close()
    found = numbers(tmp_path)
    assert len(segments(tmp_path / "logs")["worker-0"]) == SEGMENTS
    assert found == list(range(500 - len(found), 500))
    assert len(found) > 30


def test_a_process_that_is_started_again_goes_on_in_a_file_of_its_own(tmp_path: Path) -> None:
    for number in range(7):
        kept = KeptLines(place(tmp_path), "worker-0")
        kept.write(line(number))
        kept.close()
    assert len(segments(tmp_path / "logs")["worker-0"]) == SEGMENTS
    assert numbers(tmp_path) == [3, 4, 5, 6]


def test_the_room_of_the_audit_log_is_not_taken_and_what_is_lost_is_said(
    tmp_path: Path, full: list[bool], clock: HandClock
) -> None:
    kept = KeptLines(place(tmp_path), "worker-0", clock=clock)
    for number in range(6):
        full[0] = 2 <= number < 5
        clock.seconds += 1
        kept.write(line(number))
    kept.close()
    reading = Reading(tmp_path / "logs")
    assert [found.told.event for found in reading.lines()] == ["lifecycle"] * 2 + [
        "lines_not_kept",
        "lifecycle",
    ]
    assert reading.gaps() == ["3 lines could not be kept: the volume was full"]


def test_a_write_that_the_disk_cuts_short_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptLines(place(tmp_path), "worker-0")
    kept.write(line(1))
    write = os.write

    def cut(file: int, data: bytes) -> int:
        return write(file, data[:10])

    monkeypatch.setattr(log_store.os, "write", cut)
    kept.write(line(2))
    monkeypatch.undo()
    kept.write(line(3))
    kept.close()
    reading = Reading(tmp_path / "logs")
    assert len(list(reading.lines())) == 3
    assert (reading.unreadable, reading.not_kept) == (0, 1)


def test_a_write_that_fails_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptLines(place(tmp_path), "worker-0")
    kept.write(line(1))

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_store.os, "write", refuse)
    kept.write(line(2))
    monkeypatch.undo()
    kept.close()
    assert numbers(tmp_path) == [1]


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    kept = KeptLines(place(tmp_path), "worker-0")
    kept.write(line(1))
    kept.flush()
    kept.close()


def test_a_line_larger_than_a_segment_is_counted(tmp_path: Path) -> None:
    kept = KeptLines(place(tmp_path, 4000), "worker-0")
    kept.write(line(1, 2000))
    kept.write(line(2))
    kept.close()
    reading = Reading(tmp_path / "logs")
    assert [found.told.event for found in reading.lines()] == ["lines_not_kept", "lifecycle"]


def test_what_retired_workers_left_is_bounded(tmp_path: Path) -> None:
    here = place(tmp_path, 40_000, processes=4)
    for number, name in enumerate(("worker-0", "worker-7", "worker-8")):
        kept = KeptLines(here, name)
        for _ in range(40):
            kept.write(line(number, 200))
        kept.close()
    for age, path in enumerate(reversed(segments(tmp_path / "logs")["worker-7"])):
        os.utime(path, (1000 - age, 1000 - age))
    retire(here, {"worker-0"})
    left = segments(tmp_path / "logs")
    assert len(left["worker-0"]) == SEGMENTS
    old = [path for name, paths in left.items() if name != "worker-0" for path in paths]
    assert 0 < sum(path.stat().st_size for path in old) <= 10_000
    assert {path.name.split(".")[0] for path in old} == {"worker-8"}


def test_where_nothing_was_kept_nothing_is_retired(tmp_path: Path) -> None:
    retire(place(tmp_path), set())


def test_the_place_follows_the_configuration() -> None:
    config = Config(data_dir="/data")
    assert Place.of(config) == Place(folder="/data/logs", most=64 * 2**20, processes=5)


def test_a_logger_writes_to_both_and_one_that_fails_does_not_silence_the_other(tmp_path: Path) -> None:
    class Broken:
        def write(self, data: bytes, /) -> object:
            raise BrokenPipeError

        def flush(self) -> None:
            raise AssertionError("nothing was written")

    kept = KeptLines(place(tmp_path), "worker-0")
    log.configure("info", Broken(), kept=kept)
    try:
        log.get("gateway").info("lifecycle", n=5)
    finally:
        structlog.reset_defaults()
        kept.close()
    assert numbers(tmp_path) == [5]


def test_lines_of_all_processes_are_in_the_order_of_time(tmp_path: Path) -> None:
    for name, ats in (("worker-0", (1, 4, 5)), ("worker-1", (2, 3, 6)), ("supervisor", (0,))):
        kept = KeptLines(place(tmp_path), name)
        for at in ats:
            kept.write(line(at, at=at))
        kept.close()
    assert numbers(tmp_path) == list(range(7))


def test_what_is_no_line_is_counted_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "notes.txt").write_text("not ours")
    torn = line(1) + b"\xff\xfe\n" + b'{"event": 3}\n' + line(2)[:-9]
    (tmp_path / "logs" / "runner.00000001.jsonl").write_bytes(torn)
    reading = Reading(tmp_path / "logs")
    assert [found.process for found in reading.lines()] == ["runner"]
    assert reading.gaps() == ["2 lines cannot be read"]


def test_a_time_from_which_lines_were_given_up_is_a_gap(tmp_path: Path) -> None:
    kept = KeptLines(place(tmp_path, 8000), "worker-0")
    for at in range(50):
        kept.write(line(at, 300, at=at))
    kept.close()
    early, late = (Reading(tmp_path / "logs", since=f"2027-01-15T08:00:{at}") for at in ("01", "48"))
    assert [json.loads(found.text)["n"] for found in late.lines()] == [48, 49]
    assert late.gaps() == []
    first = next(iter(early.lines())).told.timestamp
    assert early.gaps() == [f"worker-0 kept nothing from before {first}"]


def test_a_file_that_is_given_up_while_it_is_read_is_a_gap(tmp_path: Path) -> None:
    for number in (1, 2):
        kept = KeptLines(place(tmp_path), "worker-0")
        kept.write(line(number, at=number))
        kept.close()
    reading = Reading(tmp_path / "logs", since="2027-01-15T08:00:00")
    segments(tmp_path / "logs")["worker-0"][0].unlink()
    assert len(list(reading.lines())) == 1
    assert len(reading.gaps()) == 1


def test_a_folder_that_was_taken_away_does_not_come_back(tmp_path: Path, clock: HandClock) -> None:
    kept = KeptLines(place(tmp_path), "worker-0", clock=clock)
    kept.write(b"{}\n")
    shutil.rmtree(tmp_path / "logs")
    clock.seconds += 60
    kept.write(b"{}\n")
    kept.close()
    assert list(tmp_path.iterdir()) == []
