from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core.harmless import harmless

OBEYED = [
    *map(chr, range(0x80, 0xA0)),
    "\u061c",
    "\u200e",
    "\u200f",
    *map(chr, range(0x2028, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
]


@pytest.mark.parametrize("character", OBEYED, ids=lambda character: f"{ord(character):04x}")
def test_what_a_terminal_obeys_is_escaped(character: str) -> None:
    document = json.dumps({f"a{character}": f"\\{character}b"}, ensure_ascii=False).encode()
    assert harmless(document) == json.dumps({f"a{character}": f"\\{character}b"}).encode()


@pytest.mark.parametrize(
    "text", ["plain", "\xa0 é", "\u200d", "\u202f", "\u2065", "\u206a", "\u0618", "日本", "😀"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    document = json.dumps(text, ensure_ascii=False).encode()
    assert harmless(document) == document


@given(st.text(st.characters(codec="utf-8")))
def test_the_document_keeps_its_meaning_and_has_no_such_character(text: str) -> None:
    shown = harmless(json.dumps(text, ensure_ascii=False).encode()).decode()
    assert json.loads(shown) == text
    assert not set(OBEYED) & set(shown)
