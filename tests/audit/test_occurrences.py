"""What the log says of itself."""

from __future__ import annotations

import pytest

from airlock.audit.occurrences import Steps
from airlock.audit.tally import Tally
from airlock.core.errors import AuditFault
from airlock.model.entry import Receipt
from tests.audit.writing_parts import HandClock, Lines


@pytest.mark.parametrize(
    ("moved", "severity"),
    [(0.9, None), (-0.9, None), (1.5, "MEDIUM"), (-3600.0, "HIGH"), (5.5, "HIGH")],
)
def test_a_moved_clock_is_noticed_once(moved: float, severity: str | None) -> None:
    clock = HandClock()
    steps = Steps(clock)
    clock.forward(100)
    assert steps.look() is None
    clock.now += moved
    found = steps.look()
    assert (found.severity if found else None) == severity
    if found:
        assert found.action == "clock_step"
        assert found.metadata == {"moved_ms": round(moved * 1000)}
        assert steps.look() is None


def receipts(first: int, last: int) -> list[Receipt]:
    return [Receipt(chain_uid="c", seq=seq, id=str(seq), hash="h") for seq in range(first, last + 1)]


def test_lines_come_at_most_once_a_second_and_keep_the_sums() -> None:
    clock, lines = HandClock(), Lines()
    tally = Tally(clock=clock, log=lines)
    tally.batch(receipts(1, 2), latency=0.001, queue_depth=0)
    tally.batch(receipts(3, 3), latency=0.004, queue_depth=0)
    clock.forward(0.5)
    tally.batch(receipts(4, 9), latency=0.002, queue_depth=0)
    clock.forward(0.6)
    tally.line(queue_depth=7)
    tally.line(queue_depth=7)
    assert [(level, fields) for level, _, fields in lines.said] == [
        ("info", {"size": 2, "first_seq": 1, "last_seq": 2, "queue_depth": 0, "dropped": 0,
                  "latency_ms": 1.0, "result": "ok"}),
        ("info", {"size": 7, "first_seq": 3, "last_seq": 9, "queue_depth": 7, "dropped": 0,
                  "latency_ms": 4.0, "result": "ok"}),
    ]  # fmt: skip
    assert (tally.written, tally.batches, tally.last_event) == (9, 3, clock.wall() - 0.6)


def test_a_line_with_losses_is_an_error() -> None:
    lines = Lines()
    tally = Tally(clock=HandClock(), log=lines)
    tally.batch([*receipts(1, 1), AuditFault("full")], latency=0.0, queue_depth=0)
    ((level, _, fields),) = lines.said
    assert (level, fields["dropped"], fields["result"], tally.failures) == ("error", 1, "error", 1)


def test_a_batch_in_which_all_failed_has_no_numbers() -> None:
    lines = Lines()
    tally = Tally(clock=HandClock(), log=lines)
    tally.batch([AuditFault("full")], latency=0.0, queue_depth=0)
    tally.refused()
    assert (tally.last_event, tally.refusals) == (None, 1)
    assert lines.said[0][2]["first_seq"] == 0
