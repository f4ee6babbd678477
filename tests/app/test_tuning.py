"""The configuration in force: who follows it hears of every change, also of the end of a lease."""

from __future__ import annotations

import msgspec

from airlock.app.tuning import Tuning
from airlock.core.config import Config
from airlock.model.containment import compiled
from airlock.model.lease import Lease, read_selector
from airlock.model.snapshot import Current
from tests.gateway.parts import NOW, HandClock, Lines, snapshot

DEBUG = Lease(
    id="L",
    action="logging.enhance",
    selector=read_selector("logging.enhance", {"level": "debug"}),
    state="active",
    reason="r",
    actor="a",
    origin="api",
    created_at=NOW,
    expires_at=NOW + 60,
    max_until=NOW + 60,
    epoch=1,
)
WARN: Config = msgspec.convert({"logging": {"level": "warn"}}, Config)


class Worker:
    def __init__(self) -> None:
        self.current, self.clock, self.lines = Current(snapshot()), HandClock(), Lines()
        self.tuning = Tuning(config=Config(), current=self.current, clock=self.clock, log=self.lines)
        self.heard: list[str] = []
        self.tuning.tell(lambda config: self.heard.append(config.logging.level))

    def hold(self, *held: Lease) -> None:
        self.current.swap(leases=compiled(held, epoch=1))
        self.tuning.follow()

    def told(self) -> list[tuple[str, object, bool]]:
        return [(line["key"], line["value"], line["overridden"]) for line in self.lines.lines]


def test_without_leases_the_file_is_in_force_and_nobody_is_told() -> None:
    worker = Worker()
    worker.tuning.follow()
    assert worker.tuning.config is worker.tuning.base
    assert (worker.heard, worker.lines.lines) == ([], [])


def test_a_lease_is_taken_over_once_and_its_end_alike() -> None:
    worker = Worker()
    worker.hold(DEBUG)
    worker.tuning.follow()
    assert (worker.heard, worker.tuning.config.logging.level) == (["debug"], "debug")
    worker.clock.seconds += 60
    worker.tuning.follow()
    assert worker.heard == ["debug", "info"]
    assert worker.told() == [("logging.level", "debug", True), ("logging.level", "info", False)]


def test_a_reload_keeps_what_leases_hold() -> None:
    worker = Worker()
    worker.hold(DEBUG)
    worker.tuning.reload(WARN)
    assert (worker.heard, worker.tuning.base.logging.level) == (["debug", "debug"], "warn")
    worker.hold()
    assert worker.heard[-1] == "warn"


def test_other_leases_change_no_setting() -> None:
    worker = Worker()
    block = msgspec.structs.replace(
        DEBUG, action="ip.block", selector=read_selector("ip.block", {"cidr": "203.0.113.7"})
    )
    worker.hold(block)
    assert worker.heard == []
