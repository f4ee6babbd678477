"""The wire to one process: ids, progress, cancellation, and what a shared server may not do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.calls import claimed_id, request_line
from airlock.upstream.stdio import StdioUpstream
from tests.upstream.stdio_parts import House, answer, call, house, request, told, toy, until

MIB = 1024 * 1024
CALLS, AT_ONCE = 10_000, 500
"""Of two clients: all, and those under way."""


@pytest.mark.parametrize(
    ("meta", "params", "line"),
    [
        ({}, b"{}", b'"params":{}}'),
        ({}, b'{"a":1}', b'"params":{"a":1}}'),
        ({"k": 1}, b"{}", b'"params":{"_meta":{"k":1}}}'),
        ({"k": 1}, b'{"a":1}', b'"params":{"_meta":{"k":1},"a":1}}'),
    ],
)
def test_a_request_is_one_line(meta: dict[str, Any], params: bytes, line: bytes) -> None:
    assert request_line(5, "a/b", meta, params) == b'{"jsonrpc":"2.0","id":5,"method":"a/b",' + line + b"\n"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b'{"id":7,"x":NaN}', 7),
        (b'{"id":"7"}', 0),
        (b'{"id":true}', 0),
        (b"[7]", 0),
        (b"nonsense", 0),
        (b"[" * 9999, 0),
    ],
)
def test_the_id_that_a_broken_answer_claims(line: bytes, number: int) -> None:
    assert claimed_id(line) == number


def counters(found: House, name: str = "toy") -> Any:
    return found.runner.servers[name].counters


async def marked(upstream: StdioUpstream, side: int, n: int) -> bool:
    """One call with a marker of its own; true where it is withdrawn, and answered all the same."""
    marker = f"{side}-{n}"
    if n % 20 == 7:
        left = asyncio.create_task(call(upstream, "late", seconds=0.05))
        await asyncio.sleep(0.02)
        left.cancel()
        await asyncio.wait([left])
        return left.cancelled()
    if n % 20 == 3:
        told = await call(upstream, "later", seconds=n * 37 % 50 / 1000, marker=marker)
    else:
        told = (await call(upstream, "echo", marker=marker))["arguments"]
    assert told["marker"] == marker
    return False


def test_two_clients_with_the_same_ids_never_meet() -> None:
    """F-6, XD-4: both links number their calls alike, the answers come in any order, some too late."""

    async def run() -> None:
        async with house(toy()) as found:
            links = [found.upstream(), found.upstream(link=found.another_link())]
            gate = asyncio.Semaphore(AT_ONCE)

            async def one(number: int) -> bool:
                async with gate:
                    return await marked(links[number % 2], number % 2, number // 2)

            withdrawn = sum(await asyncio.gather(*map(one, range(CALLS))))
            assert CALLS // 40 <= withdrawn <= CALLS // 20  # a busy machine withdraws some too late
            assert (await call(links[0], "echo", marker="last"))["arguments"] == {"marker": "last"}
            assert counters(found).late <= withdrawn

    asyncio.run(run())


def test_answers_may_come_in_any_order() -> None:
    async def run() -> None:
        async with house(toy()) as found, asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(call(found.upstream(), "later", seconds=0.3, who="slow"))
            quick = tasks.create_task(call(found.upstream(), "later", seconds=0.01, who="quick"))
            assert (await quick)["who"] == "quick"
            assert not slow.done()
            assert (await slow)["who"] == "slow"

    asyncio.run(run())


def test_progress_reaches_the_call_that_asked_under_its_own_token() -> None:
    async def run() -> None:
        heard: dict[str, list[Any]] = {"a": [], "b": []}

        async def one(found: House, marker: str) -> None:
            await found.upstream().request(
                request(
                    "progress", meta={"progressToken": "same", "traceparent": "t"}, marker=marker, steps=5
                ),
                notify=lambda method, params: heard[marker].append((method, params)),
            )

        async with house(toy()) as found, asyncio.TaskGroup() as tasks:
            for marker in heard:
                tasks.create_task(one(found, marker))
        for marker, notes in heard.items():
            assert [method for method, _ in notes] == ["notifications/progress"] * 5
            assert [p["progress"] for _, p in notes] == [0, 1, 2, 3, 4]
            assert {(p["message"], p["progressToken"]) for _, p in notes} == {(marker, "same")}

    asyncio.run(run())


def test_other_meta_passes_and_no_token_is_made_where_nobody_listens() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            asked = request("echo", meta={"progressToken": 1, "traceparent": "t"})
            answered = await found.upstream().request(asked)
            assert '"_meta": {"traceparent": "t"}' in told(answered)

    asyncio.run(run())


def test_what_belongs_to_nobody_is_dropped_and_counted() -> None:
    async def run() -> None:
        heard: list[Any] = []
        async with house(toy()) as found:
            done = await call(found.upstream(), "noise", notify=lambda method, _: heard.append(method))
            assert done == "done"
            assert not heard
            assert (counters(found).late, counters(found).notifications) == (2, 3)

    asyncio.run(run())


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list", "no/such"])
def test_a_shared_server_is_refused_what_it_asks(method: str) -> None:
    """B-7."""

    async def run() -> None:
        async with house(toy()) as found:
            reply = await call(found.upstream(), "ask", method=method)
            assert (reply["id"], reply["error"]["code"]) == ("question", -32601)
            assert counters(found).requests == 1

    asyncio.run(run())


def test_ping_is_answered() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            reply = await call(found.upstream(), "ask", method="ping")
            assert reply == {"jsonrpc": "2.0", "id": "question", "result": {}}

    asyncio.run(run())


def test_a_cancelled_call_is_cancelled_at_the_server_and_its_late_answer_dropped() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            upstream = found.upstream()
            await call(upstream, "echo")
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(call(upstream, "late", seconds=0.3))
                await asyncio.sleep(0.05)
                task.cancel()
            assert len(await call(upstream, "cancelled")) == 1
            await until(lambda: counters(found).late == 1)

    asyncio.run(run())


def test_a_deadline_cancels_the_call_too() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            upstream = found.upstream()
            await call(upstream, "echo")
            with pytest.raises(UpstreamFault) as caught:
                await upstream.request(request("hang", within=0.1))
            assert (caught.value.code, caught.value.effect) == (50401, Effect.POSSIBLE)
            assert len(await call(upstream, "cancelled")) == 1

    asyncio.run(run())


@pytest.mark.parametrize("tool", ["nan", "duplicate", "both"])
def test_an_answer_that_breaks_strict_json_is_a_protocol_fault(tool: str) -> None:
    """J-8."""

    async def run() -> None:
        async with house(toy()) as found:
            with pytest.raises(UpstreamFault) as caught:
                await call(found.upstream(), tool)
            assert caught.value.code == 50201

    asyncio.run(run())


@pytest.mark.parametrize(
    "line", ["not JSON", "[]", "7", '{"jsonrpc":"2.0","id":1}', "[" * 5000, '{"id":true,"result":1}']
)
def test_a_line_that_is_no_message_is_dropped_and_counted(line: str) -> None:
    async def run() -> None:
        async with house(toy()) as found:
            assert await call(found.upstream(), "raw", line=line) == "done"
            assert counters(found).garbage == 1

    asyncio.run(run())


def test_nineteen_lines_of_garbage_are_forgiven_and_twenty_are_not() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            assert await call(found.upstream(), "garbage", lines=19) == "done"
            with pytest.raises(UpstreamFault) as caught:
                await call(found.upstream(), "garbage", lines=1)
            assert (caught.value.code, caught.value.effect) == (50301, Effect.POSSIBLE)
            assert "20 lines" in await found.state("waiting")

    asyncio.run(run())


def test_a_line_over_four_mebibytes_ends_the_server() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            assert len(await call(found.upstream(), "long_line", bytes=4 * MIB - 500)) == 4 * MIB - 500
            with pytest.raises(UpstreamFault) as caught:
                await call(found.upstream(), "long_line", bytes=5 * MIB)
            assert caught.value.code == 50301
            assert "more than 4194304 bytes" in await found.state("waiting")

    asyncio.run(run())


def test_a_server_that_does_not_read_fails_its_calls_and_nobody_elses() -> None:
    """P-6: what was not begun had no effect."""

    async def run() -> None:
        async with house(toy(), toy("other")) as found, asyncio.TaskGroup() as tasks:
            blocked = found.upstream()
            await call(blocked, "deaf", seconds=30)
            big = [tasks.create_task(outcome(blocked, "x" * MIB)) for _ in range(3)]
            assert (await call(found.upstream("other"), "echo", a=1))["arguments"] == {"a": 1}
            effects = [await task for task in big]
            assert effects == [Effect.POSSIBLE, Effect.NONE, Effect.NONE]

    async def outcome(upstream: Any, data: str) -> Effect:
        with pytest.raises(UpstreamFault) as caught:
            await answer(upstream, "echo", data=data)
        assert caught.value.code == 50301
        return caught.value.effect

    asyncio.run(run())


def test_a_server_that_does_not_read_gets_no_endless_queue() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            upstream = found.upstream()
            await call(upstream, "deaf", seconds=30)
            for _ in range(2):
                with pytest.raises(UpstreamFault) as caught:
                    await answer(upstream, "echo", data="x" * 2 * MIB)
                assert caught.value.code == 50301
            for _ in range(
                3
            ):  # the head of the queue is stuck, so the runner refuses at once, and never ends
                with pytest.raises(UpstreamFault) as caught:
                    await answer(upstream, "echo")
                assert caught.value.effect is Effect.NONE

    asyncio.run(run())


def test_complaints_are_logged_escaped_and_bounded_and_calls_go_on() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            await call(found.upstream(), "complain", lines=20_000, line="\x1b[31mbeware of the \x07 dog")
            await call(found.upstream(), "echo")
            logged = [fields["line"] for fields in found.log.of("upstream.stderr")]
            assert logged[0] == "\\x1b[31mbeware of the \\x07 dog"
            assert len(logged) <= 20 * 5
            assert counters(found).stderr_lines > 10_000

    asyncio.run(run())


def test_complaints_are_logged_without_secrets() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            found.configure(toy(), detectors=["github_token"])
            secret = "ghp_" + "a1B2c3D4e5F6" * 3
            await call(found.upstream(), "complain", lines=1, line=f"no {secret} here")
            await until(lambda: bool(found.log.of("upstream.stderr")))
            (logged,) = found.log.of("upstream.stderr")
            assert logged["line"] == "no [REDACTED:github_token] here"

    asyncio.run(run())


def test_last_words_before_the_end_count() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            assert await call(found.upstream(), "answer_and_leave") == "last words"

    asyncio.run(run())


def test_changed_lists_are_announced_once_and_then_together() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            await call(found.upstream(), "changed", times=50)
            await until(lambda: len([e for e in found.events if e.event == "list_changed"]) == 2)
            await asyncio.sleep(0.3)  # longer than announcements are held back: nothing more may come
            assert len([e for e in found.events if e.event == "list_changed"]) == 2

    asyncio.run(run())
