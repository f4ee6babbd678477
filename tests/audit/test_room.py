"""The reserve, and the line below which nothing new begins."""

from __future__ import annotations

import errno

import pytest

from airlock.audit.room import RESERVE, SEGMENT_MIN, Room, segment_size
from tests.audit.writing_parts import UID, SimDirectory, SimVolume

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("configured", "total", "workers", "size"),
    [
        (64 * MIB, 1 << 40, 1, 64 * MIB),
        (64 * MIB, 8 * MIB, 1, 408 * 1024),
        (64 * MIB, 8 * MIB, 2, 204 * 1024),
        (64 * MIB, 1 * MIB, 4, SEGMENT_MIN),
        (SEGMENT_MIN, 1 << 40, 1, SEGMENT_MIN),
    ],
)
def test_a_segment_is_at_most_a_twentieth_of_the_volume(
    configured: int, total: int, workers: int, size: int
) -> None:
    assert segment_size(configured, total, workers) == size


def held(volume: SimVolume) -> tuple[Room, SimDirectory]:
    directory = volume.directory(UID)
    room = Room(directory=directory, reserve=SEGMENT_MIN)
    room.hold()
    return room, directory


def test_the_reserve_is_taken_and_kept() -> None:
    room, directory = held(SimVolume())
    room.look(0.0)
    assert (room.starved, room.low) == (False, False)
    assert len(directory.files[RESERVE].cache) == SEGMENT_MIN
    room.hold()
    assert directory.names() == [RESERVE]


def test_below_a_tenth_it_says_so() -> None:
    volume = SimVolume()
    room, _ = held(volume)
    volume.foreign = int(volume.total * 0.93)
    room.look(0.0)
    assert (room.starved, room.low) == (False, True)


def test_below_a_fiftieth_the_reserve_is_spent_until_there_is_room_again() -> None:
    volume = SimVolume()
    room, directory = held(volume)
    volume.foreign = int(volume.total * 0.985)
    room.look(0.0)
    assert room.starved
    assert directory.names() == []
    volume.foreign = int(volume.total * 0.975)
    room.look(1.0)
    assert room.starved
    volume.foreign = 0
    room.look(1.1)
    assert room.starved, "it does not look at every batch"
    room.look(2.0)
    assert not room.starved
    assert directory.names() == [RESERVE]


def test_a_volume_that_cannot_say_how_much_is_free_counts_as_full() -> None:
    volume = SimVolume()
    room, _ = held(volume)
    volume.fail = lambda operation, name: errno.EIO if operation in {"space", "remove"} else 0
    room.look(0.0)
    assert room.starved


def test_without_its_reserve_the_volume_counts_as_full() -> None:
    room, _ = held(SimVolume(total=SEGMENT_MIN // 2))
    assert room.starved
