"""Federated names."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.mcp.names import KINDS, MAX_NAME, Kind, alias, canonical, kind_of, own, split


def test_f1_a_plain_name_gets_the_server_in_front() -> None:
    assert alias("files", "Read_Text.file-2") == "files__Read_Text.file-2"


@pytest.mark.parametrize("tool", ["a b", "ümlaut", "x" * 200, "a/b", "", "a\n"])
def test_f1_other_names_are_cleaned_and_marked(tool: str) -> None:
    name = alias("files", tool)
    assert name.startswith("files__")
    assert name.endswith("_" + hashlib.sha256(tool.encode()).hexdigest()[:8])
    assert len(name) <= MAX_NAME


def test_f1_similar_names_stay_apart() -> None:
    assert alias("files", "a b") != alias("files", "a/b")


@settings(max_examples=100, deadline=None)
@given(st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True), st.text())
def test_f1_the_first_separator_always_splits(server: str, tool: str) -> None:
    name = alias(server, tool)
    assert len(name) <= MAX_NAME
    assert split(name) == (server, name.removeprefix(f"{server}__"))


@pytest.mark.parametrize("name", ["plain", "", "__x", "UPPER__x", "a_b__x", "-a__x", "a" * 32 + "__x"])
def test_what_has_no_server_part_is_not_split(name: str) -> None:
    assert split(name) == ("", name)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(KINDS), st.text() | st.from_regex(r"(tool|prompt|resource|template|x):.*"))
def test_a_canonical_name_says_kind_and_own_name(kind: Kind, name: str) -> None:
    known = canonical(kind, name)
    assert (kind_of(known), own(known)) == (kind, name)


def test_no_tool_takes_the_name_of_a_prompt() -> None:
    assert canonical("prompt", "greet") == "prompt:greet"
    assert canonical("tool", "greet") == "greet"
    assert canonical("tool", "prompt:greet") == "tool:prompt:greet"
