"""Every worker is asked, and whoever does not answer is counted."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from airlock.app import peers
from airlock.app.peers import Gathered, Peers, Rounds


class Line:
    """Carries messages as JSON, as the real one does, to whoever hears them."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(msgspec.json.decode(msgspec.json.encode(message)))


def answer(number: int, what: object) -> dict[str, Any]:
    return {"op": "answer", "round": number, "answer": what}


def test_the_answers_come_by_slot_once_all_are_there() -> None:
    async def scenario() -> Gathered:
        lines = {0: Line(), 1: Line()}
        rounds = Rounds(lines)
        future = rounds.ask("heap", workers=2, patience=60)
        assert [line.sent for line in lines.values()] == [
            [{"op": "ask", "round": 1, "what": "heap", "body": None}]
        ] * 2
        rounds.heard(1, answer(1, {"b": 1}))
        assert not future.done()
        rounds.heard(0, answer(1, {"a": 1}))
        return await future

    gathered = asyncio.run(scenario())
    assert gathered.answers == ({"a": 1}, {"b": 1})
    assert (gathered.acked, gathered.total) == (2, 2)


def test_whoever_is_silent_is_missing_and_what_comes_late_is_dropped() -> None:
    async def scenario() -> Gathered:
        rounds = Rounds({0: Line(), 1: Line()})
        future = rounds.ask("heap", workers=3, patience=0.01)
        rounds.heard(1, answer(1, {"b": 1}))
        gathered = await future
        rounds.heard(0, answer(1, {"a": 1}))
        return gathered

    gathered = asyncio.run(scenario())
    assert gathered.answers == (None, {"b": 1}, None)
    assert (gathered.acked, gathered.total) == (1, 3)


def test_without_a_worker_nobody_is_waited_for() -> None:
    async def scenario() -> Gathered:
        return await Rounds({}).ask("heap", workers=2, patience=3600)

    assert asyncio.run(scenario()).answers == (None, None)


async def one() -> object:
    return {"one": 1}


def test_a_worker_asks_all_of_them_through_the_supervisor() -> None:
    async def scenario() -> Gathered:
        lines = {0: Line(), 1: Line()}
        rounds = Rounds(lines)
        workers = [Peers(), Peers()]
        upward = [Line(), Line()]
        for worker, line in zip(workers, upward, strict=True):
            worker.line, worker.answers = line, {"caches": one}
        asking = asyncio.create_task(workers[0].ask("caches"))
        await asyncio.sleep(0)
        rounds.ask_for(0, upward[0].sent.pop(), workers=2)
        for slot, worker in enumerate(workers):
            await worker.reply(lines[slot].sent.pop())
            rounds.heard(slot, upward[slot].sent.pop())
        await asyncio.sleep(0)
        workers[0].heard(lines[0].sent.pop())
        workers[0].heard({"round": 99, "answers": []})
        return await asking

    assert asyncio.run(scenario()).answers == ({"one": 1}, {"one": 1})


def test_a_worker_that_is_gone_is_not_told() -> None:
    async def scenario() -> None:
        lines = {0: Line()}
        rounds = Rounds(lines)
        rounds.ask_for(0, {"round": 7, "what": "caches", "body": None, "to": None}, workers=1)
        line = lines.pop(0)
        rounds.heard(0, answer(1, {}))
        await asyncio.sleep(0)
        assert [message["op"] for message in line.sent] == ["ask"]

    asyncio.run(scenario())


def test_a_worker_without_a_supervisor_answers_for_itself() -> None:
    worker = Peers()
    worker.answers = {"caches": one}
    assert asyncio.run(worker.ask("caches")).answers == ({"one": 1},)


def test_where_the_supervisor_says_nothing_nobody_answered(monkeypatch: Any) -> None:
    monkeypatch.setattr(peers, "PATIENCE", 0.01)
    worker = Peers()
    worker.line = Line()
    assert asyncio.run(worker.ask("caches")).answers == ()


def test_a_question_that_cannot_be_answered_is_not() -> None:
    async def broken() -> object:
        raise MemoryError

    worker = Peers()
    worker.line = line = Line()
    worker.answers = {"broken": broken}
    for what in ("broken", "unheard of"):
        asyncio.run(worker.reply({"round": 1, "what": what}))
    assert line.sent == []


def test_one_worker_is_told_something_and_answers() -> None:
    async def doubled(body: int) -> int:
        return 2 * body

    async def scenario() -> tuple[int | None, int | None]:
        lines = {0: Line(), 1: Line()}
        rounds, upward = Rounds(lines), [Line(), Line()]
        workers = [Peers(), Peers()]
        for worker, line in zip(workers, upward, strict=True):
            worker.line = line
            worker.hears["double"] = doubled
        asking = asyncio.create_task(workers[0].one(1, "double", 21))
        await asyncio.sleep(0)
        rounds.ask_for(0, upward[0].sent.pop(), workers=2)
        assert not lines[0].sent
        await workers[1].reply(lines[1].sent.pop())
        rounds.heard(1, upward[1].sent.pop())
        await asyncio.sleep(0)
        workers[0].heard(lines[0].sent.pop())
        told = await asking
        asking = asyncio.create_task(workers[0].one(7, "double", 21))
        await asyncio.sleep(0)
        rounds.ask_for(0, upward[0].sent.pop(), workers=2)
        await asyncio.sleep(0.01)
        workers[0].heard(lines[0].sent.pop())
        return told, await asking

    assert asyncio.run(scenario()) == (42, None)


def test_all_workers_are_told_where_there_is_a_line() -> None:
    alone, peer, line = Peers(), Peers(), Line()
    peer.line = line
    alone.all("word", 1)
    peer.all("word", 1)
    assert line.sent == [{"op": "ask", "round": 0, "what": "word", "body": 1, "to": None}]
