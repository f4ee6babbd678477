"""The runner: configuration, watchdog, strays, its own end; once in this process, once as a program."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from airlock.core.errors import UpstreamFault
from airlock.upstream import census
from airlock.upstream.frames import Cancel, encode
from airlock.upstream.runner import MAX_SERVERS
from tests.upstream.stdio_parts import House, alive, answer, call, house, toy, until

if TYPE_CHECKING:
    pass


def test_a_removed_server_is_stopped_and_its_calls_fail() -> None:
    async def run() -> None:
        async with house(toy(), toy("other")) as found, asyncio.TaskGroup() as tasks:
            upstream = found.upstream()
            pid = (await call(upstream, "whoami"))["pid"]
            other = (await call(found.upstream("other"), "whoami"))["pid"]
            hanging = tasks.create_task(refused(upstream, "hang"))
            await asyncio.sleep(0.05)
            found.configure(toy("other"))
            assert (await hanging).code == 50301
            await until(lambda: not alive(pid))
            assert "not configured" in (await refused(upstream)).detail
            assert (await call(found.upstream("other"), "whoami"))["pid"] == other

    async def refused(upstream: Any, tool: str = "echo") -> UpstreamFault:
        with pytest.raises(UpstreamFault) as caught:
            await answer(upstream, tool)
        return caught.value

    asyncio.run(run())


def test_a_changed_server_is_started_again_and_others_stay() -> None:
    async def run() -> None:
        async with house(toy(), toy("other")) as found:
            before = await call(found.upstream(), "whoami")
            other = (await call(found.upstream("other"), "whoami"))["pid"]
            found.configure(toy(env={"A": "1"}), toy("other"))
            await until(lambda: found.runner.servers["toy"].entry.env == {"A": "1"})
            after = await call(found.upstream(), "whoami")
            assert (after["env"]["A"], after["uid"]) == ("1", before["uid"])
            assert not alive(before["pid"])
            assert (await call(found.upstream("other"), "whoami"))["pid"] == other

    asyncio.run(run())


def test_a_server_may_go_and_come_back_before_it_has_gone() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            pid = await call(found.upstream(), "stubborn")
            found.configure()
            found.configure(toy())
            await until(lambda: not alive(pid))
            assert await call(found.upstream(), "echo")
            found.configure(toy(env={"A": "1"}))
            found.configure(toy(env={"A": "2"}))
            found.configure()
            await until(lambda: not found.runner.servers)

    asyncio.run(run())


@pytest.mark.parametrize(
    "line", [b"not JSON\n", b'{"servers":[{"name":"x"}]}\n', b'{"servers":[],"else":1}\n']
)
def test_a_bad_configuration_changes_nothing_and_is_told(line: bytes) -> None:
    async def run() -> None:
        async with house(toy()) as found:
            pid = (await call(found.upstream(), "whoami"))["pid"]
            found.orders.put_nowait(line)
            await until(lambda: bool(found.log.of("runner.configuration_refused")))
            assert (await call(found.upstream(), "whoami"))["pid"] == pid

    asyncio.run(run())


def test_http_servers_are_none_of_its_business_and_64_are_enough() -> None:
    async def run() -> None:
        broken = structs.replace(toy(), command=())
        many = [structs.replace(broken, name=f"s{n}") for n in range(MAX_SERVERS + 1)]
        async with house(structs.replace(broken, name="http", transport="http"), *many) as found:
            await until(lambda: len(found.runner.servers) == MAX_SERVERS)
            assert "http" not in found.runner.servers
            assert found.log.of("runner.too_many_servers") == [{"configured": 65, "most": 64}]
            users = {server.uid for server in found.runner.servers.values()} - {None}
            assert len(users) in {0, MAX_SERVERS}

    asyncio.run(run())


def test_a_worker_that_connects_learns_every_state() -> None:
    async def run() -> None:
        async with house(toy(), toy("other")) as found:
            await found.state("ready")
            await found.state("ready", name="other")
            found.events.clear()
            found.another_link()
            await until(lambda: len(found.events) == 2)
            assert {(e.server, e.state) for e in found.events} == {("toy", "ready"), ("other", "ready")}

    asyncio.run(run())


def test_memory_over_the_bound_ends_the_whole_tree() -> None:
    async def run() -> None:
        async with house(toy(), max_resident=100 << 20) as found:
            upstream = found.upstream()
            pid = (await call(upstream, "whoami"))["pid"]
            with pytest.raises(UpstreamFault):
                await call(upstream, "swell", mib=200)
                await answer(upstream, "hang")
            assert "bytes of memory" in await found.state("waiting")
            await until(lambda: not alive(pid))
            await found.state("ready")

    asyncio.run(run())


def test_a_process_that_is_gone_uses_no_memory_and_is_no_stray() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert census.resident(child.pid) == 0
    assert not census.kill_stray(child.pid)


def test_a_stranger_user_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with house(toy()) as found:
            await found.state("ready")
            monkeypatch.setattr(os, "geteuid", lambda: 4711)
            reader, writer = await asyncio.open_unix_connection(found.path)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            monkeypatch.undo()
            writer.close()
            assert found.log.of("runner.peer_refused") == [{"uid": os.geteuid()}]

    asyncio.run(run())


@pytest.mark.parametrize("data", [b"\xff" * 8, b"\x02\x00\x00\x00\x02\x00\x00\x00{}"])
def test_a_connection_that_speaks_otherwise_is_closed(data: bytes) -> None:
    async def run() -> None:
        async with house(toy()) as found:
            await found.state("ready")
            reader, writer = await asyncio.open_unix_connection(found.path)
            writer.write(data)
            with suppress(ConnectionResetError):
                await reader.read(-1)
            assert len(found.link_tasks) == len(found.runner.links) == 1
            writer.close()

    asyncio.run(run())


def test_cancelling_what_is_over_is_no_error() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            await call(found.upstream(), "echo")
            _, writer = await asyncio.open_unix_connection(found.path)
            writer.write(encode(Cancel(n=7)))
            writer.close()
            assert await call(found.upstream(), "echo")

    asyncio.run(run())


def test_a_worker_that_goes_away_takes_its_calls_with_it() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            upstream = found.upstream(link=found.another_link())
            await call(upstream, "echo")
            async with asyncio.TaskGroup() as tasks:
                hanging = tasks.create_task(gone(upstream))
                await asyncio.sleep(0.05)
                found.link_tasks.pop().cancel()
                await hanging
            await until_cancelled(found)

    async def gone(upstream: Any) -> None:
        with pytest.raises(UpstreamFault):
            await answer(upstream, "hang")

    async def until_cancelled(found: House) -> None:
        for _ in range(1000):
            if await call(found.upstream(), "cancelled"):
                return
            await asyncio.sleep(0.01)
        raise TimeoutError

    asyncio.run(run())
