"""What is kept of the streams of sessions: how much, how long, and for whom."""

from __future__ import annotations

import asyncio

import pytest

from airlock.gateway import kept
from airlock.gateway.kept import BYTES, EVENTS, LIFETIME, Batch, EventId, Streams, event_id
from airlock.model.call import Redacted
from tests.edge.parts import travel
from tests.gateway.parts import HandClock, redacted


class Kept:
    """Streams, their clock, and the answers that nobody got."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.lost: list[Redacted] = []
        self.streams = Streams(slot=3, clock=self.clock, undelivered=self.undelivered)

    async def undelivered(self, call: Redacted) -> None:
        self.lost.append(call)


@pytest.fixture
def place() -> Kept:
    return Kept()


def test_an_event_says_where_it_is_kept(place: Kept) -> None:
    stream = place.streams.begin("s")
    assert stream.opening == f"id: 3.{stream.id}.0\ndata: \n\n".encode()
    assert stream.add(b"{}") == f"id: 3.{stream.id}.1\nevent: message\ndata: {{}}\n\n".encode()
    assert event_id(f"3.{stream.id}.1") == EventId(3, stream.id, 1)
    assert stream.after(0).data.startswith(f"id: 3.{stream.id}.1\n")
    assert stream.after(1) == Batch("", 1, ended=False)


@pytest.mark.parametrize(
    "text", ["", "1.2", "x.y.1", "1.y.x", "1.y.2.3", "1.é.2", "1.y.1234567890", "-1.y.2"]
)
def test_an_id_of_somebody_else_is_none_of_ours(text: str) -> None:
    assert event_id(text) is None


def test_a_stream_keeps_its_last_events_and_bytes(place: Kept) -> None:
    many, large = place.streams.begin("s"), place.streams.begin("s")
    for _ in range(EVENTS + 5):
        many.add(b"{}")
    assert many.after(0).data.count("event: message") == EVENTS
    for _ in range(3):
        large.add(b"x" * (BYTES // 2))
    assert large.after(0).data.count("event: message") == 1
    assert place.streams.size == many.size + large.size


def test_all_streams_together_are_bounded(place: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "TOTAL", 3000)
    streams = [place.streams.begin("s") for _ in range(3)]
    for stream in streams:
        stream.add(b"x" * 1200)
    assert [stream.after(0).data != "" for stream in streams] == [False, True, True]
    assert place.streams.size <= 3000


def test_a_stream_that_speaks_keeps_what_it_says_and_the_others_make_room(
    place: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "TOTAL", 3000)
    first, second = place.streams.begin("s"), place.streams.begin("s")
    for stream in (first, second, first):
        stream.add(b"x" * 1200)
    assert (first.after(0).data.count("event: message"), second.after(0).data) == (2, "")
    first.add(b"x" * 1200)
    assert first.after(0).data.count("event: message") == 3
    second.add(b"y")
    assert (first.after(0).data, second.after(0).data != "") == ("", True)


def test_a_full_house_looks_at_no_stream_that_holds_nothing(
    place: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "TOTAL", 3000)
    forgotten: list[str] = []
    forget = kept.Kept.forget

    def noted(self: kept.Kept) -> None:
        forgotten.append(self.id)
        forget(self)

    monkeypatch.setattr(kept.Kept, "forget", noted)
    streams = [place.streams.begin("s") for _ in range(50)]
    for stream in streams:
        stream.add(b"x" * 1200)
    assert forgotten == [stream.id for stream in streams[:48]]


def test_a_session_counts_as_read_while_somebody_waits_at_its_stream(place: Kept) -> None:
    async def scenario() -> None:
        stream = place.streams.stand("read")
        place.streams.stand("left")
        reading = asyncio.create_task(place.streams.wait(stream, 0, 60))
        await asyncio.sleep(0)
        assert place.streams.read() == ["read"]
        stream.add(b"{}")
        await reading
        assert place.streams.read() == []

    asyncio.run(scenario())


def test_a_stream_is_found_in_its_own_session_only(place: Kept) -> None:
    stream = place.streams.begin("s")
    assert place.streams.find(stream.id, "s") is stream
    assert place.streams.find(stream.id, "t") is None
    assert place.streams.find("x", "s") is None


def test_what_nobody_fetches_is_forgotten_and_said(place: Kept) -> None:
    call = redacted()

    async def scenario() -> None:
        first, second, third = (place.streams.begin("s") for _ in range(3))
        for stream in (first, second):
            stream.add(b"{}")
            stream.end(call)
        first.after(0)
        place.streams.stand("s")
        await place.streams.sweep()
        assert (len(place.streams), place.lost) == (4, [])
        place.clock.seconds += LIFETIME + 1
        await place.streams.sweep()
        assert place.lost == [call]
        assert place.streams.find(third.id, "s") is third, "its call still runs"

    travel(scenario())


def test_a_session_has_one_standing_stream(place: Kept) -> None:
    assert not place.streams.say("s", "notifications/x", {})
    first = place.streams.stand("s")
    second = place.streams.stand("s")
    assert (first.ended, second.ended) == (True, False)
    assert place.streams.say("s", "notifications/x", {"a": 1})
    assert '"method":"notifications/x"' in second.after(0).data
    assert place.streams.standing() == ["s"]
    place.streams.end_session("s")
    assert (len(place.streams), place.streams.size, place.streams.standing()) == (0, 0, [])


def test_who_waits_hears_at_once_and_at_the_latest_in_time(place: Kept) -> None:
    async def scenario() -> None:
        stream = place.streams.begin("s")
        waiting = asyncio.ensure_future(place.streams.wait(stream, 0, 15.0))
        await asyncio.sleep(1)
        stream.add(b"{}")
        stream.add(b"{}")
        assert (await waiting).number == 2
        assert await place.streams.wait(stream, 2, 15.0) == Batch("", 2, ended=False)
        assert (await place.streams.wait(stream, 1, 15.0)).data.count("event") == 1

    travel(scenario())


def test_the_last_reader_is_the_reader(place: Kept) -> None:
    async def scenario() -> None:
        stream = place.streams.begin("s")
        first = asyncio.ensure_future(place.streams.wait(stream, 0, 15.0))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(place.streams.wait(stream, 0, 15.0))
        assert await first == Batch("", 0, ended=True)
        stream.add(b"{}")
        assert not (await second).ended

    travel(scenario())


def test_draining_wakes_everybody(place: Kept) -> None:
    async def scenario() -> None:
        stream = place.streams.begin("s")
        waiting = asyncio.ensure_future(place.streams.wait(stream, 0, 15.0))
        await asyncio.sleep(0)
        place.streams.drain()
        assert await waiting == Batch("", 0, ended=False)
        assert await place.streams.wait(stream, 0, 15.0) == Batch("", 0, ended=False)

    travel(scenario())


def test_what_is_contained_is_not_repeated(place: Kept) -> None:
    stream = place.streams.begin("s")
    stream.add(b"secret")
    stream.forget()
    assert (stream.after(0).data, place.streams.size) == ("", 0)
