"""A result over the limit is cut where it is text, and says so; anything else is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import Effect, Fault
from airlock.gateway.cap import MAX_RESULT, bounded


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def cut(result: dict[str, Any], demanded: int) -> dict[str, Any]:
    body = bounded(1, result, demanded)
    assert len(body) <= demanded
    return msgspec.json.decode(body)["result"]


def test_what_fits_is_passed_on_as_it_is() -> None:
    result = {"content": [text("a")], "isError": False}
    size = len(bounded(1, result, None))
    assert cut(result, size) == result


def test_a_long_text_is_cut_and_says_how_much_is_missing() -> None:
    result = cut({"content": [text("x" * 10_000)], "isError": False}, 1000)
    shown, marker = (block["text"] for block in result["content"])
    assert set(shown) == {"x"}
    assert f"{len(shown)} of 10000 bytes" in marker
    assert result["isError"] is False


def test_blocks_that_fit_stay_whole_and_those_behind_are_gone() -> None:
    result = cut({"content": [text("first"), text("y" * 5000), text("last")]}, 600)
    texts = [block["text"] for block in result["content"]]
    assert texts[0] == "first"
    assert set(texts[1]) == {"y"}
    assert len(texts) == 3
    assert "last" not in texts


@pytest.mark.parametrize(
    "result",
    [
        {"content": [text("x" * 900)], "structuredContent": {"a": 1}},
        {"content": [text("x"), {"type": "image", "data": "A" * 900, "mimeType": "image/png"}]},
        {"content": [text("x"), "y" * 900]},
        {"content": "x" * 900},
        {"other": "x" * 900},
    ],
    ids=["structure", "picture", "no block", "no list", "no content"],
)
def test_what_is_not_only_text_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(Fault) as fault:
        bounded(1, result, 500)
    assert (fault.value.code, fault.value.effect) == (50001, Effect.POSSIBLE)


def test_a_limit_without_room_for_the_marker_refuses() -> None:
    with pytest.raises(Fault):
        bounded(1, {"content": [text("x" * 900)]}, 100)


def test_what_is_beyond_the_limit_of_the_gateway_is_refused_without_a_demand() -> None:
    with pytest.raises(Fault):
        bounded(1, {"content": [text("x" * MAX_RESULT)]}, None)


def test_a_demand_beyond_the_limit_of_the_gateway_lifts_nothing() -> None:
    with pytest.raises(Fault):
        bounded(1, {"content": [text("x" * MAX_RESULT)]}, MAX_RESULT * 2)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=400), min_size=1, max_size=5), st.integers(250, 900))
def test_whatever_the_texts_the_answer_is_no_larger_and_begins_as_they_do(
    texts: list[str], demanded: int
) -> None:
    result = cut({"content": [text(one) for one in texts]}, demanded)
    shown = [block["text"] for block in result["content"]]
    if shown != texts:
        assert "".join(texts).startswith("".join(shown[:-1]))
