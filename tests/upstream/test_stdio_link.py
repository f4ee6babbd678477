"""The connection of a worker to a runner that comes, goes, and speaks nonsense."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from airlock.core.clock import SYSTEM
from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.breaker import Gate
from airlock.upstream.dialogue import Peer
from airlock.upstream.frames import Answer, Described, Event, FrameReader, encode, to_runner
from airlock.upstream.stdio import StdioUpstream
from airlock.upstream.stdio_link import RunnerLink
from tests.upstream.stdio_parts import answer, request, told, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\\"ok\\""}]}}'


class Scripted:
    """A runner that answers every frame by `reply`; None closes the connection."""

    def __init__(self, reply: Callable[[int], bytes | None]) -> None:
        self.reply: Callable[[int], bytes | None] = reply
        self.connections = 0

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        frames = FrameReader()
        while data := await reader.read(65536):
            for head, _ in frames.feed(data):
                reply = self.reply(to_runner.decode(head).n)
                if reply is None:
                    writer.close()
                    return
                writer.write(reply)
        writer.close()


@asynccontextmanager
async def linked(path: Path, events: list[Event] | None = None) -> AsyncGenerator[StdioUpstream]:
    async with asyncio.TaskGroup() as tasks:
        link = RunnerLink(path=path, clock=SYSTEM, on_event=(events if events is not None else []).append)
        running = tasks.create_task(link.run())
        yield StdioUpstream(name="toy", link=link, gate=Gate(clock=SYSTEM), clock=SYSTEM)
        running.cancel()


async def fault(upstream: StdioUpstream, within: float = 20) -> UpstreamFault:
    with pytest.raises(UpstreamFault) as caught:
        await upstream.request(request("echo", within=within))
    return caught.value


def test_without_a_runner_calls_fail_without_effect(tmp_path: Path) -> None:
    async def run() -> None:
        async with linked(tmp_path / "runner.sock") as upstream:
            failed = await fault(upstream, within=0.1)
            assert (failed.code, failed.effect, failed.retry_after) == (50301, Effect.NONE, 1)

    asyncio.run(run())


def test_a_call_waits_for_a_runner_that_is_being_started(tmp_path: Path) -> None:
    async def run() -> None:
        runner = Scripted(lambda n: encode(Answer(n=n, era="e"), RESULT))
        async with linked(tmp_path / "runner.sock") as upstream, asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(answer(upstream, "echo"))
            await asyncio.sleep(0.1)
            server = await asyncio.start_unix_server(runner.meet, tmp_path / "runner.sock")
            assert told(await waiting) == '"ok"'
            server.close()

    asyncio.run(run())


def test_a_lost_connection_fails_its_calls_and_is_made_again(tmp_path: Path) -> None:
    async def run() -> None:
        runner = Scripted(lambda _: None)
        server = await asyncio.start_unix_server(runner.meet, tmp_path / "runner.sock")
        async with linked(tmp_path / "runner.sock") as upstream:
            failed = await fault(upstream)
            assert (failed.code, failed.effect) == (50301, Effect.POSSIBLE)
            runner.reply = lambda n: encode(Answer(n=n, era="e"), RESULT)
            assert told(await answer(upstream, "echo")) == '"ok"'
            assert runner.connections == 2
        server.close()

    asyncio.run(run())


@pytest.mark.parametrize("nonsense", [b"\xff" * 8, b"\x02\x00\x00\x00\x02\x00\x00\x00{}"])
def test_a_runner_that_speaks_nonsense_is_left(tmp_path: Path, nonsense: bytes) -> None:
    async def run() -> None:
        runner = Scripted(lambda n: nonsense)
        server = await asyncio.start_unix_server(runner.meet, tmp_path / "runner.sock")
        async with linked(tmp_path / "runner.sock") as upstream:
            assert (await fault(upstream)).effect is Effect.POSSIBLE
            await until(lambda: runner.connections == 2)
        server.close()

    asyncio.run(run())


def test_the_end_of_the_worker_fails_what_still_runs(tmp_path: Path) -> None:
    async def run() -> None:
        runner = Scripted(lambda n: b"")
        server = await asyncio.start_unix_server(runner.meet, tmp_path / "runner.sock")
        async with asyncio.TaskGroup() as tasks:
            async with linked(tmp_path / "runner.sock") as upstream:
                waiting = tasks.create_task(fault(upstream))
                await asyncio.sleep(0.05)
            assert (await waiting).detail == "the gateway stops"
        server.close()

    asyncio.run(run())


def test_what_comes_for_nobody_is_dropped_and_events_are_passed_on(tmp_path: Path) -> None:
    async def run() -> None:
        events: list[Event] = []
        event = Event(server="toy", event="list_changed")
        runner = Scripted(
            lambda n: encode(Answer(n=n + 9, era="e")) + encode(event) + encode(Answer(n=n, era="e"), RESULT)
        )
        server = await asyncio.start_unix_server(runner.meet, tmp_path / "runner.sock")
        async with linked(tmp_path / "runner.sock", events) as upstream:
            assert told(await answer(upstream, "echo")) == '"ok"'
            assert events == [event]
        server.close()

    asyncio.run(run())


@pytest.mark.parametrize("line", [b"[]", b'{"jsonrpc":"2.0","method":"m","id":1,"result":{}}', b"{"])
def test_an_answer_that_is_none_is_a_protocol_fault(tmp_path: Path, line: bytes) -> None:
    async def run() -> None:
        runner = Scripted(lambda n: encode(Answer(n=n, era="e"), line))
        server = await asyncio.start_unix_server(runner.meet, tmp_path / "runner.sock")
        async with linked(tmp_path / "runner.sock") as upstream:
            assert (await fault(upstream)).code == 50201
        server.close()

    asyncio.run(run())


def test_a_runner_that_confuses_its_frames_is_a_protocol_fault(tmp_path: Path) -> None:
    async def run() -> None:
        runner = Scripted(lambda n: encode(Described(n=n, peer=Peer(version="v")), RESULT))
        server = await asyncio.start_unix_server(runner.meet, tmp_path / "runner.sock")
        async with linked(tmp_path / "runner.sock") as upstream:
            assert (await fault(upstream)).code == 50201
            runner.reply = lambda n: encode(Answer(n=n, era="e"), RESULT)
            with pytest.raises(UpstreamFault, match="something else"):
                await upstream.describe()
        server.close()

    asyncio.run(run())
