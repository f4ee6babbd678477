"""Processes of stdio servers that serve one owner alone: who gets which, who is asked, and what ends them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest
from msgspec import structs

from airlock.core.clock import SYSTEM
from airlock.core.config import Isolation
from airlock.core.errors import Effect, UpstreamFault
from airlock.model.upstream import Answered, Ask, UpstreamRequest
from airlock.upstream.breaker import Gate
from airlock.upstream.stdio import StdioUpstream, owner_of
from tests.upstream.stdio_parts import ROOT, House, alive, house, request, told, toy, until

CAN: dict[str, Any] = {"elicitation": {}}

Heard = list[tuple[str, str, dict[str, Any]]]


def own(isolation: Isolation, *words: str, mode: str = "legacy") -> Any:
    entry = toy(mode=mode, isolation=isolation)
    return structs.replace(entry, command=(*entry.command, *words))


def upstream(found: House, isolation: Isolation, heard: Heard | None = None) -> StdioUpstream:
    into = heard if heard is not None else []
    return StdioUpstream(
        name="toy",
        link=found.link,
        gate=Gate(clock=SYSTEM),
        clock=SYSTEM,
        isolation=isolation,
        told=lambda session, method, params: into.append((session, method, params)),
    )


def by(who: str, tool: str, /, session: str = "", level: str = "", **arguments: Any) -> UpstreamRequest:
    return structs.replace(
        request(tool, **arguments),
        principal_key=who,
        session=session,
        log_level=level,
        client_capabilities=CAN,
    )


async def said(up: StdioUpstream, asked: UpstreamRequest, **more: Any) -> Any:
    return json.loads(told(await up.request(asked, **more)))


def answering(who: str, begun: asyncio.Event | None = None, go: asyncio.Event | None = None) -> Ask:
    """A client that says who it is, once it may."""

    async def ask(method: str, params: dict[str, Any]) -> Answered:
        del params
        if begun is not None:
            begun.set()
        if go is not None:
            await go.wait()
        return Answered(result={"who": who, "method": method})

    return ask


def test_the_key_of_a_process_is_no_choice_of_a_client() -> None:
    asked = by("p", "mine", session="s")
    assert owner_of("shared", asked) == ""
    assert owner_of("principal", asked) == "p"
    assert owner_of("session", asked) == "p\0s"
    assert owner_of("session", by("p", "mine")) == "p"


def test_nobody_reaches_the_process_of_another() -> None:
    owners = [("p", "1"), ("p", "2"), ("q", "3"), ("q", "")]

    async def run() -> None:
        async with house(own("session")) as found:
            up = upstream(found, "session")
            plan = owners * 50
            seen = await asyncio.gather(*(said(up, by(who, "mine", session=its)) for who, its in plan))
            of: dict[tuple[str, str], set[int]] = {owner: set() for owner in owners}
            for owner, each in zip(plan, seen, strict=True):
                of[owner].add(each["pid"])
            assert [len(pids) for pids in of.values()] == [1, 1, 1, 1]
            shared = await said(up, request("mine"))
            users = {each["uid"] for each in (*seen, shared)}
            assert len({shared["pid"], *(pid for pids in of.values() for pid in pids)}) == 5
            assert len(users) == (5 if ROOT else 1)
            assert all(each["declared"] == [CAN] for each in seen)
            assert shared["declared"] == [{}]
            (first,) = of["p", "1"]
            (server,) = found.runner.owned.of("toy", "p\0" + "1")
            await up.end_session("1")
            await until(lambda: not alive(first) and not server.place.exists())
            (second,), (other,) = of["p", "2"], of["q", ""]
            assert alive(second)
            assert alive(other)
            found.configure(own("session", "telling"))
            await until(lambda: not alive(second) and not alive(other))

    asyncio.run(run())


def test_a_process_that_ends_when_it_is_stopped_is_stopped_all_the_same() -> None:
    async def run() -> None:
        async with house(own("principal")) as found:
            up = upstream(found, "principal")
            pid = await said(up, by("p", "stubborn"))
            (server,) = found.runner.owned.of("toy", "p")
            assert server.process is not None
            server.overgrown(1)
            await until(lambda: server.state == "waiting")
            process = server.process
            found.runner.owned.close()
            await until(lambda: not server.place.exists())
            assert not alive(pid)
            assert process is None or process.ended.done()

    asyncio.run(run())


def test_each_client_is_asked_what_its_own_call_asks() -> None:
    async def run() -> None:
        async with house(own("principal")) as found:
            up = upstream(found, "principal")

            async def asked(who: str) -> Any:
                return await said(up, by(who, "ask", method="elicitation/create"), ask=answering(who))

            found_by = await asyncio.gather(*(asked(who) for who in ("p", "q", "p", "q")))
            assert [each["result"]["who"] for each in found_by] == ["p", "q", "p", "q"]
            both = await asked("p")
            assert both["result"] == {"who": "p", "method": "elicitation/create"}
            for tool in ("ask_and_answer", "take_back"):
                assert await said(up, by("p", tool), ask=answering("p")) == "done"
            # What is no proper MCP is dropped, whether somebody could be asked or not.
            twice = '{"jsonrpc":"2.0","id":5,"method":"roots/list","method":"roots/list"}'
            assert await said(up, by("p", "raw", line=twice), ask=answering("p")) == "done"
            bad = '{"jsonrpc":"2.0","method":"notifications/message","params":[1]}'
            assert await said(up, by("p", "raw", level="info", line=bad)) == "done"
            # What comes when no call runs that could ask is refused.
            assert await said(up, by("q", "ask_later")) == "done"
            refused: list[Any] = []
            while not refused:
                refused = await said(up, by("q", "replies"))
            assert [(each["id"], each["error"]["code"]) for each in refused] == [("later", -32601)]
            # Without anybody to ask, as for a caller without a session.
            nobody = await said(up, by("q", "ask", method="elicitation/create"))
            assert nobody["error"]["code"] == -32601

    asyncio.run(run())


@pytest.mark.parametrize("isolation", ["principal", "session"])
def test_an_open_question_holds_up_no_other_call_of_a_principal(isolation: Isolation) -> None:
    async def run() -> None:
        async with house(own(isolation)) as found, asyncio.TaskGroup() as tasks:
            up = upstream(found, isolation)
            begun, go = asyncio.Event(), asyncio.Event()
            asking = by("p", "ask", session="s", method="elicitation/create")
            asks = tasks.create_task(said(up, asking, ask=answering("p", begun, go)))
            await begun.wait()
            waits = tasks.create_task(said(up, by("p", "mine", session="s")))
            if isolation == "principal":
                assert (await waits)["pid"] > 0
                assert len(found.runner.owned.servers()) == 2
            else:
                assert (await said(up, by("q", "mine", session="t")))["pid"] > 0
                assert not waits.done()
            go.set()
            assert (await asks)["result"]["who"] == "p"
            assert (await waits)["pid"] > 0

    asyncio.run(run())


def test_a_process_that_dies_while_it_asks_ends_its_call_alone() -> None:
    async def run() -> None:
        async with house(own("principal")) as found:
            up = upstream(found, "principal")
            mine, other = await said(up, by("p", "mine")), await said(up, by("q", "mine"))
            asked, ended = asyncio.Event(), asyncio.Event()

            async def ask(method: str, params: dict[str, Any]) -> Answered:
                del method, params
                asked.set()
                try:
                    return await asyncio.Future[Answered]()
                finally:
                    ended.set()

            call = by("p", "ask", method="elicitation/create")
            pending = asyncio.ensure_future(up.request(call, ask=ask))
            await asked.wait()
            os.kill(mine["pid"], signal.SIGKILL)
            with pytest.raises(UpstreamFault) as caught:
                await pending
            assert caught.value.effect is Effect.POSSIBLE
            assert ended.is_set()
            assert (await said(up, by("q", "mine")))["pid"] == other["pid"]
            server = found.runner.owned.of("toy", "p")[0]
            await until(lambda: server.state == "ready")
            assert (await said(up, by("p", "mine")))["pid"] != mine["pid"]
            assert up.gate.breaker.state == "closed"
            # A caller that goes away takes its question with it.
            asked.clear()
            pending = asyncio.ensure_future(up.request(call, ask=ask))
            await asked.wait()
            pending.cancel()
            await asyncio.wait([pending])
            assert (await said(up, by("p", "mine")))["pid"] > 0

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["legacy", "modern"])
def test_a_call_hears_the_log_of_its_own_process(mode: str) -> None:
    async def run() -> None:
        async with house(own("principal", "logging", mode=mode)) as found:
            up = upstream(found, "principal")
            heard: dict[str, list[Any]] = {"p": [], "q": [], "": []}

            async def log(who: str, level: str) -> Any:
                def notify(method: str, params: dict[str, Any]) -> None:
                    heard[who].append((method, params["data"], "progressToken" in params))

                return await said(up, by(who, "log", level=level, data=who), notify=notify)

            await asyncio.gather(*(log(who, "debug") for who in ("p", "q", "p", "q", "")))
            for who in ("p", "q"):
                assert heard[who] == [("notifications/message", who, False)] * 2
            assert heard[""] == []  # the shared process: nobody knows whose it is
            levels = [await log("p", level) for level in ("debug", "error", "")]
            legacy = [["debug"], ["debug", "error"], ["debug", "error"]]
            assert levels == (legacy if mode == "legacy" else [[], [], []])

    asyncio.run(run())


def test_who_watches_hears_of_its_own_process() -> None:
    async def run() -> None:
        heard: Heard = []
        async with house(own("session", "telling")) as found:
            up = upstream(found, "session", heard)
            await up.describe()

            async def subscribe(who: str, its: str) -> None:
                asked = by(who, "", session=its)
                params = {"uri": "a:1"}
                await up.request(structs.replace(asked, method="resources/subscribe", params=params))

            await subscribe("p", "1")
            await subscribe("q", "2")
            found.events.clear()
            for who, its in (("p", "1"), ("q", "2"), ("r", "3")):
                await said(up, by(who, "updated", session=its, uri="a:1"))
            await until(lambda: len(found.events) >= 2)
            for event in found.events:
                up.updated(event.uri, event.owner)
            assert sorted(session for session, _, _ in heard) == ["1", "2"]
            up.updated("a:1", "r\0" + "3")
            # A stream of a modern client hears of its principal's process.
            up.watch_own({"p": frozenset({"a:2"})})
            found.events.clear()
            for who in ("q", "p"):
                await said(up, by(who, "updated", uri="a:2"))
            await until(lambda: any(event.event == "updated" for event in found.events))
            told_of = [event for event in found.events if event.event == "updated"]
            assert [(event.uri, event.owner) for event in told_of] == [("a:2", "p")]
            up.updated("a:2", "p")
            assert heard.pop() == ("\0p", "notifications/resources/updated", {"uri": "a:2"})
            up.watch_own({})
            up.updated("a:2", "p")
            await up.unsubscribe("1", "a:1")
            await up.end_session("2")
            await up.close()
            assert len(heard) == 2

    asyncio.run(run())
