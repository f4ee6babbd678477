"""Refusals before authentication: the first is durable at once, the rest are counted, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import AuditFault, Fault, Refused, Rejected, Stage, Unauthenticated
from airlock.gateway import strangers
from airlock.gateway.strangers import MAX_NETWORKS, WINDOW, Strangers, network_of
from tests.gateway.parts import FakeLog, HandClock, inbound, until


def refusal(reason: str = "token_missing") -> Refused:
    return Unauthenticated(401, reason, "No.")


class Room:
    """The strangers of one worker, with a clock and a log of a test."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.log = FakeLog([])
        self.strangers = Strangers(log=self.log, clock=self.clock)

    async def refuse(self, address: str = "192.0.2.7", reason: str = "token_missing", times: int = 1) -> None:
        for _ in range(times):
            await self.strangers.refused(inbound(b"", source_ip=address), refusal(reason))

    async def pass_window(self) -> None:
        self.clock.seconds += WINDOW
        await self.strangers.close_windows()

    def counts(self) -> list[int]:
        return [event.metadata["count"] for event in self.log.events]


def test_the_first_is_durable_before_it_is_answered() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse()
        assert room.counts() == [1]

    asyncio.run(scenario())


def test_those_that_follow_are_one_row_with_their_count_when_the_window_ends() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse(times=8)
        assert room.counts() == [1]
        await room.pass_window()
        assert room.counts() == [1, 7]

    asyncio.run(scenario())


def test_a_window_that_counted_nothing_leaves_no_row_and_the_next_is_a_first_again() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse()
        await room.pass_window()
        assert room.counts() == [1]
        await room.refuse()
        assert room.counts() == [1, 1]

    asyncio.run(scenario())


def test_a_steady_flow_makes_one_row_per_window() -> None:
    async def scenario() -> None:
        room = Room()
        for _ in range(5):
            await room.refuse(times=100)
            await room.pass_window()
        assert room.counts() == [1, 99, 100, 100, 100, 100]

    asyncio.run(scenario())


def test_a_window_that_still_runs_is_closed_when_the_worker_drains() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse(times=3)
        await room.strangers.close_windows()
        assert room.counts() == [1]
        await room.strangers.close_windows(everything=True)
        assert room.counts() == [1, 2]

    asyncio.run(scenario())


def test_networks_and_reasons_are_counted_apart() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse("192.0.2.7")
        await room.refuse("192.0.2.200")
        await room.refuse("198.51.100.1")
        await room.refuse("192.0.2.7", "token_expired")
        assert room.counts() == [1, 1, 1]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("failure", "decision"),
    [(refusal(), "deny"), (Fault(Stage.AUTHENTICATE, -32603, "internal_error", "No."), "error")],
)
def test_a_row_says_what_happened_and_the_address_only_among_the_personal_values(
    failure: Refused | Fault, decision: str
) -> None:
    async def scenario() -> None:
        room = Room()
        await room.strangers.refused(inbound(b""), failure)
        row = room.log.events[0]
        assert (row.event_type, row.action, row.decision, row.reason) == (
            "auth", "token_validate", decision, failure.reason,
        )  # fmt: skip
        assert row.metadata == {"count": 1, "prefix": 24}
        assert row.personal.source_ip == "192.0.2.7"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "0.0.0.0/0"),
        ("unix:", "0.0.0.0/0"),
    ],
)
def test_the_network_of_an_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_networks_beyond_the_most_share_one_aggregate() -> None:
    async def scenario() -> None:
        room = Room()
        for number in range(MAX_NETWORKS):
            await room.refuse(f"10.{number // 256}.{number % 256}.1")
        await room.refuse("192.0.2.7", times=3)
        await room.refuse("198.51.100.1", times=2)
        await room.refuse("10.0.0.9")
        assert room.counts() == [1] * (MAX_NETWORKS + 1)
        await room.pass_window()
        assert sorted(room.counts()[MAX_NETWORKS + 1 :]) == [1, 4]

    asyncio.run(scenario())


def test_a_first_that_cannot_be_written_is_told_and_counts_in_the_next_row() -> None:
    async def scenario() -> None:
        room = Room()
        room.log.broken = lambda _: True
        with pytest.raises(AuditFault):
            await room.refuse()
        await room.refuse(times=2)
        room.log.broken = lambda _: False
        await room.pass_window()
        assert room.counts() == [3]

    asyncio.run(scenario())


def test_a_count_that_cannot_be_written_is_kept_for_the_next_row() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse(times=4)
        room.log.broken = lambda _: True
        await room.pass_window()
        await room.refuse(times=2)
        room.log.broken = lambda _: False
        await room.pass_window()
        assert room.counts() == [1, 5]

    asyncio.run(scenario())


def test_windows_are_closed_as_they_end() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse(times=2)
        room.clock.seconds += WINDOW
        async with asyncio.TaskGroup() as group:
            work = group.create_task(room.strangers.run())
            await until(lambda: room.counts() == [1, 1])
            work.cancel()

    asyncio.run(scenario())


class SlowLog:
    """A log that writes a row, or fails to, when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self.written = 0

    async def seal(self, event: Any) -> Any:
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting.append((event.metadata["count"], done))
        if not await done:
            raise AuditFault("the disk is full")

    async def settle(self, which: int, written: bool) -> None:
        if self.waiting:
            count, done = self.waiting.pop(which % len(self.waiting))
            self.written += count if written else 0
            done.set_result(written)
        for _ in range(5):
            await asyncio.sleep(0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("refuse"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("close"), st.booleans(), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([1, 9, 11]), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 5), st.booleans()),
    ),
    max_size=30,
)


async def play(plan: list[tuple[str, Any, Any]]) -> tuple[int, int]:
    """Play a plan, then write all that is left: (refusals that happened, refusals that rows tell)."""
    clock, log, happened = HandClock(), SlowLog(), 0
    room = Strangers(log=log, clock=clock)
    loop = asyncio.get_running_loop()
    work: list[asyncio.Task[None]] = []
    for step, what, more in plan:
        if step == "refuse":
            for _ in range(more):
                happened += 1
                peer = inbound(b"", source_ip=f"192.0.{what}.1")
                work.append(loop.create_task(room.refused(peer, refusal())))
        elif step == "close":
            work.append(loop.create_task(room.close_windows(everything=what)))
        elif step == "wait":
            clock.seconds += what
        else:
            await log.settle(what, more)
        await asyncio.sleep(0)
    for _ in range(3):
        while log.waiting:
            await log.settle(0, True)
        work.append(loop.create_task(room.close_windows(everything=True)))
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, AuditFault) for outcome in outcomes)
    return happened, log.written


@settings(max_examples=100, deadline=None)
@given(steps)
def test_counts_are_exact_whatever_fails_and_whenever_windows_close(plan: list[tuple[str, Any, Any]]) -> None:
    happened, written = asyncio.run(play(plan))
    assert written == happened


def test_a_first_that_fails_after_its_window_was_closed_is_not_lost() -> None:
    plan = [("refuse", 0, 2), ("wait", 11, 0), ("close", True, 0), ("settle", 0, False), ("settle", 0, True)]
    assert asyncio.run(play(plan)) == (2, 2)


def test_two_closings_at_once_do_not_count_twice() -> None:
    plan = [
        ("refuse", 0, 2), ("refuse", 1, 2), ("settle", 0, True), ("settle", 0, True),
        ("wait", 11, 0), ("close", False, 0), ("close", True, 0), ("settle", 0, True), ("settle", 0, True),
    ]  # fmt: skip
    assert asyncio.run(play(plan)) == (4, 4)


def test_the_window_is_as_long_as_the_contract_says() -> None:
    assert strangers.WINDOW == 10.0


def test_whose_credential_did_not_count_is_said_once_for_each_time() -> None:
    async def scenario() -> None:
        heard: list[str] = []
        room = Strangers(log=FakeLog([]), clock=HandClock(), failed=heard.append)
        wrong = Unauthenticated(401, "signature_invalid", "No.", error="invalid_token")
        for failure in (wrong, wrong, Fault(Stage.AUTHENTICATE, -32603, "internal_error", "No.")):
            await room.refused(inbound(b""), failure)
        assert heard == ["192.0.2.7", "192.0.2.7"]

    asyncio.run(scenario())


def test_who_sends_no_credential_has_not_failed() -> None:
    async def scenario() -> None:
        heard: list[str] = []
        room = Strangers(log=FakeLog([]), clock=HandClock(), failed=heard.append)
        await room.refused(inbound(b""), refusal())
        assert heard == []

    asyncio.run(scenario())


def test_an_address_that_is_turned_away_leaves_a_row_of_its_own_kind() -> None:
    async def scenario() -> None:
        room = Room()
        away = Rejected(429, 42901, "rate_limited", "Too much.")
        for _ in range(1000):
            await room.strangers.turned_away("192.0.2.7", away)
        await room.pass_window()
        assert room.counts() == [1, 999]
        row = room.log.events[0]
        assert (row.event_type, row.action, row.decision, row.reason) == (
            "auth", "rate_limit_hit", "deny", "rate_limited",
        )  # fmt: skip
        assert row.personal.source_ip == "192.0.2.7"

    asyncio.run(scenario())


def test_ten_thousand_addresses_a_second_leave_bounded_rows_and_memory() -> None:
    async def scenario() -> None:
        room = Room()
        addresses = [f"10.{number >> 8}.{number & 255}.1" for number in range(10_000)]
        for second in range(3):
            for address in addresses:
                await room.refuse(address)
            room.clock.seconds += 1
            assert len(room.log.events) == MAX_NETWORKS + 1, second
        await room.pass_window()
        assert sum(room.counts()) == 30_000
        assert len(room.log.events) <= 2 * (MAX_NETWORKS + 1)

    asyncio.run(scenario())


def attempt(n: int, *, subject: str = "") -> tuple[Any, Unauthenticated]:
    """A credential that does not count: the n-th token, which claims to be somebody."""
    failure = Unauthenticated(401, "token_signature", "No.", error="invalid_token")
    failure.claimed = subject or f"user-{n}"
    return inbound(b"", headers={"authorization": f"Bearer token-{n}"}), failure


def test_a_row_counts_the_subjects_and_tokens_that_its_address_tried() -> None:
    async def scenario() -> None:
        room = Room()
        for n in range(4):
            await room.strangers.refused(*attempt(n, subject="adelheid" if n else "bob"))
        await room.pass_window()
        first, then = (event.metadata for event in room.log.events)
        assert (first["of_address"], first["subjects"], first["tokens"]) == (1, 1, 1)
        assert (then["of_address"], then["subjects"], then["tokens"]) == (3, 1, 3)
        assert len(then["token_marks"]) == 3
        assert "adelheid" not in str(room.log.events)

    asyncio.run(scenario())


def test_many_subjects_end_the_first_window_early_and_only_that() -> None:
    async def scenario() -> None:
        room = Room()
        for n in range(30):
            await room.strangers.refused(*attempt(n))
        assert room.counts() == [1, 5]
        await room.pass_window()
        assert room.counts() == [1, 5, 24]
        for n in range(30):
            await room.strangers.refused(*attempt(n))
        await room.pass_window()
        assert room.counts() == [1, 5, 24, 30]

    asyncio.run(scenario())


def test_many_tokens_of_one_subject_end_it_too() -> None:
    async def scenario() -> None:
        room = Room()
        for n in range(20):
            await room.strangers.refused(*attempt(n, subject="ada"))
        assert room.counts() == [1, 15]

    asyncio.run(scenario())


def test_a_row_names_the_address_that_was_refused_most() -> None:
    async def scenario() -> None:
        room = Room()
        for address, times in (("192.0.2.1", 2), ("192.0.2.9", 4)):
            for n in range(times):
                await room.strangers.refused(inbound(b"", source_ip=address), attempt(n)[1])
        await room.pass_window()
        assert room.log.events[-1].personal.source_ip == "192.0.2.9"

    asyncio.run(scenario())


def test_another_address_of_the_same_64_is_the_same_stranger() -> None:
    async def scenario() -> None:
        room = Room()
        for n in range(9):
            token = {"authorization": f"Bearer token-{n}"}
            peer = inbound(b"", source_ip=f"2001:db8::{n:x}", headers=token)
            await room.strangers.refused(peer, attempt(n)[1])
        assert room.counts() == [1, 5]
        row = room.log.events[-1]
        assert (row.metadata["of_address"], row.metadata["subjects"], row.metadata["prefix"]) == (5, 5, 64)
        assert row.personal.source_ip == "2001:db8::1"

    asyncio.run(scenario())


def test_what_one_window_tells_apart_is_bounded_and_its_count_is_not() -> None:
    async def scenario() -> None:
        room = Room()
        for n in range(200):
            token = {"authorization": f"Bearer token-{n}"}
            away = inbound(b"", source_ip=f"192.0.2.{n % 40}", headers=token)
            await room.strangers.refused(away, attempt(n)[1])
        await room.pass_window()
        assert sum(room.counts()) == 200
        assert all(len(event.metadata.get("token_marks", ())) <= 64 for event in room.log.events)

    asyncio.run(scenario())


def test_what_a_failing_log_did_not_take_is_told_by_the_next_row() -> None:
    async def scenario() -> None:
        room = Room()
        await room.strangers.refused(*attempt(0))
        room.log.broken = lambda _: True
        for n in range(1, 6):
            await room.strangers.refused(*attempt(n))
        assert room.counts() == [1]
        room.log.broken = lambda _: False
        await room.pass_window()
        assert room.counts() == [1, 5]
        assert room.log.events[-1].metadata["subjects"] == 5

    asyncio.run(scenario())
