"""URIs of a server's answers, as they are on `/mcp`."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.gateway.federate import error, result

TEXT = {"type": "text", "text": "see file:///x"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"contents": [{"uri": "file:///x", "text": "file:///y"}]},
            {"contents": [{"uri": "mcp+docs:file:///x", "text": "file:///y"}]},
        ),
        (
            {"content": [TEXT, {"type": "resource", "resource": {"uri": "file:///x", "text": "t"}}]},
            {"content": [TEXT, {"type": "resource", "resource": {"uri": "mcp+docs:file:///x", "text": "t"}}]},
        ),
        (
            {"content": [{"type": "resource_link", "uri": "file:///x", "name": "x"}]},
            {"content": [{"type": "resource_link", "uri": "mcp+docs:file:///x", "name": "x"}]},
        ),
        (
            {"messages": [{"role": "user", "content": {"type": "resource", "resource": {"uri": "a:b"}}}]},
            {
                "messages": [
                    {"role": "user", "content": {"type": "resource", "resource": {"uri": "mcp+docs:a:b"}}}
                ]
            },
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "resource_link", "uri": "a:b"}]}]},
            {"messages": [{"role": "user", "content": [{"type": "resource_link", "uri": "mcp+docs:a:b"}]}]},
        ),
    ],
)
def test_f2_uris_are_rewritten_where_they_are_uris(said: dict[str, Any], told: dict[str, Any]) -> None:
    assert result("docs", said) == told


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"content": [TEXT], "structuredContent": {"uri": "file:///x"}},
        {"content": [{"type": "resource_link", "uri": "https://docs.example/x", "name": "x"}]},
        {"content": [7, {"type": "image", "data": "", "uri": "file:///x"}]},
        {"content": 7, "contents": 7, "messages": 7},
    ],
)
def test_f2_nothing_else_is_touched(said: dict[str, Any]) -> None:
    assert result("docs", said) is said


@pytest.mark.parametrize("said", [{"contents": [7, {"text": "x"}]}, {"messages": [7, {"role": "user"}]}])
def test_what_holds_no_uri_is_as_it_was(said: dict[str, Any]) -> None:
    assert result("docs", said) == said


def test_f2_an_error_names_the_uri_of_the_route() -> None:
    plain = {"code": -32602, "message": "x"}
    assert error("docs", plain) is plain
    assert error("docs", {**plain, "data": {"uri": "a:b"}})["data"] == {"uri": "mcp+docs:a:b"}
