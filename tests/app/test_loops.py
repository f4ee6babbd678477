"""The loops of the engine: one that fails is started again, takes no other with it, and is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from airlock.app import loops
from airlock.app.loops import Loops
from airlock.core import log as logs
from tests.gateway.parts import HandClock, until


class Engine:
    """Two loops, of which a test breaks the first, and what the supervisor hears of them."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.failure: Exception | None = None
        self.trouble = ""
        self.begun = self.beats = 0
        self.heard: list[str] = []
        self.loops = Loops(
            {"fragile": self.fragile, "steady": self.steady},
            troubles={"steady": lambda: self.trouble},
            tell=self.heard.append,
            clock=self.clock,
            log=logs.get("incident"),
        )

    async def fragile(self) -> None:
        self.begun += 1
        if self.failure is not None:
            raise self.failure
        await asyncio.Event().wait()

    async def steady(self) -> None:
        while True:
            self.beats += 1
            await asyncio.sleep(0)

    async def run(self, scenario: Callable[[], bool]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in self.loops.works()]
            await until(scenario, within=30)
            for task in tasks:
                task.cancel()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(loops, "LEAST", 0.001)
    monkeypatch.setattr(loops, "EVERY", 0.001)
    return Engine()


def test_a_loop_that_fails_is_begun_again_and_the_others_go_on(engine: Engine) -> None:
    engine.failure = ExceptionGroup("steps", [KeyError("unforeseen")])
    with capture_logs() as lines:
        asyncio.run(engine.run(lambda: engine.begun >= 3 and engine.beats >= 3 and len(engine.heard) >= 5))
    said = [line for line in lines if line["event"] == "engine_loop_failed"]
    assert {(each["loop"], each["detail"]) for each in said} == {("fragile", "KeyError('unforeseen')")}
    assert engine.heard[-1] == "fragile: failed with KeyError"


def test_a_loop_that_lives_long_enough_is_well_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "HEALTHY", 0.01)
    engine.failure = OSError("no room")

    def mended() -> bool:
        if "fragile: failed with OSError" in engine.heard:
            engine.failure = None
        return engine.failure is None and engine.heard[-1] == ""

    asyncio.run(engine.run(mended))


def test_a_trouble_that_lasts_is_said_and_one_that_passes_is_not(engine: Engine) -> None:
    engine.trouble = "the log is locked"
    assert engine.loops.trouble() == ""
    engine.clock.seconds += loops.HEALTHY
    assert engine.loops.trouble() == "steady: the log is locked"
    engine.trouble = ""
    assert engine.loops.trouble() == ""
    engine.trouble = "again"
    assert engine.loops.trouble() == ""


def test_a_loop_that_ends_by_itself_is_a_trouble_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends() -> None:
        return

    async def scenario() -> None:
        kept = asyncio.create_task(engine.loops.keep("short", ends))
        await until(lambda: engine.heard[-1:] == ["short: it ended"], within=30)
        kept.cancel()

    asyncio.run(scenario())
