"""What a legacy client said that it can do, as one small number: it travels inside its session id.

Only what a server could make use of is kept; everything else that a client says of itself goes nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airlock.mcp.strict import is_object

_FLAGS = (
    ("roots", ""),
    ("roots", "listChanged"),
    ("sampling", ""),
    ("sampling", "tools"),
    ("sampling", "context"),
    ("elicitation", ""),
    ("elicitation", "form"),
    ("elicitation", "url"),
)
"""(capability, part of it), each one bit. Sealed sessions hold the number: add at the end only."""


def packed(capabilities: Mapping[str, Any]) -> int:
    """The known ones among the capabilities of an `initialize`, one bit each."""
    return sum(1 << bit for bit, flag in enumerate(_FLAGS) if _said(capabilities, *flag))


def unpacked(number: int) -> dict[str, Any]:
    """The capabilities object that a number stands for."""
    found: dict[str, Any] = {}
    for bit, (kind, part) in enumerate(_FLAGS):
        if number >> bit & 1:
            held = found.setdefault(kind, {})
            if part:
                held[part] = True if kind == "roots" else {}
    return found


def _said(capabilities: Mapping[str, Any], kind: str, part: str) -> bool:
    declared = capabilities.get(kind)
    if not is_object(declared):
        return False
    return not part or declared.get(part) not in (None, False)
