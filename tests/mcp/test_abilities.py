"""What a legacy client can do, as a number in its session."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.mcp.abilities import packed, unpacked

EVERYTHING: dict[str, Any] = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}, "context": {}},
    "elicitation": {"form": {}, "url": {}},
}


@pytest.mark.parametrize(
    "capabilities",
    [{}, {"sampling": {}}, {"elicitation": {}}, {"elicitation": {"url": {}}}, {"roots": {}}, EVERYTHING],
)
def test_what_servers_can_use_survives(capabilities: dict[str, Any]) -> None:
    assert unpacked(packed(capabilities)) == capabilities
    assert packed(capabilities) < 256


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"experimental": {"x": {}}, "tasks": {}, "extensions": {}}, {}),
        ({"sampling": True, "roots": None, "elicitation": []}, {}),
        (
            {"roots": {"listChanged": False, "more": 1}, "sampling": {"tools": None}},
            {"roots": {}, "sampling": {}},
        ),
    ],
)
def test_everything_else_goes_nowhere(said: dict[str, Any], kept: dict[str, Any]) -> None:
    assert unpacked(packed(said)) == kept
