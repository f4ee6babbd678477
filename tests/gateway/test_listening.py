"""Who may read which stream, from where on, and when that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import structs

from airlock.core.errors import Fault, Refused, Rejected, Unauthenticated
from airlock.edge.reader import Reader
from airlock.edge.stream import KEEP_ALIVE
from airlock.gateway import listening
from airlock.gateway.audience import Audience
from airlock.gateway.changes import Changes
from airlock.gateway.kept import Streams
from airlock.gateway.listening import Listening, Opened
from airlock.gateway.sessions import Sessions
from airlock.gateway.visibility import Visibility
from airlock.mcp.names import Kind
from airlock.model.call import Authenticated, Identified, Inbound, Reached, Redacted
from airlock.model.server import Item
from airlock.model.snapshot import Current, Revocations
from tests.edge.parts import Peer, now, travel
from tests.gateway.parts import (
    NOW,
    HandClock,
    authenticated,
    definition,
    inbound,
    registered,
    sealer,
    snapshot,
)

STREAM = {"accept": "text/event-stream"}
NOTHING: Mapping[str, str] = {}


def visible(asked: Identified, item: Item) -> bool:
    del asked, item
    return True


def nothing(asked: Identified, kind: Kind) -> None:
    del asked, kind


class Door:
    """Two workers; who asks is Alice, unless she is turned away."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.sessions = Sessions(sealer())
        self.refused: list[str] = []
        self.alone: list[str] = []
        self.away = False
        self.gone = False
        self.current = Current(snapshot())
        self.streams = [Streams(slot=slot, clock=self.clock, undelivered=self._lost) for slot in range(2)]
        self.doors = [self._door(streams) for streams in self.streams]
        self.session, self.sid = self.sessions.mint(authenticated(), "2025-11-25", NOW)

    def _door(self, streams: Streams) -> Listening:
        return Listening(
            authenticate=self._authenticate,
            sessions=self.sessions,
            audience=Audience(
                authenticate=self._authenticate, permit=self.sessions.permit, current=self.current
            ),
            streams=streams,
            far=self._far,
            alone=self.alone.append,
            changes=Changes(Visibility(visible=visible, standing=nothing)),
            record=self,
            clock=self.clock,
        )

    async def _lost(self, call: Redacted) -> None:
        raise AssertionError(call)

    def _authenticate(self, told: Inbound) -> Authenticated:
        if self.away:
            raise Unauthenticated(401, "token_invalid", "no")
        return structs.replace(authenticated(at=self.current.get()), inbound=told)

    async def _far(self, slot: int, asked: dict[str, Any]) -> dict[str, Any] | None:
        await asyncio.sleep(0)  # it is another process
        return None if self.gone else await self.doors[slot].more(asked)

    async def refuse(self, reached: Reached, failure: Refused | Fault) -> None:
        del reached
        self.refused.append(failure.reason)

    async def open(
        self, more: Mapping[str, str] = NOTHING, *, at: int = 0, headers: Mapping[str, str] | None = None
    ) -> Opened:
        told = {**STREAM, "mcp-session-id": self.session, **more} if headers is None else headers
        return await self.doors[at](inbound(b"", headers=told))


async def first(opened: Opened) -> str:
    batch = await opened.more(opened.number, 1.0)
    assert batch is not None
    return batch.data


@pytest.mark.parametrize(
    "headers",
    [
        {},
        STREAM,
        {"mcp-session-id": "x"},
        {"mcp-session-id": "x", "accept": "application/json"},
        {**STREAM, "mcp-session-id": "x", "mcp-protocol-version": "2026-07-28"},
    ],
)
def test_where_there_is_no_session_and_no_stream_there_is_only_post(headers: dict[str, str]) -> None:
    door = Door()
    with pytest.raises(Rejected) as refused:
        travel(door.open(headers=headers))
    assert (refused.value.http, refused.value.headers) == (405, (("allow", "POST"),))
    assert door.refused == ["method_not_allowed"]


@pytest.mark.parametrize(
    ("more", "http"),
    [
        ({"mcp-session-id": "x"}, 404),
        ({"last-event-id": "x"}, 400),
        ({"last-event-id": "0.unknown.1"}, 400),
        ({"last-event-id": "1.unknown.1"}, 400),
    ],
)
def test_what_is_not_of_this_session_is_refused(more: dict[str, str], http: int) -> None:
    with pytest.raises(Rejected) as refused:
        travel(Door().open(more))
    assert refused.value.http == http


def test_the_stream_of_a_session_tells_of_lists_that_change() -> None:
    door = Door()

    async def scenario() -> None:
        opened = await door.open()
        assert opened.opening.startswith(b"id: 0.")
        assert door.alone == [door.sid]
        assert await opened.look()
        door.current.swap(registry=snapshot(registered("docs", definition("other"))).registry)
        assert await opened.look()
        assert "notifications/tools/list_changed" in await first(opened)
        door.away = True
        assert not await opened.look()
        opened.close()

    travel(scenario())


def test_an_older_client_gets_no_event_without_a_message() -> None:
    door = Door()
    door.session, door.sid = door.sessions.mint(authenticated(), "2025-06-18", NOW)
    assert travel(door.open()).opening == b""


@pytest.mark.parametrize("at", [0, 1])
def test_what_was_missed_is_had_from_any_worker(at: int) -> None:
    door = Door()

    async def scenario() -> None:
        kept = door.streams[0].begin(door.sid)
        kept.add(b"1")
        kept.add(b"2")
        opened = await door.open({"last-event-id": f"0.{kept.id}.1"}, at=at)
        assert (opened.opening, opened.number) == (b"", 1)
        assert "data: 2" in await first(opened)
        assert await opened.look()
        door.gone = True
        batch = await opened.more(2, 1.0)
        assert (batch is None) == (at == 1)
        door.streams[at].drain()
        assert not await opened.look()

    travel(scenario())


def test_a_caller_holds_a_bounded_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_OF_CALLER", 2)
    door = Door()

    async def scenario() -> None:
        opened = [await door.open(), await door.open()]
        with pytest.raises(Rejected) as refused:
            await door.open()
        assert (refused.value.http, refused.value.code) == (429, 42901)
        for each in opened:
            each.close()
        (await door.open()).close()

    travel(scenario())


def test_a_place_is_taken_before_anything_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_OF_CALLER", 2)
    door = Door()
    kept = door.streams[0].begin(door.sid)
    kept.add(b"1")

    async def scenario() -> None:
        asked = [door.open({"last-event-id": f"0.{kept.id}.0"}, at=1) for _ in range(8)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        opened = [each for each in found if isinstance(each, Opened)]
        assert len(opened) == 2
        for each in opened:
            each.close()
        with pytest.raises(Rejected, match="nothing that is still kept"):
            await door.open({"last-event-id": "0.unknown.0"}, at=1)
        for each in [await door.open(), await door.open()]:  # what was refused holds no place
            each.close()

    travel(scenario())


class Reading:
    """One reader of a session's stream."""

    def __init__(self) -> None:
        self.door = Door()
        self.peer = Peer(None)

    async def run(self, *steps: Any) -> Peer:
        opened = await self.door.open()
        reading = asyncio.ensure_future(Reader(self.peer, opened, ()).run())
        for step in steps:
            await asyncio.sleep(KEEP_ALIVE / 2)
            step()
        await reading
        return self.peer


def test_a_reader_reads_until_the_stream_ends() -> None:
    reading = Reading()
    streams = reading.door.streams[0]

    def say() -> None:
        streams.say(reading.door.sid, "notifications/x", {})

    def rest() -> None:
        """Nothing happens."""

    peer = travel(reading.run(say, rest, rest, rest, lambda: streams.fall(reading.door.sid)))
    said = b"".join(data for _, data in peer.sent)
    assert said.startswith(b"id: 0.")
    assert b"notifications/x" in said
    assert b"\n\n:\n\n" in said
    assert said.endswith(b"retry: 1000\n\n")


def test_a_reader_that_may_not_read_any_more_is_sent_away() -> None:
    reading = Reading()

    def turn_away() -> None:
        reading.door.away = True
        reading.door.current.swap()
        assert reading.peer.sent[-1][1] == b"retry: 1000\n\n"

    travel(reading.run(turn_away))
    assert (reading.peer.listener, reading.peer.sent[-1][1]) == (None, b"retry: 1000\n\n")
    assert reading.peer.ended


def test_a_reader_hears_of_lists_that_change() -> None:
    reading = Reading()

    def change() -> None:
        reading.door.current.swap(registry=snapshot(registered("docs", definition("other"))).registry)

    peer = travel(reading.run(change, lambda: reading.door.streams[0].fall(reading.door.sid)))
    assert b"notifications/tools/list_changed" in b"".join(data for _, data in peer.sent)
    ((at, _),) = [each for each in peer.sent if b"list_changed" in each[1]]
    assert at < KEEP_ALIVE


def test_who_may_not_read_on_since_the_stream_was_opened_reads_nothing() -> None:
    door, peer = Door(), Peer(None)

    async def scenario() -> float:
        opened = await door.open()
        door.away = True
        await Reader(peer, opened, ()).run()
        return now()

    assert travel(scenario()) == 0
    assert peer.ended


def test_a_reader_whose_stream_is_gone_at_its_worker_is_sent_back() -> None:
    door, peer = Door(), Peer(None)
    kept = door.streams[0].begin(door.sid)

    async def scenario() -> None:
        opened = await door.open({"last-event-id": f"0.{kept.id}.0"}, at=1)
        door.gone = True
        await Reader(peer, opened, ()).run()

    travel(scenario())
    assert peer.sent[-1][1] == b"retry: 1000\n\n"


def test_a_reader_that_somebody_else_ends_says_nothing_more() -> None:
    door, peer = Door(), Peer(None)

    async def scenario() -> None:
        reading = asyncio.ensure_future(Reader(peer, await door.open(), ()).run())
        await asyncio.sleep(1)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()

    travel(scenario())
    assert not peer.ended


def test_what_is_read_from_another_worker_ends_at_once_too() -> None:
    door, peer = Door(), Peer(None)
    kept = door.streams[0].begin(door.sid)

    async def scenario() -> float:
        opened = await door.open({"last-event-id": f"0.{kept.id}.0"}, at=1)
        reading = asyncio.ensure_future(Reader(peer, opened, ()).run())
        await asyncio.sleep(1)
        door.current.swap(revocations=Revocations(sessions=frozenset({door.sid})))
        await reading
        return now()

    assert travel(scenario()) == 1
    assert peer.sent[-1][1] == b"retry: 1000\n\n"


def test_a_reader_that_leaves_leaves_nothing_behind() -> None:
    reading = Reading()

    def leave() -> None:
        reading.peer.leave()

    travel(reading.run(leave))
    kept = reading.door.streams[0]
    assert (reading.peer.listener, len(kept)) == (None, 1)
    assert travel(reading.door.open(at=1)).number == 0
