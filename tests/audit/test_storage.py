"""Room for the log: what a day adds is measured, and what is not known is said."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from airlock.audit import storage
from airlock.audit.storage import DAY, Storage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.audit.conftest import Log

GIB = 1 << 30


def volume(monkeypatch: pytest.MonkeyPatch, *, total: int, free: int) -> None:
    """The volume has that many bytes."""
    asked = os.statvfs("/")
    values = list(asked[:10])
    values[0], values[1], values[2], values[4] = 4096, 4096, total // 4096, free // 4096
    told = os.statvfs_result(values)

    def statvfs(_: Path) -> os.statvfs_result:
        return told

    monkeypatch.setattr(os, "statvfs", statvfs)


def look(log: Log, *, days: float) -> Storage:
    return storage.look(log.data_dir, now=log.clock.wall() + days * DAY)


def test_growth_is_what_the_rows_of_the_last_days_take(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    volume(monkeypatch, total=100 * GIB, free=60 * GIB)
    found = look(log, days=2)
    assert (found.exit, found.findings, found.rows) == (0, [], 10)
    assert found.growth_per_day == pytest.approx(found.database / 2, rel=0.01)
    assert found.days_left == pytest.approx(58 * GIB / (found.database / 2), rel=0.01)


def test_a_log_that_grows_no_more_has_no_end_in_sight(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    volume(monkeypatch, total=100 * GIB, free=60 * GIB)
    found = look(log, days=30)
    assert (found.exit, found.growth_per_day, found.days_left) == (0, 0, None)


def test_minutes_say_nothing_of_a_day(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    volume(monkeypatch, total=100 * GIB, free=60 * GIB)
    found = look(log, days=0.01)
    assert (found.exit, found.growth_per_day) == (0, None)
    assert found.unknown == "the log is younger than an hour"


@pytest.mark.parametrize(
    ("free", "finding"),
    [
        (GIB, "below 2% no call is taken"),
        (8 * GIB, "8.0% of the volume is free, less than 10%"),
    ],
)
def test_too_little_room_is_a_finding(
    log: Log, monkeypatch: pytest.MonkeyPatch, free: int, finding: str
) -> None:
    volume(monkeypatch, total=100 * GIB, free=free)
    found = look(log, days=2)
    assert found.exit == 1
    assert finding in found.findings[0]


def test_less_than_a_week_is_a_finding(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = (log.data_dir / "audit.db").stat().st_size
    volume(monkeypatch, total=20 * taken, free=3 * taken)
    found = look(log, days=2)
    assert found.exit == 1
    assert found.findings == ["at this growth there is room for 5.2 days"]


def test_without_a_database_growth_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume(monkeypatch, total=100 * GIB, free=60 * GIB)
    found = storage.look(tmp_path, now=0.0)
    assert (found.exit, found.rows, found.database) == (3, None, 0)
    assert "cannot be read" in found.unknown
