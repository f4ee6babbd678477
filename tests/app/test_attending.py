"""What workers tell each other of sessions: a session that ended is refused by all before that is said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from airlock.app import attending
from airlock.app.attending import Attending
from airlock.app.peers import Peers, Rounds
from airlock.gateway.attendance import IDLE, LAG, Attendance
from tests.gateway.parts import NOW, HandClock


class Line:
    """Carries messages within one loop."""

    def __init__(self, deliver: Any) -> None:
        self._deliver = deliver

    def send(self, message: dict[str, Any]) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, message)


class Worker:
    def __init__(self, slot: int, rounds: Rounds, clock: HandClock) -> None:
        self._slot, self._rounds = slot, rounds
        self._tasks: set[asyncio.Task[None]] = set()
        self.over: list[str] = []
        self.read: list[str] = []
        self.known, self.peers = Attendance(), Peers()
        log = structlog.get_logger()
        self.attending = Attending(
            attendance=self.known, peers=self.peers, read=lambda: self.read, clock=clock, log=log
        )
        self.peers.hears |= self.attending.hears | {"mcp_over": self._over}
        self.peers.line = Line(self._up)

    async def _over(self, body: dict[str, str]) -> None:
        self.over.append(body["session"])

    def _up(self, message: dict[str, Any]) -> None:
        if message["op"] == "ask":
            self._rounds.ask_for(self._slot, message, workers=2)
        else:
            self._rounds.heard(self._slot, message)

    def down(self, message: dict[str, Any]) -> None:
        if message["op"] == "gathered":
            self.peers.heard(message)
            return
        task = asyncio.get_running_loop().create_task(self.peers.reply(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def two(clock: HandClock) -> tuple[Worker, Worker]:
    lines: dict[int, Line] = {}
    rounds = Rounds(lines)
    workers = Worker(0, rounds, clock), Worker(1, rounds, clock)
    lines |= {slot: Line(worker.down) for slot, worker in enumerate(workers)}
    return workers


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_an_ended_session_is_refused_by_every_worker_when_its_end_is_answered() -> None:
    async def scenario() -> None:
        here, there = two(HandClock())
        here.known.begin("s", "ada", NOW)
        await settled()
        assert len(there.known) == 1
        await there.attending.ended("s")
        assert not here.known.saw("s", "ada", NOW)
        assert not there.known.saw("s", "ada", NOW)
        await settled()
        assert here.over == there.over == ["s"]

    asyncio.run(scenario())


def test_what_is_idle_in_all_workers_ends_in_all_and_that_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attending, "SWEEP", 0.0)

    async def scenario() -> None:
        clock = HandClock()
        here, there = two(clock)
        for sid in ("idle", "read"):
            here.known.begin(sid, "ada", clock.wall())
        await settled()
        there.read = ["read"]
        clock.seconds += IDLE
        running = [asyncio.create_task(each.attending.run()) for each in (there, here)]
        await settled()
        clock.seconds += LAG + 1
        await settled()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert "idle" in here.over
        assert "idle" in there.over
        assert "read" not in there.over + here.over
        assert len(here.known) == len(there.known) == 1

    with capture_logs() as logged:
        asyncio.run(scenario())
    assert {"event": "sessions_closed", "idle": 1, "log_level": "info"} in logged
