"""The lives of one server: start, end, pause, start again, and nothing left in between."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.restarts import Restarts
from tests.upstream.stdio_parts import (
    HERE,
    QUICK,
    ROOT,
    House,
    alive,
    answer,
    call,
    house,
    python,
    request,
    toy,
    until,
)

if TYPE_CHECKING:
    from airlock.upstream.stdio import StdioUpstream


async def fault(upstream: StdioUpstream, tool: str = "echo") -> UpstreamFault:
    with pytest.raises(UpstreamFault) as caught:
        await answer(upstream, tool)
    return caught.value


def test_calls_wait_for_a_server_that_starts() -> None:
    async def run() -> None:
        async with house(toy(mode="mute")) as found:
            assert (await call(found.upstream(), "echo", a=1))["arguments"] == {"a": 1}

    asyncio.run(run())


def test_a_call_that_gives_up_waiting_never_reaches_the_server() -> None:
    async def run() -> None:
        async with house(toy(mode="mute")) as found:
            upstream = found.upstream()
            await until(lambda: "toy" in found.runner.servers)
            with pytest.raises(UpstreamFault):
                await upstream.request(request("changed", within=0.05, times=1))
            await call(upstream, "echo")
            assert not [event for event in found.events if event.event == "list_changed"]

    asyncio.run(run())


def test_a_description_that_nobody_waits_for_is_forgotten() -> None:
    async def run() -> None:
        async with house(toy(mode="mute")) as found:
            await until(lambda: "toy" in found.runner.servers)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await found.upstream().describe()
            assert (await found.upstream().describe()).tools

    asyncio.run(run())


def test_an_exit_fails_the_calls_and_starts_a_new_life() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            upstream = found.upstream()
            await call(upstream, "echo")
            async with asyncio.TaskGroup() as tasks:
                hanging = tasks.create_task(fault(upstream, "hang"))
                leaving = tasks.create_task(fault(upstream, "leave"))
            for failed in (hanging.result(), leaving.result()):
                assert (failed.code, failed.effect, failed.retry_after) == (50301, Effect.POSSIBLE, 1)
            await found.state("ready")
            assert await call(upstream, "echo")
            assert {"server": "toy", "state": "waiting", "reason": "it closed its output, exit status 3"} in (
                found.log.of("upstream.state")
            )
            assert {"server": "toy", "line": "leaving"} in found.log.of("upstream.stderr")

    asyncio.run(run())


def test_between_two_lives_calls_fail_at_once_without_effect() -> None:
    timing = structs.replace(QUICK, restarts=Restarts(first=30.0))

    async def run() -> None:
        async with house(toy(), timing=timing) as found:
            upstream = found.upstream()
            await fault(upstream, "leave")
            await until(lambda: "exit status" in found.runner.servers["toy"].reason)
            failed = await fault(upstream)
            assert (failed.code, failed.effect) == (50301, Effect.NONE)
            assert failed.retry_after is not None
            assert 20 <= failed.retry_after <= 36
            with pytest.raises(UpstreamFault):
                await upstream.describe()

    asyncio.run(run())


def test_a_server_that_ends_at_once_is_given_up() -> None:
    async def run() -> None:
        entry = structs.replace(toy(), command=(python(), "-c", "raise SystemExit(9)"))
        async with house(entry) as found:
            assert "exit status 9" in await found.state("failed")
            with pytest.raises(UpstreamFault) as caught:
                await found.upstream().describe()
            assert caught.value.retry_after == 60
            states = [e.state for e in found.events]
            assert states.count("starting") >= 4
            assert states[-1] == "failed"

    asyncio.run(run())


def test_calls_and_descriptions_that_wait_for_a_failing_start_fail() -> None:
    async def run() -> None:
        entry = structs.replace(toy(), command=(python(), "-c", "import time; time.sleep(0.2)"))
        async with house(entry, timing=structs.replace(QUICK, probe=5.0)) as found:
            async with asyncio.TaskGroup() as tasks:
                called = tasks.create_task(fault(found.upstream()))
                with pytest.raises(UpstreamFault) as caught:
                    await found.upstream().describe()
            assert (called.result().effect, caught.value.effect) == (Effect.NONE, Effect.NONE)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("no-such-program-anywhere",), "is no program on"),
        ((str(HERE / "servers" / "toy.py"),), "is no program on"),
    ],
)
def test_a_server_that_cannot_be_started_says_why(command: tuple[str, ...], reason: str) -> None:
    async def run() -> None:
        async with house(structs.replace(toy(), command=command)) as found:
            assert reason in await found.state("waiting", "failed")

    asyncio.run(run())


def test_a_program_that_cannot_be_executed_says_why(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program at all")
    program.chmod(0o755)

    async def run() -> None:
        async with house(structs.replace(toy(), command=(str(program),))) as found:
            reason = await found.state("failed")
            assert f"{program} cannot be started as" in reason

    asyncio.run(run())


def test_without_root_a_sensitive_server_is_refused_and_says_why() -> None:
    """P-3b."""

    async def run() -> None:
        async with house(toy(sensitivity="medium"), root=False) as found:
            assert "unsafe_shared_user" in await found.state("refused")
            assert (await fault(found.upstream())).effect is Effect.NONE
            assert not (found.work / "toy").exists()

    asyncio.run(run())


@pytest.mark.parametrize("tool", ["close_output", "flood"])
def test_a_server_that_is_of_no_use_is_stopped_and_started_again(tool: str) -> None:
    async def run() -> None:
        async with house(toy()) as found:
            await fault(found.upstream(), tool)
            await found.state("waiting")
            await found.state("ready")
            assert await call(found.upstream(), "echo")

    asyncio.run(run())


def test_stubborn_daemons_and_floods_are_gone_within_the_grace() -> None:
    """P-2, acceptance 15: it ignores the end of its input and SIGTERM, and its daemons are everywhere."""

    async def run() -> None:
        async with house(toy()) as found:
            upstream = found.upstream()
            server = await call(upstream, "stubborn")
            pids = [server, *await call(upstream, "daemons", count=5)]
            async with asyncio.TaskGroup() as tasks:
                flooding = tasks.create_task(fault(upstream, "flood"))
                await flooding
                assert all(map(alive, pids[1:]))
                began = time.monotonic()
                found.configure()
                await until(lambda: not any(map(alive, pids)))
            assert time.monotonic() - began < 0.3 + 0.3 + 1
            assert not found.log.of("runner.strays")

    asyncio.run(run())


@pytest.mark.skipif(not ROOT, reason="only root can give a server a user of its own")
def test_a_server_sees_nothing_but_its_own() -> None:
    """P-3, P-3b."""

    async def run() -> None:
        async with house(toy(sensitivity="critical"), toy("other")) as found:
            secret = found.work / "data"
            secret.mkdir(mode=0o700)
            (secret / "key").write_text("k")
            seen = await call(found.upstream(), "whoami")
            other = await call(found.upstream("other"), "whoami")
            assert seen["uid"] == seen["gid"] == found.runner.servers["toy"].uid != other["uid"]
            assert 61000 <= seen["uid"] < 61184
            assert (seen["groups"], seen["home"], seen["nproc"]) == ([], [], [64, 64])
            assert (seen["sid"], seen["pgid"]) == (seen["pid"], seen["pid"])
            assert set(seen["env"]) == {"PATH", "HOME", "LANG"}
            assert "NoNewPrivs:\t1" in seen["status"]
            assert "CapEff:\t0000000000000000" in seen["status"]
            assert seen["fds"] == [0, 1, 2, 3]
            for path in (
                secret / "key",
                Path(other["env"]["HOME"]) / "x",
                Path(f"/proc/{other['pid']}/environ"),
            ):
                assert await call(found.upstream(), "read", path=str(path)) == {"errno": 13}

    asyncio.run(run())


def test_environment_and_secrets_reach_the_server_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")

    async def run() -> None:
        async with house(toy(env={"A": "1"}, env_from={"TOKEN": str(tmp_path / "secret")})) as found:
            seen = await call(found.upstream(), "whoami")
            assert (seen["env"]["A"], seen["env"]["TOKEN"]) == ("1", "s3cret")
            assert b"s3cret" not in shown(keeper(found))

    asyncio.run(run())


def test_a_keeper_that_does_not_answer_is_killed_and_its_server_with_it() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            pid = (await call(found.upstream(), "whoami"))["pid"]
            os.kill(keeper(found), signal.SIGSTOP)
            assert (await fault(found.upstream(), "close_output")).code == 50301
            await until(lambda: not alive(pid))
            await found.state("ready")

    asyncio.run(run())


def shown(pid: int) -> bytes:
    """What other users of the host, and the same one, may read of a process."""
    return b"".join(Path(f"/proc/{pid}/{part}").read_bytes() for part in ("environ", "cmdline"))


def keeper(found: House) -> int:
    process = found.runner.servers["toy"].process
    assert process is not None
    return process.keeper
