"""Sealing from an event loop: what `seal` promises, and what it says when it cannot keep it."""

from __future__ import annotations

import asyncio
import errno
import threading
from typing import TYPE_CHECKING

import pytest

from airlock.audit import writer as module
from airlock.audit.writer import Writer
from airlock.core.clock import SYSTEM
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
    run,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM_EVENT = Event(event_type="system", action="heartbeat")


class Bench:
    """A writer on a simulated disk whose flushes a test can hold back."""

    def __init__(self, *, linger_ms: int = 0) -> None:
        self.volume = SimVolume()
        self.lines = Lines()
        self.commit = commit(self.volume, log=self.lines)
        self.writer = Writer(commit=self.commit, clock=SYSTEM, log=self.lines, linger_ms=linger_ms)
        self.gate = threading.Event()
        self.gate.set()
        self.flushing = threading.Event()
        self.flushes = 0
        self.error = 0
        self.volume.fail = self.pass_gate

    def pass_gate(self, operation: str, name: str) -> int:
        if operation == "flush" and name != "spool":
            self.flushes += 1
            self.flushing.set()
            assert self.gate.wait(10)
            return self.error
        return 0

    def hold(self) -> None:
        self.gate.clear()
        self.flushing.clear()

    async def until_flushing(self) -> None:
        await asyncio.to_thread(self.flushing.wait, 10)

    def written(self) -> list[str]:
        self.volume.fail = lambda operation, name: 0
        return [each["correlation_id"] for each in entries(self.volume.directories[UID]) if "tenant" in each]


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    found.writer.start()
    yield found
    found.gate.set()
    found.writer.close()


def test_a_receipt_names_a_durable_record(bench: Bench) -> None:
    receipt = run(bench.writer.seal(event(1)))
    bench.volume.lose_power(dice(1))
    (record,) = history(bench.volume.directories[UID])
    assert (receipt.chain_uid, receipt.seq) == (UID, 1)
    assert receipt.id.encode() in record.entry
    assert (bench.writer.chain_uid, bench.writer.head_seq, bench.writer.healthy()) == (UID, 1, "")


def test_nobody_is_woken_before_the_flush_returned(bench: Bench) -> None:
    async def story() -> None:
        bench.hold()
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(bench.writer.seal(event(1)))
            await bench.until_flushing()
            assert not waiting.done()
            bench.gate.set()
        assert waiting.done()

    run(story())


def test_what_arrives_during_a_flush_shares_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUILD_MAX", 10.0)

    async def story() -> int:
        await bench.writer.seal(event(0))
        bench.hold()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bench.writer.seal(event(1)))
            await bench.until_flushing()
            before = bench.flushes
            for number in range(2, 30):
                tasks.create_task(bench.writer.seal(event(number)))
            await until(lambda: bench.writer.queue_depth == 28)
            bench.gate.set()
        return bench.flushes - before

    assert run(story()) == 1
    check_chain(list(history(bench.volume.directories[UID])))


async def two_a_round(bench: Bench, count: int) -> None:
    """Every round of the loop brings two events."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(0, count, 2):
            tasks.create_task(bench.writer.seal(event(number)))
            tasks.create_task(bench.writer.seal(event(number + 1)))
            await asyncio.sleep(0)


def test_the_rounds_of_a_busy_loop_share_a_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("GATHER_MAX", "BUILD_MAX", "TICK"):
        monkeypatch.setattr(module, bound, 60.0)
    bench = Bench()
    bench.writer.start()
    run(two_a_round(bench, 20))
    assert bench.writer.tally.batches == 1
    bench.writer.close()
    check_chain(list(history(bench.volume.directories[UID])))


def test_a_loop_that_is_busy_for_ever_holds_no_event_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_MAX", 0.0)
    run(two_a_round(bench, 20))
    assert bench.writer.tally.written == 20


def test_a_loop_that_is_gone_holds_no_event_of_another_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)
    gone = asyncio.new_event_loop()
    left = bench.writer.seal(event(1))

    async def begin() -> None:
        left.send(None)  # as far as its wait, in a loop that ends before its next round

    gone.run_until_complete(begin())
    gone.close()
    assert run(bench.writer.seal(event(2))).seq == 2
    left.close()


def test_order_is_that_of_arrival(bench: Bench) -> None:
    async def story() -> list[int]:
        return [
            receipt.seq for receipt in await asyncio.gather(*map(bench.writer.seal, map(event, range(300))))
        ]

    assert run(story()) == list(range(1, 301))


def test_a_cancelled_waiter_does_not_unwrite_its_record(bench: Bench) -> None:
    async def story() -> None:
        bench.hold()
        async with asyncio.TaskGroup() as tasks:
            given_up = tasks.create_task(bench.writer.seal(outcome(1)))
            await bench.until_flushing()
            given_up.cancel()
            stays = tasks.create_task(bench.writer.seal(outcome(2)))
            await asyncio.sleep(0)
            bench.gate.set()
            await stays

    run(story())
    bench.writer.close()
    assert bench.written() == ["req-1", "req-2"]


def test_a_waiter_on_a_loop_that_is_gone_hurts_nobody(bench: Bench) -> None:
    bench.hold()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.writer.seal(event(1)), 0.01)

    asyncio.run(leave())
    bench.gate.set()
    assert run(bench.writer.seal(event(2))).seq == 2


@pytest.mark.parametrize(
    ("given", "effect"), [(intent(1), Effect.NONE), (outcome(1), Effect.POSSIBLE), (event(1), Effect.NONE)]
)
def test_a_disk_that_refuses_is_told_with_its_effect(bench: Bench, given: Event, effect: Effect) -> None:
    bench.error = errno.EIO
    with pytest.raises(AuditFault) as raised:
        run(bench.writer.seal(given))
    assert (raised.value.code, raised.value.reason, raised.value.effect) == (
        50303,
        "audit_unavailable",
        effect,
    )
    assert "Input/output" in bench.writer.healthy()
    assert bench.writer.failed == ""


def test_an_idle_writer_heals_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)

    async def story() -> None:
        bench.error = errno.EIO
        with pytest.raises(AuditFault):
            await bench.writer.seal(outcome(1))
        bench.error = 0
        await until(lambda: not bench.writer.healthy() and bench.writer.head_seq == 1)

    run(story())
    bench.writer.close()
    assert bench.written() == ["req-1"]


def test_a_log_that_ended_refuses_everything(bench: Bench) -> None:
    async def story() -> None:
        bench.volume.fail = lambda operation, name: errno.EIO if operation == "flush" else 0
        for given in (outcome(1), intent(2), SYSTEM_EVENT):
            with pytest.raises(AuditFault):
                await bench.writer.seal(given)
        assert "neither journal nor spool" in bench.writer.failed
        assert bench.writer.healthy() == bench.writer.failed
        assert (bench.writer.tally.failures, bench.writer.tally.refusals) == (1, 2)

    run(story())


def test_a_starved_volume_refuses_new_calls_at_once_and_closes_old_ones(bench: Bench) -> None:
    async def story() -> None:
        bench.volume.foreign = bench.volume.total - 1024 * 1024
        bench.commit.room.spend()
        for given in (intent(1), event(2)):
            with pytest.raises(AuditFault, match="2 %"):
                await bench.writer.seal(given)
        assert (await bench.writer.seal(outcome(3))).seq == 1
        assert "2 %" in bench.writer.healthy()

    run(story())


def test_a_full_queue_refuses_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_MAX", 3)

    async def story() -> None:
        bench.hold()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bench.writer.seal(event(0)))
            await bench.until_flushing()
            for number in range(1, 4):
                tasks.create_task(bench.writer.seal(event(number)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with pytest.raises(AuditFault, match="3 events wait"):
                await bench.writer.seal(event(4))
            bench.gate.set()

    run(story())


def test_closing_seals_what_is_queued_and_says_goodbye(bench: Bench) -> None:
    async def story() -> list[Receipt]:
        bench.hold()
        async with asyncio.TaskGroup() as tasks:
            sealed = [tasks.create_task(bench.writer.seal(event(0)))]
            await bench.until_flushing()
            sealed += [tasks.create_task(bench.writer.seal(event(number))) for number in range(1, 5)]
            await until(lambda: bench.writer.queue_depth == 4)
            closing = tasks.create_task(asyncio.to_thread(bench.writer.close, "test"))
            await until(lambda: bench.writer.queue_depth == 5)
            bench.gate.set()
            await closing
            bench.writer.close("again")
        with pytest.raises(AuditFault, match="closed"):
            await bench.writer.seal(event(9))
        return [task.result() for task in sealed]

    assert [receipt.seq for receipt in run(story())] == [1, 2, 3, 4, 5]
    last = entries(bench.volume.directories[UID])[-1]
    assert (last["action"], last["reason"], last["seq"]) == ("process_stop", "test", 6)
    assert "audit_batch" in bench.lines.words()


def test_a_writer_that_never_started_closes_too() -> None:
    bench = Bench()
    bench.writer.close()
    assert [each["action"] for each in entries(bench.volume.directories[UID])] == ["process_stop"]


def test_closing_without_a_disk_is_quiet() -> None:
    bench = Bench()
    bench.error = errno.EIO
    bench.writer.start()
    bench.writer.close()
    with pytest.raises(AuditFault, match="closed"):
        run(bench.writer.seal(event(1)))


def test_a_flush_that_hangs_keeps_the_lock(bench: Bench) -> None:
    directory = bench.volume.directory(UID)
    assert directory.lock()

    async def story() -> None:
        bench.hold()
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(bench.writer.seal(event(1)))
            await bench.until_flushing()
            bench.writer.close(timeout=0.01)
            assert directory.held
            bench.gate.set()
            await waiting

    run(story())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_nobody_foresaw_hangs_no_caller(bench: Bench) -> None:
    def explode(operation: str, name: str) -> int:
        raise RuntimeError("a defect")

    async def story() -> None:
        bench.volume.fail = explode
        with pytest.raises(AuditFault, match="ended unexpectedly"):
            await bench.writer.seal(outcome(1))
        with pytest.raises(AuditFault, match="ended unexpectedly"):
            await bench.writer.seal(event(2))
        assert "unexpectedly" in bench.writer.failed

    run(story())
    bench.writer.close()


def test_a_seal_that_races_the_end_of_the_thread_is_answered() -> None:
    bench = Bench()

    class Ending(Writer):
        """Ends between the check and the put."""

        def _refusal(self, event: Event) -> str:
            self.close()
            return ""

    writer = Ending(commit=bench.commit, clock=SYSTEM, log=bench.lines)
    writer.start()
    with pytest.raises(AuditFault, match="closed"):
        run(writer.seal(outcome(1)))


@pytest.mark.parametrize("alone", [True, False])
def test_a_moved_clock_makes_a_row(monkeypatch: pytest.MonkeyPatch, *, alone: bool) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)
    volume, clock = SimVolume(), HandClock()
    writer = Writer(commit=commit(volume, clock=clock), clock=clock, log=Lines())

    async def story() -> None:
        clock.now -= 3600
        writer.start()
        if not alone:
            await writer.seal(event(1))
        await until(lambda: writer.head_seq == (1 if alone else 2))

    run(story())
    writer.close()
    found = entries(volume.directories[UID])
    assert [each["action"] for each in found if each["action"] == "clock_step"] == ["clock_step"]
    check_chain(list(history(volume.directories[UID])))


@pytest.mark.parametrize("linger_ms", [1, 10])
def test_lingering_waits_for_company(linger_ms: int) -> None:
    bench = Bench(linger_ms=linger_ms)
    bench.writer.start()

    async def story() -> None:
        await bench.writer.seal(event(0))
        await asyncio.gather(*map(bench.writer.seal, map(event, range(1, 50))))

    run(story())
    bench.writer.close()
    assert len(bench.written()) == 50


def test_a_batch_does_not_grow_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUILD_MAX", 0.0)

    async def story() -> None:
        await asyncio.gather(*map(bench.writer.seal, map(event, range(50))))

    run(story())
    assert bench.writer.tally.batches == 50


def test_a_lone_surrogate_in_a_user_agent_is_sealed(bench: Bench) -> None:
    run(bench.writer.seal(event(1, personal=Personal(user_agent="\udcff"))))
    (record,) = history(bench.volume.directories[UID])
    assert b"\\\\udcff" in record.personal
