"""What is missing is found, and what nobody can tell is said to be unknown."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from airlock.audit import database, gaps, journal
from airlock.audit.gaps import Exit, Gap, LiveChain
from airlock.audit.standing import standing
from airlock.audit.tail import held
from airlock.model.entry import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.audit.conftest import Log

ALWAYS = "0000"


def look(log: Log, *, since: str = ALWAYS, db_only: bool = False) -> list[Gap]:
    with closing(database.open_reader(log.path)) as db:
        live = None if db_only else standing(log.journals)
        return gaps.find(db, since=since, now=log.clock.wall(), journal=live)


def found(log: Log, **options: bool | str) -> list[tuple[str, str]]:
    return [(gap.check, gap.result) for gap in look(log, **options)]  # pyright: ignore[reportArgumentType]


def system(action: str) -> Event:
    return Event(event_type="system", action=action)


def intent(number: int, phase: str = "intent") -> Event:
    decision = None if phase == "intent" else "allow"
    return Event(
        event_type="call",
        phase=phase,  # pyright: ignore[reportArgumentType]
        action="tool_call",
        decision=decision,
        correlation_id=f"call-{number}",
    )


def test_a_whole_log_has_no_gap(log: Log) -> None:
    assert (look(log), gaps.exit_code([])) == ([], Exit.NONE)


def test_a_removed_row_is_a_hole_in_both_counters(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal WHERE n = 5", "DELETE FROM audit_log WHERE seq = 5")
    holes = look(log)
    assert [(gap.check, gap.range) for gap in holes] == [
        ("seq", "seq 5 to 5"),
        ("tenant_seq", "tenant acme: 4 to 4"),
    ]
    assert gaps.exit_code(holes) is Exit.GAPS


def test_a_cut_tail_is_a_hole_before_the_head(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal WHERE n > 8", "DELETE FROM audit_log WHERE seq > 8")
    assert [(gap.check, gap.range) for gap in look(log)] == [("seq", "seq 9 to 10")]


def test_a_missing_beginning_is_a_hole(log: Log) -> None:
    log.tamper("DELETE FROM audit_log WHERE seq = 1")
    assert [(gap.check, gap.range) for gap in look(log)][:1] == [("seq", "seq 1 to 1")]


def test_holes_between_skeletons_cannot_be_told(log: Log) -> None:
    log.tamper(
        "DELETE FROM audit_personal WHERE n = 5",
        "UPDATE audit_log SET entry = NULL, tenant = NULL WHERE n = 5",
    )
    assert found(log) == [("tenant_seq", "cannot tell")]
    assert gaps.exit_code(look(log)) is Exit.CANNOT_TELL


def test_a_call_without_an_end_is_a_gap_once_its_time_is_over(log: Log) -> None:
    log.append(intent(1), intent(2), intent(2, "outcome"))
    log.project()
    assert found(log) == []
    log.clock.forward(331)
    (gap,) = look(log)
    assert (gap.check, gap.range, "call-1" in gap.cause) == ("dangling", "seq 11", True)


def test_a_clock_that_goes_back_or_was_set_is_named(log: Log) -> None:
    log.clock.now -= 60
    log.append(system("heartbeat"), system("clock_step"))
    log.project()
    assert found(log) == [("clock", "gap"), ("clock", "gap")]


@pytest.mark.parametrize(
    ("before", "result"),
    [("heartbeat", [("silence", "gap")]), ("approval", [("silence", "cannot tell")]), ("process_stop", [])],
)
def test_an_hour_without_events(log: Log, before: str, result: list[tuple[str, str]]) -> None:
    log.append(system(before))
    log.clock.forward(2 * 3600)
    log.append(system("process_start"))
    log.project()
    assert found(log) == result


def test_what_lies_before_the_time_asked_for_is_not_repeated(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal WHERE n = 5", "DELETE FROM audit_log WHERE seq = 5")
    assert look(log, since="2999-01-01") == []


def test_records_that_are_not_projected_are_counted(log: Log) -> None:
    log.fill(2)
    assert [(gap.check, gap.range) for gap in look(log)] == [("lag", "seq 11 to 12")]


def test_a_chain_that_the_database_does_not_know_is_behind_from_its_first_record(
    log: Log, new_log: Callable[..., Log]
) -> None:
    other = new_log()
    other.fill(1)
    assert [(gap.chain_uid, gap.range) for gap in look(log)] == [(other.uid, "seq 1 to 2")]


def test_a_dead_process_leaves_an_open_chain(log: Log) -> None:
    log.release()
    assert found(log) == [("open chain", "gap")]


@pytest.mark.parametrize("farewell", ["process_stop", "chain_close"])
def test_a_chain_that_ended_in_order_is_no_gap(log: Log, farewell: str) -> None:
    log.append(system(farewell))
    log.project()
    log.release()
    assert found(log) == []


def test_a_chain_that_another_continues_is_no_gap(log: Log, new_log: Callable[..., Log]) -> None:
    log.release()
    other = new_log()
    old = {"chain_uid": log.uid, "seq": 10, "hash": log.chain.hash}
    other.append(Event(event_type="system", action="chain_open", metadata={"predecessor": old}))
    log.project()
    assert found(log) == []
    assert log.rows("SELECT COUNT(*) FROM audit_chains WHERE closed_at IS NOT NULL") == [(1,)]


def test_outcomes_in_the_spool_are_a_gap(log: Log) -> None:
    sealed = log.append(intent(1, "outcome"))[0]
    log.project()
    frame = journal.frame(sealed.entry, sealed.personal)
    (log.journals / log.uid / "spool").write_bytes(frame + bytes(100))
    assert [(gap.check, "1 outcomes" in gap.cause) for gap in look(log)] == [("spool", True)]


def test_a_damaged_journal_is_a_gap(log: Log) -> None:
    log.append(intent(1, "outcome"))
    log.append(intent(2, "outcome"))
    log.project()
    log.release()
    segment = journal.segments(log.journals / log.uid)[-1]
    segment.write_bytes(segment.read_bytes().replace(b"call-1", b"call-X"))
    assert ("journal", "gap") in found(log)


def test_a_database_alone_cannot_tell_about_the_journal(log: Log) -> None:
    assert found(log, db_only=True) == [("journal", "cannot tell")]


@pytest.mark.parametrize(
    ("live", "result"),
    [
        (LiveChain(held=None, durable=10), [("open chain", "cannot tell")]),
        (LiveChain(held=True, durable=10), []),
        (None, [("open chain", "gap")]),
    ],
    ids=["unknown", "written", "journal gone"],
)
def test_an_open_chain_by_what_is_known_of_its_writer(
    log: Log, live: LiveChain | None, result: list[tuple[str, str]]
) -> None:
    with closing(database.open_reader(log.path)) as db:
        state = {} if live is None else {log.uid: live}
        found = gaps.find(db, since=ALWAYS, now=log.clock.wall(), journal=state)
    assert [(gap.check, gap.result) for gap in found] == result


def test_a_lock_is_seen_without_touching_it(log: Log) -> None:
    chain = log.journals / log.uid
    assert (held(chain), held(chain.parent / "nowhere")) == (True, False)
    log.release()
    assert held(chain) is False
