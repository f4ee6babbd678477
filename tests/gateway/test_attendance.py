"""Sessions of legacy clients in several workers: who is idle, who is too many, and who hears of it."""

from __future__ import annotations

import pytest

from airlock.core.errors import Rejected
from airlock.gateway import attendance
from airlock.gateway.attendance import AT_ONCE, IDLE, LAG, TELL, Attendance, Seen
from airlock.gateway.sessions import Sessions
from tests.gateway.parts import NOW, authenticated, principal, sealer


class Worker:
    """One worker, and what it told."""

    def __init__(self, *, per_principal: int = 3, most: int = 100) -> None:
        self.over: list[str] = []
        self.told: list[Seen] = []
        self.known = Attendance(
            per_principal=per_principal, most=most, over=self.over.append, tell=self.told.append
        )


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_what_is_not_used_for_half_an_hour_ends(worker: Worker) -> None:
    worker.known.begin("idle", "ada", 0.0)
    worker.known.begin("used", "ada", 0.0)
    worker.known.saw("used", "ada", IDLE)
    assert worker.known.sweep(IDLE + LAG) == {}
    assert worker.known.sweep(IDLE + LAG + 1) == {"idle": 1}
    assert worker.over == ["idle"]
    assert not worker.known.saw("idle", "ada", IDLE + LAG + 2)
    assert worker.known.saw("used", "ada", IDLE + LAG + 2)
    assert worker.known.sweep(IDLE + LAG + 3) == {}


def test_who_reads_a_stream_of_its_session_uses_it(worker: Worker) -> None:
    worker.known.begin("read", "ada", 0.0)
    worker.known.sweep(IDLE, ["read", "of nobody"])
    assert worker.known.sweep(IDLE + LAG + 1) == {}
    assert len(worker.known) == 1


def test_one_too_many_ends_the_one_of_its_principal_that_was_used_longest_ago(worker: Worker) -> None:
    worker.known.begin("of another", "bob", 0.0)
    for number in range(3):
        worker.known.begin(f"s{number}", "ada", 1.0 + number)
    worker.known.saw("s0", "ada", 9.0)
    worker.known.begin("s3", "ada", 10.0)
    assert worker.over == ["s1"]
    assert worker.known.sweep(11.0) == {"surplus": 1}


def test_a_principal_has_thirty_two_and_a_process_ten_thousand() -> None:
    assert (attendance.PER_PRINCIPAL, attendance.MOST, attendance.IDLE) == (32, 10_000, 1800)


def test_one_too_many_in_a_process_ends_the_one_that_was_used_longest_ago() -> None:
    worker = Worker(most=2)
    for at, name in enumerate(("ada", "bob", "cyd")):
        worker.known.begin(name, name, float(at))
    assert worker.over == ["ada"]


def test_the_others_hear_of_what_began_at_once_and_of_use_now_and_then(worker: Worker) -> None:
    worker.known.begin("s", "ada", 0.0)
    assert worker.told == [{"s": ("ada", 0.0)}]
    worker.known.saw("s", "ada", TELL - 1)
    worker.known.sweep(TELL)
    assert len(worker.told) == 1
    worker.known.saw("s", "ada", TELL + 1)
    worker.known.sweep(TELL + 2)
    worker.known.sweep(TELL + 3)
    assert worker.told[1:] == [{"s": ("ada", TELL + 1)}]


def test_use_in_another_worker_counts(worker: Worker) -> None:
    worker.known.begin("s", "ada", 0.0)
    worker.known.heard({"s": ("ada", IDLE), "t": ("ada", 0.0)})
    worker.known.heard({"s": ("ada", 5.0)})
    assert worker.known.sweep(IDLE + LAG + 1) == {"idle": 1}
    assert worker.over == ["t"]
    worker.known.heard({"t": ("ada", IDLE)})
    assert not worker.known.saw("t", "ada", IDLE)


def test_sessions_of_other_workers_count_and_only_the_worker_of_the_new_one_makes_room(
    worker: Worker,
) -> None:
    worker.known.heard({f"s{number}": ("ada", float(number)) for number in range(4)})
    assert worker.over == []
    worker.known.begin("s4", "ada", 5.0)
    assert worker.over == ["s0"]


def test_what_two_workers_opened_at_once_is_made_up_for_at_the_next_look(worker: Worker) -> None:
    worker.known.heard({f"s{number}": ("ada", float(number)) for number in range(5)} | {"t": ("bob", 0.0)})
    assert worker.known.sweep(10.0) == {"surplus": 2}
    assert worker.over == ["s0", "s1"]


def test_a_session_that_nobody_here_remembers_counts_from_its_next_use(worker: Worker) -> None:
    assert worker.known.saw("before the restart", "ada", 50.0)
    worker.known.sweep(51.0)
    assert worker.told == [{"before the restart": ("ada", 50.0)}]


def test_what_is_over_leaves_nothing_but_its_name(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "ENDED", 2)
    worker.known.begin("s", "ada", 0.0)
    for sid in ("s", "s", "t", "u"):
        worker.known.gone(sid)
    assert len(worker.known) == 0
    assert [worker.known.saw(sid, "ada", 1.0) for sid in ("t", "u", "s")] == [False, False, True]
    assert worker.over == []


def test_a_sweep_ends_and_tells_so_many_at_once() -> None:
    worker = Worker(per_principal=10_000, most=10_000)
    for number in range(AT_ONCE + 1):
        worker.known.saw(str(number), "ada", 0.0)
    worker.known.sweep(TELL)
    assert [len(seen) for seen in worker.told] == [AT_ONCE, 1]
    assert [worker.known.sweep(IDLE + LAG + 1) for _ in range(2)] == [{"idle": AT_ONCE}, {"idle": 1}]


def test_an_ended_session_is_unknown_and_a_foreign_look_is_no_use() -> None:
    known = Attendance()
    sessions = Sessions(sealer(), attendance=known)
    text, sid = sessions.mint(authenticated(), "2025-11-25", NOW)
    with pytest.raises(Rejected, match="Unknown session"):
        sessions.open(text, authenticated(who=principal("bob")), NOW + IDLE)
    session = sessions.open(text, authenticated(), NOW)
    assert known.sweep(NOW + IDLE + LAG + 1) == {"idle": 1}
    assert not sessions.still(session, authenticated(), NOW)
    with pytest.raises(Rejected, match="Unknown session") as rejected:
        sessions.open(text, authenticated(), NOW + IDLE + LAG + 1)
    assert (rejected.value.http, sid in str(rejected.value.text)) == (404, False)


def test_the_thirty_third_session_ends_the_first() -> None:
    sessions = Sessions(sealer())
    texts = [sessions.mint(authenticated(), "2025-11-25", NOW + number)[0] for number in range(33)]
    with pytest.raises(Rejected):
        sessions.open(texts[0], authenticated(), NOW + 40)
    assert all(sessions.open(text, authenticated(), NOW + 40) for text in texts[1:])
