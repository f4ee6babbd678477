"""What legacy clients send in their sessions besides requests, whatever worker hears it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Rejected
from airlock.gateway import correspondence
from airlock.gateway.correspondence import Correspondence
from airlock.gateway.live import Live
from airlock.gateway.questions import Questions
from airlock.mcp.jsonrpc import ClientResponse, Message, Notification, Request
from airlock.model.call import Client, Identified
from airlock.model.upstream import Answered
from tests.edge.parts import travel
from tests.gateway.parts import authenticated
from tests.gateway.session_parts import Rows, Stream, in_session


class Office:
    """Two workers; what is told to all is delivered at once."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.live = Live(), Live()
        self.questions = Questions(slot=0, record=Rows()), Questions(slot=1, record=Rows())
        self.workers = [
            Correspondence(
                slot=slot,
                questions=self.questions[slot],
                live=self.live[slot],
                post=self,
                tell_servers=self._tell,
            )
            for slot in range(2)
        ]
        self.tasks: list[asyncio.Task[object]] = []

    async def _tell(self, session: str, method: str) -> None:
        self.told.append((session, method))

    async def one(self, slot: int, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        if slot > 1:
            return None
        answer = await self.workers[slot].hears[what](msgspec.json.decode(msgspec.json.encode(body)))
        return msgspec.to_builtins(answer)

    def all(self, what: str, body: dict[str, Any]) -> None:
        for worker in self.workers:
            self.tasks.append(asyncio.ensure_future(_obeyed(worker, what, body)))

    async def heard(self, message: Message, *, at: int = 0, session: str = "s") -> None:
        await self.workers[at].heard(said(message, session))
        await asyncio.gather(*self.tasks)


async def _obeyed(worker: Correspondence, what: str, body: dict[str, Any]) -> None:
    await worker.hears[what](body)


def said(message: Message, session: str = "s") -> Identified:
    client = Client(version="2025-11-25", modern=False, capabilities={}, session=session)
    return Identified(caller=authenticated(), client=client, message=message)


@pytest.mark.parametrize("at", [0, 1])
def test_an_answer_reaches_the_worker_that_asked(at: int) -> None:
    async def scenario() -> Answered:
        office, stream = Office(), Stream()
        asking = asyncio.ensure_future(office.questions[1].put(in_session(stream=stream), "roots/list", {}))
        await asyncio.sleep(0.1)
        await office.heard(ClientResponse(stream.asked[0], result={"roots": []}), at=at)
        with pytest.raises(Rejected) as twice:
            await office.heard(ClientResponse(stream.asked[0], result={"roots": []}), at=at)
        assert (twice.value.http, twice.value.reason) == (400, "unexpected_response")
        return await asking

    assert travel(scenario()) == Answered(result={"roots": []})


@pytest.mark.parametrize(
    ("id", "http"),
    [(1, 400), ("mine", 400), ("airlock-0-x", 400), ("airlock-1-x", 400), ("airlock-7-x", 404)],
)
def test_an_answer_that_nobody_waits_for_is_refused(id: str | int, http: int) -> None:
    with pytest.raises(Rejected) as refused:
        travel(Office().heard(ClientResponse(id, error={"code": 1, "message": ""})))
    assert refused.value.http == http


@pytest.mark.parametrize(("id", "session", "cut"), [(1, "s", True), ("1", "s", False), (1, "t", False)])
def test_a_client_cancels_its_own_call_in_any_worker(id: str | int, session: str, cut: bool) -> None:
    async def scenario() -> str:
        office = Office()

        async def called() -> str:
            try:
                with office.live[1].running(in_session()):
                    await asyncio.sleep(1)
            except Rejected as cancelled:
                return cancelled.reason
            return "ran"

        running = asyncio.ensure_future(called())
        await asyncio.sleep(0.1)
        params = {"requestId": id}
        for _ in range(2):
            await office.heard(Notification("notifications/cancelled", params), session=session)
        return await running

    assert travel(scenario()) == ("cancelled" if cut else "ran")


def test_servers_hear_of_other_roots_and_of_nothing_else() -> None:
    office = Office()
    travel(office.heard(Notification("notifications/initialized", {})))
    travel(office.heard(Notification("notifications/roots/list_changed", {}), session=""))
    travel(office.heard(Request(1, "ping", {})))
    assert office.told == []
    travel(office.heard(Notification("notifications/roots/list_changed", {})))
    assert office.told == [("s", "notifications/roots/list_changed")] * 2


def test_a_level_counts_in_every_worker_and_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correspondence, "LEVELS", 2)
    office = Office()

    async def scenario() -> None:
        for session in ("s", "t", "u"):
            await office.workers[0].set_level(
                said(Request(1, "logging/setLevel", {"level": "error"}), session)
            )
            await asyncio.gather(*office.tasks)

    travel(scenario())
    for worker in office.workers:
        assert [worker.level(session) for session in ("s", "t", "u", "x")] == ["", "error", "error", ""]
