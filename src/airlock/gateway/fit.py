"""Whether a value fits a schema of a tool, after something was taken out of it.

Compiled checks are kept by definition. A schema that cannot be compiled, or a value that is too deep for
checking it in bounded time, does not fit: unknown means no.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

import jsonschema_rs
import msgspec

from airlock.gateway.catalog import compile_schema
from airlock.mcp import work
from airlock.model.server import Item

MAX_COMPILED = 512
"""Compiled schemas kept; the least recently used goes first."""

Side = Literal["inputSchema", "outputSchema"]


class _Check(msgspec.Struct, frozen=True):
    levels: int
    validator: jsonschema_rs.Validator


class Fit:
    """Holds compiled schemas by definition digest. A tool without a schema takes anything."""

    def __init__(self) -> None:
        self._checks: OrderedDict[tuple[str, Side], _Check | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._checks)

    def __call__(self, tool: Item, side: Side, value: Any) -> bool:
        schema = tool.definition.get(side)
        if schema is None:
            return True
        key = (tool.digest, side)
        try:  # large messages are looked at in a thread: another call may take the check away
            check = self._checks[key]
            self._checks.move_to_end(key)
        except KeyError:
            check = self._checks[key] = _compile(schema)
            if len(self._checks) > MAX_COMPILED:
                self._checks.popitem(last=False)
        return check is not None and work.depth(value) <= check.levels and check.validator.is_valid(value)


def _compile(schema: dict[str, Any]) -> _Check | None:
    try:
        return _Check(work.levels(schema), compile_schema(schema))
    except ValueError:
        return None
