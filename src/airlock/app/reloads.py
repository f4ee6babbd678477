"""Reports of reloads: the supervisor makes one of each, and whoever asks a worker for a reload gets it from
there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import msgspec

from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.model.reload import Problem, Report

MOST = 50
"""Changed keys that a report names."""

PATIENCE = 30.0
"""Seconds for which a worker waits for the report: reading, trying the policy, and every worker's word."""

Message = dict[str, Any]


def problems(error: Exception) -> tuple[Problem, ...]:
    """Everything that is wrong with a plan."""
    if not isinstance(error, ConfigError):
        return (Problem(where=type(error).__name__, what=str(error)),)
    return tuple(
        Problem(where=each.where, what=f"{each.what} ({each.hint})" if each.hint else each.what)
        for each in error.problems
    )


def changes(before: Config, after: Config, *, policy: bool) -> tuple[str, ...]:
    """The keys in which two configurations differ, at most `MOST`; `policy`: its text differs as well."""
    old, new = dict(_leaves(_tree(before))), dict(_leaves(_tree(after)))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return tuple(keys[:MOST] + (["policy"] if policy else []))


def sections(changed: Iterable[str]) -> tuple[str, ...]:
    """The sections of changed keys."""
    return tuple(dict.fromkeys(key.partition(".")[0] for key in changed))


def _tree(config: Config) -> dict[str, Any]:
    tree = cast("dict[str, Any]", msgspec.to_builtins(config))
    return tree | {"servers": {server["name"]: server for server in tree["servers"]}}


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(cast("Mapping[str, Any]", value), f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def acknowledged(active: Iterable[Message], serial: int) -> int:
    """How many workers say that they run what the reload of this number brought, or a later one."""
    return sum(message["reload"] >= serial for message in active)


class Reloading:
    """Asks the supervisor for a reload, in a worker. Used on the event loop."""

    def __init__(self) -> None:
        self.send: Callable[[Message], None] = lambda message: None
        """To the supervisor; whoever holds the line sets it."""
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Report]] = {}

    async def __call__(self, by: str, *, rollback: bool = False) -> Report:
        """The report on what `by` asks for: a reload of everything, or of the policy that people went back
        to. Raises `TimeoutError`."""
        number = next(self._numbers)
        self._waiting[number] = asked = asyncio.get_running_loop().create_future()
        try:
            self.send({"op": "reload", "number": number, "by": by, "rollback": rollback})
            async with asyncio.timeout(PATIENCE):
                return await asked
        finally:
            del self._waiting[number]

    def heard(self, message: Message) -> None:
        """The supervisor's answer."""
        asked = self._waiting.get(message["number"])
        if asked is not None and not asked.done():
            asked.set_result(msgspec.convert(message["report"], Report))
