"""What a legacy server asks on the stream that belongs to no answer: asked of the only call that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from airlock.core.errors import UpstreamFault
from airlock.model.upstream import Answered
from airlock.upstream import standing
from airlock.upstream.answering import Answering
from airlock.upstream.dialogue import Peer
from airlock.upstream.exchange import Exchange
from airlock.upstream.sessions import IDLE, Session, Sessions, key_of
from airlock.upstream.standing import Standing
from airlock.upstream.wire import PERSON, SERVER_REQUESTS
from tests.upstream.http_parts import (
    END,
    HandClock,
    McpServer,
    RawServer,
    Seen,
    call,
    chunk,
    http,
    result,
    run,
    silence,
    stream_head,
    until,
    writes,
)
from tests.upstream.http_parts import event as event_of
from tests.upstream.test_legacy_streams import TEXT, answers, asking, serving, told

DEFAULTS = Answered(result={"action": "accept", "content": {"name": "John Doe"}})


class Server(McpServer):
    """Says on its standing streams what a test wants said there, and answers calls when it is told to."""

    def __init__(self) -> None:
        super().__init__(era="legacy")
        self.listeners: list[asyncio.StreamWriter] = []
        self.may_answer = asyncio.Event()
        self.calls = 0
        self.on["GET"], self.on["tools/call"] = self._listen, self._call

    async def _listen(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(stream_head())
        await writer.drain()
        self.listeners.append(writer)
        await silence(seen, writer)

    async def _call(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        writer.write(stream_head())
        await self.may_answer.wait()
        writer.write(event_of(result(seen.message["id"], **TEXT)) + END)

    def say(self, said: bytes) -> None:
        self.listeners[-1].write(said)


async def accepted(method: str, params: dict[str, Any]) -> Answered:
    assert (method, params) == ("elicitation/create", {"message": "Who?"})
    return DEFAULTS


def test_the_only_call_of_its_session_is_asked() -> None:
    async def story() -> None:
        fake = Server()
        async with serving(fake) as (server, client):
            for number in (1, 2):
                fake.may_answer.clear()
                request = asyncio.create_task(client.request(call(session="s"), ask=accepted))
                await until(lambda number=number: fake.calls == number)
                assert len(fake.listeners) == 1, "a stream is there before the call, and is kept"
                fake.say(asking("elicitation/create", number, message="Who?"))
                await until(lambda number=number: len(answers(server)) == number)
                fake.may_answer.set()
                assert (await request).result == TEXT
            assert [(said["id"], said["result"]) for said in answers(server)] == [
                (1, DEFAULTS.result),
                (2, DEFAULTS.result),
            ]
            await client.end_session("s")
        await until(lambda: server.closed == server.opened)

    run(story())


async def refused(fake: Server, server: RawServer, before: int = 0) -> None:
    fake.say(asking("elicitation/create", "q", message="Who?"))
    await until(lambda: len(answers(server)) == before + 1)
    assert answers(server)[-1]["error"]["code"] == -32601


def test_where_several_calls_run_or_none_nobody_is_asked() -> None:
    async def story() -> None:
        fake = Server()
        async with serving(fake) as (server, client):
            requests = [
                asyncio.create_task(client.request(call(session="s"), ask=ask)) for ask in (accepted, None)
            ]
            await until(lambda: fake.calls == 2)
            await refused(fake, server)
            fake.may_answer.set()
            await asyncio.gather(*requests)
            await refused(fake, server, 1)

    run(story())


def test_the_server_takes_back_what_it_asked_there() -> None:
    ended: list[str] = []

    async def ask(method: str, params: dict[str, Any]) -> Answered:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        ended.append(f"{method} {params}")
        raise asyncio.CancelledError

    async def story() -> None:
        fake = Server()
        async with serving(fake) as (server, client):
            request = asyncio.create_task(client.request(call(session="s"), ask=ask))
            await until(lambda: fake.calls == 1)
            fake.say(asking("roots/list") + asking("ping", "p"))
            await until(lambda: len(answers(server)) == 1)
            fake.say(told("notifications/cancelled", requestId="q"))
            await until(lambda: bool(ended))
            fake.may_answer.set()
            assert (await request).result == TEXT
            assert [said["id"] for said in answers(server)] == ["p"]

    run(story())


@pytest.mark.parametrize(
    ("offered", "most"),
    [(http(405), 1), (http(500), 2), (stream_head() + chunk(b"data: {\n\n"), 2)],
    ids=["no stream", "a broken one", "nonsense on it"],
)
def test_a_server_that_cannot_ask_there_serves_its_calls(offered: bytes, most: int) -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["GET"] = writes(offered)
        async with serving(fake) as (server, client):
            for _ in range(2):
                assert (await client.request(call(session="s"), ask=accepted)).result == TEXT
            assert 1 <= len(server.find("GET")) <= most

    run(story())


def test_a_server_that_does_not_answer_there_holds_a_call_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "BEGUN", 0.01)

    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["GET"] = silence
        async with serving(fake) as (server, client):
            for _ in range(2):
                assert (await client.request(call(session="s"), ask=accepted)).result == TEXT
            assert len(server.find("GET")) == 1

    run(story())


def test_for_a_client_that_can_be_asked_nothing_no_stream_is_opened() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        async with serving(fake) as (server, client):
            await client.request(call(session="s"))
            assert not server.find("GET")

    run(story())


class Silence:
    """An exchange that notes how long it may be silent."""

    def __init__(self) -> None:
        self.borne: list[float] = []

    def wait_for(self, seconds: float) -> None:
        self.borne.append(seconds)


def test_a_call_bears_the_silence_of_a_person_who_is_asked_elsewhere_so_many_times() -> None:
    sent: list[dict[str, Any]] = []

    async def tell(message: dict[str, Any]) -> None:
        sent.append(message)

    async def story() -> None:
        exchange = Silence()
        async with asyncio.TaskGroup() as group:
            answering = Answering(ask=accepted, tell=tell, group=group)
            ping = {"method": "ping", "id": 1}
            await answering.asked_outside(ping)
            answering.sent(cast("Exchange", exchange))
            for _ in range(SERVER_REQUESTS):
                await answering.asked_outside(ping)
        assert exchange.borne == [PERSON] * (SERVER_REQUESTS - 1)

    run(story())
    assert [("result" in message) for message in sent] == [True] * SERVER_REQUESTS + [False]


class Stream:
    """A standing stream that is not open."""

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_a_stream_that_is_there_for_calls_alone_keeps_no_session_alive() -> None:
    async def story() -> None:
        clock = HandClock()
        sessions, streams = Sessions(clock=clock), [Stream(wanted=False), Stream(wanted=True)]

        def opening(stream: Stream) -> Callable[[], Any]:
            async def opened() -> Session:
                session = Session(peer=Peer(version="2025-11-25"), session_id=b"s")
                session.standing = cast("Standing", stream)
                return session

            return opened

        for number, stream in enumerate(streams):
            sessions.leave(await sessions.enter(key_of(str(number), {}), opening(stream), clock.now + 10))
        clock.now += IDLE + 1
        assert len(sessions.retire()) == 1
        assert [stream.closed for stream in streams] == [True, False]

    run(story())


def test_a_fault_leaves_no_call_that_could_be_asked() -> None:
    async def story() -> None:
        fake = Server()
        fake.on["tools/call"] = writes(http(500))
        async with serving(fake) as (server, client):
            with pytest.raises(UpstreamFault):
                await client.request(call(session="s"), ask=accepted)
            await refused(fake, server)

    run(story())
