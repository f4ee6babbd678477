"""A closer look says how long each stage took; without it, messages go their usual way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from airlock.app.monitoring import CLOSELY, STAGES, Monitoring
from airlock.core.config import Config
from airlock.model.call import Admitted, Allowed, Inbound, Reply
from airlock.model.upstream import Notify
from tests.gateway.parts import House, call_message, no, registered

USUAL = Config()
ENHANCED: Config = msgspec.convert({"monitoring": {"enhanced": True}}, Config)
DEBUG: Config = msgspec.convert({"logging": {"level": "debug"}}, Config)


class Slow:
    """A house whose policy takes a while, under the eyes of `monitoring`."""

    def __init__(self, folder: Path, seconds: float, config: Config, *, allow: bool = True) -> None:
        self.house = House(folder, registered("docs"))
        if not allow:
            self.house.engine.answer = no
        real = self.house.pipeline.authorize

        def authorize(admitted: Admitted) -> Allowed:
            self.house.clock.seconds += seconds
            return real(admitted)

        pipeline = msgspec.structs.replace(self.house.pipeline, authorize=authorize)
        self.monitoring = Monitoring(pipeline, config=config, clock=self.house.clock, log=self.house.lines)

    def call(self) -> Reply:
        async def scenario() -> Reply:
            inbound: Inbound = self.house.inbound(call_message())
            return await self.monitoring.govern(inbound, cast("Notify", None))

        return asyncio.run(scenario())

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.house.lines.lines if line["event"] == event]


@pytest.mark.parametrize(
    ("config", "seconds", "slow", "answered"),
    [
        (USUAL, 0.5, 0, 0),
        (USUAL, 2.0, 1, 0),
        (ENHANCED, CLOSELY / 2, 0, 1),
        (ENHANCED, 0.5, 1, 1),
        (DEBUG, 0.5, 0, 1),
        (DEBUG, 2.0, 1, 1),
    ],
)
def test_what_is_slow_depends_on_how_closely_one_looks(
    tmp_path: Path, config: Config, seconds: float, slow: int, answered: int
) -> None:
    tried = Slow(tmp_path, seconds, config)
    assert tried.call().status == 200
    assert (len(tried.said("slow_request")), len(tried.said("request_answered"))) == (slow, answered)


def test_each_stage_is_said_in_its_order(tmp_path: Path) -> None:
    tried = Slow(tmp_path, 0.5, ENHANCED)
    tried.call()
    (line,) = tried.said("slow_request")
    stages: dict[str, float] = line["stages_ms"]
    assert list(stages) == [*STAGES[:-1], "intend", "forward", "redact_response", "seal"]
    assert stages["authorize"] == line["duration_ms"] == 500.0
    assert line["threshold_ms"] == CLOSELY * 1000


def test_a_refusal_is_timed_as_far_as_it_came(tmp_path: Path) -> None:
    tried = Slow(tmp_path, 0.5, ENHANCED, allow=False)
    tried.call()
    (line,) = tried.said("slow_request")
    assert list(line["stages_ms"])[-2:] == ["authorize", "refuse"]


def test_the_usual_way_is_taken_again_afterwards(tmp_path: Path) -> None:
    tried = Slow(tmp_path, 0.5, ENHANCED)
    tried.monitoring.take_over(USUAL)
    tried.call()
    assert tried.said("slow_request") == []
    tried.monitoring.take_over(DEBUG)
    tried.call()
    assert len(tried.said("request_answered")) == 1
