"""Values that RFC 8785 and sorted compact JSON write alike: what the audit log may carry.

Text, truth, null, whole numbers below 2^53, lists and objects of these with keys `[a-z0-9_]+`; no fractions.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 16

_KEY = re.compile(r"[a-z0-9_]+")
_PLAIN = frozenset((str, bool, type(None)))
"""Kinds of which every value has one canonical form."""
_HOLDING: tuple[type[Any], ...] = (dict, list, tuple)
"""Kinds that hold values."""


def check(value: Any, depth: int = 0) -> None:
    """Raise ValueError for anything that the two could write differently."""
    if isinstance(value, _HOLDING) and depth < DEPTH_MAX:
        for member in _members(value):
            kind = member.__class__
            if kind not in _PLAIN and not (kind is int and -INTEGER_MAX <= member <= INTEGER_MAX):
                check(member, depth + 1)
    elif isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise ValueError(f"integer {value} is not exact in JSON")
    elif value is not None and not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} at depth {depth} has no canonical form")


def _members(value: Any) -> Iterable[Any]:
    if not isinstance(value, dict):
        return value
    members = cast("dict[object, Any]", value)
    if not _keys_fit(tuple(members)):
        raise ValueError(f"not all keys are [a-z0-9_]+: {list(members)!r}")
    return members.values()


@lru_cache(maxsize=1024)
def _keys_fit(keys: tuple[object, ...]) -> bool:
    """Whether all are `[a-z0-9_]+`. Cached: the callers of the log use few combinations of keys."""
    return all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys)
