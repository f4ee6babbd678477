"""P-5 and P-6: the three pipes of a server, each bounded."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.clock import SYSTEM
from airlock.upstream.pipes import (
    LOGGED_LINES,
    MAX_PENDING,
    MAX_QUEUED,
    RING,
    Blocked,
    Complaints,
    Lines,
    LineTooLong,
    Message,
    Outbox,
    escaped,
)
from tests.upstream.stdio_parts import until

MIB = 1024 * 1024


class Turned:
    """A clock that is turned by hand."""

    now = 1000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=400), cut=st.integers(min_value=1, max_value=30))
def test_lines_are_what_stands_between_line_feeds(data: bytes, cut: int) -> None:
    lines = Lines()
    found = [line for at in range(0, len(data), cut) for line in lines.feed(data[at : at + cut])]
    assert found == data.split(b"\n")[:-1]


@pytest.mark.parametrize(
    "pieces", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"x" * 11 + b"\n"], [b"\n" + b"x" * 11]]
)
def test_a_line_over_the_limit_ends_the_stream(pieces: list[bytes]) -> None:
    lines = Lines(limit=10)
    with pytest.raises(LineTooLong):
        for piece in pieces:
            lines.feed(piece)


class Reader:
    """A pipe with an outbox at one end; the test reads the other one, or does not."""

    def __init__(self, *, patience: float = 5.0) -> None:
        self.end, write = os.pipe()
        os.set_blocking(write, False)
        self.clock = Turned()
        self.outbox = Outbox(write, clock=self.clock, patience=patience)
        self.expired: list[Message] = []

    def push(self, data: bytes) -> Message:
        message = Message(data, lambda: self.expired.append(message))
        self.outbox.push(message)
        return message

    async def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            found += await asyncio.to_thread(os.read, self.end, size - len(found))
        return found

    def close(self) -> None:
        self.outbox.close()
        os.close(self.end)


def test_messages_arrive_whole_and_in_order_through_a_full_pipe() -> None:
    async def run() -> None:
        reader = Reader()
        sent = [bytes([number]) * 50_000 for number in range(20)]
        for data in sent:
            reader.push(data)
        assert await reader.read(1_000_000) == b"".join(sent)
        reader.close()

    asyncio.run(run())


def test_a_reader_that_stopped_is_given_up_at_one_mebibyte() -> None:
    async def run() -> None:
        reader = Reader()
        reader.push(b"x" * (MAX_PENDING + 2**17))
        reader.push(b"it was reading a moment ago")
        reader.clock.now += 1
        with pytest.raises(Blocked):
            reader.push(b"x")
        reader.close()

    asyncio.run(run())


def test_even_a_reader_that_goes_on_gets_no_endless_queue() -> None:
    async def run() -> None:
        reader = Reader()
        for _ in range(9):
            reader.push(b"x" * (MAX_QUEUED // 8))
        with pytest.raises(Blocked):
            reader.push(b"x")
        reader.close()

    asyncio.run(run())


def test_what_waits_too_long_expires_and_only_what_was_begun_still_arrives() -> None:
    async def run() -> None:
        reader = Reader(patience=0.05)
        begun, waiting = reader.push(b"x" * MIB), reader.push(b"y")
        reader.clock.now += 1
        await until(lambda: waiting in reader.expired)
        assert (begun.started, waiting.started) == (True, False)
        reader.push(b"z")
        assert await reader.read(MIB + 1) == b"x" * MIB + b"z"
        reader.close()

    asyncio.run(run())


def test_a_slow_reader_is_no_blocked_reader() -> None:
    async def run() -> None:
        reader = Reader(patience=0.05)
        reader.push(b"x" * MIB)
        await asyncio.sleep(0.1)  # the clock, turned by hand, says that no time has passed
        assert not reader.expired
        reader.close()

    asyncio.run(run())


def test_only_what_was_not_begun_can_be_taken_back() -> None:
    async def run() -> None:
        reader = Reader()
        begun, waiting = reader.push(b"x" * MIB), reader.push(b"y")
        assert not reader.outbox.withdraw(begun)
        assert reader.outbox.withdraw(waiting)
        assert reader.outbox.withdraw(waiting)
        reader.push(b"z")
        assert (await reader.read(MIB + 1))[-1:] == b"z"
        reader.close()

    asyncio.run(run())


def test_a_pipe_without_reader_swallows_what_is_written() -> None:
    async def run() -> None:
        reader = Reader()
        os.close(reader.end)
        reader.push(b"x")
        assert reader.outbox.closed
        assert not reader.push(b"y").started
        reader.outbox.close()

    asyncio.run(run())


def test_the_ring_keeps_the_last_64_kib() -> None:
    complaints = Complaints(clock=SYSTEM, write=lambda line: None)
    for number in range(300):
        complaints.feed(b"%05d" % number * 200)
    assert len(complaints.ring) == RING
    assert complaints.ring.endswith(b"00299" * 200)


def test_twenty_lines_a_second_reach_the_log() -> None:
    clock, logged = Turned(), list[str]()
    complaints = Complaints(clock=clock, write=logged.append)
    complaints.feed(b"a\n" * 15)
    complaints.feed(b"b\n" * 15)
    assert (len(logged), complaints.suppressed) == (LOGGED_LINES, 10)
    clock.now += 1
    complaints.feed(b"c\nno end yet")
    assert (logged[-1], len(logged)) == ("c", LOGGED_LINES + 1)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain text", "plain text"),
        ("déjà".encode(), "déjà"),
        (b"\x1b[2J\x07\r", "\\x1b[2J\\x07"),
        (b"\xff", "\\xff"),
        ("\u202e\u2028".encode(), "\\u202e\\u2028"),
    ],
)
def test_control_characters_are_shown_not_obeyed(line: bytes, shown: str) -> None:
    assert escaped(line) == shown
