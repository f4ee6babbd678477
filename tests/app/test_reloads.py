"""What a reload changed is said by key, and who asked for it hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from airlock.app import reloads
from airlock.app.reloads import MOST, Reloading, acknowledged, changes, problems, sections
from airlock.core.config import Config
from airlock.core.errors import ConfigError

REPORT: dict[str, Any] = {"result": "accepted", "asked_by": "api", "at": "2026-01-01T00:00:00Z", "total": 2}


def config(**of: Any) -> Config:
    return msgspec.convert(of, Config)


def server(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "transport": "http", "url": f"http://{name}.test/mcp", **more}


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ({}, {}, ()),
        ({}, {"logging": {"level": "debug"}}, ("logging.level",)),
        ({"servers": [server("a")]}, {"servers": [server("a", timeout=1.0)]}, ("servers.a.timeout",)),
        ({"servers": [server("a"), server("b")]}, {"servers": [server("b"), server("a")]}, ()),
    ],
)
def test_what_differs_is_named(before: Any, after: Any, keys: tuple[str, ...]) -> None:
    assert changes(config(**before), config(**after), policy=False) == keys
    assert changes(config(**before), config(**after), policy=True) == (*keys, "policy")


def test_values_are_not_told_and_keys_are_bounded() -> None:
    secret = {"transport": "stdio", "command": ["x"], "env": {"KEY": "value"}}
    keys = changes(config(), config(servers=[{"name": "a", **secret}]), policy=False)
    assert "servers.a.env.KEY" in keys
    many = [server(f"s{n}") for n in range(20)]
    assert len(changes(config(), config(servers=many), policy=False)) == MOST


def test_sections_are_named_once() -> None:
    assert sections(("logging.level", "logging.keep", "policy")) == ("logging", "policy")


def test_every_problem_has_its_place() -> None:
    error = ConfigError.together([ConfigError("a:1", "bad", "good"), ConfigError("a:2", "worse")])
    assert [(each.where, each.what) for each in problems(error)] == [("a:1", "bad (good)"), ("a:2", "worse")]
    assert [(each.where, each.what) for each in problems(OSError("gone"))] == [("OSError", "gone")]


def test_workers_are_counted_by_the_newest_reload_they_run() -> None:
    assert acknowledged([{"reload": 1}, {"reload": 2}, {"reload": 3}], 2) == 2


def test_who_asks_hears_what_came_of_it() -> None:
    async def scenario() -> None:
        reloading, sent = Reloading(), list[reloads.Message]()
        reloading.send = sent.append
        asked = [asyncio.create_task(reloading("root")) for _ in range(2)]
        await asyncio.sleep(0)
        wishes = [(message["op"], message["by"], message["rollback"]) for message in sent]
        assert wishes == [("reload", "root", False)] * 2
        for message in reversed(sent):
            reloading.heard({"number": message["number"], "report": {**REPORT, "acked": message["number"]}})
        assert [report.acked for report in await asyncio.gather(*asked)] == [1, 2]
        reloading.heard({"number": 1, "report": REPORT})

    asyncio.run(scenario())


def test_who_hears_nothing_stops_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloads, "PATIENCE", 0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(Reloading()("root"))
