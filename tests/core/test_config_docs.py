from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import msgspec
import msgspec.inspect as mi
import pytest
from msgspec import Meta

from airlock.core import config_docs, schema
from airlock.core.config import Config
from airlock.core.schema import describe
from airlock.core.settings import variables

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_types_say() -> None:
    assert PAGE.read_text() == config_docs.render(), f"stale: write it again, as {config_docs.__name__} says"


@pytest.mark.parametrize("name", list(variables()))
def test_every_variable_is_on_the_page(name: str) -> None:
    assert name in PAGE.read_text()


@pytest.mark.parametrize("key", list(schema.keys(cast("mi.StructType", mi.type_info(Config)))))
def test_every_key_is_on_the_page(key: str) -> None:
    assert f"`{key}`" in PAGE.read_text()


class Silent(msgspec.Struct):
    """A section with a key that says nothing."""

    key: Annotated[int, Meta(ge=1)] = 1


class Nameless(msgspec.Struct):
    key: Annotated[int, Meta(description="Told.")] = 1


Nameless.__doc__ = ""


@pytest.mark.parametrize("kind", [Silent, Nameless])
def test_what_says_nothing_of_itself_cannot_be_documented(kind: type[msgspec.Struct]) -> None:
    with pytest.raises(ValueError, match="is not documented"):
        config_docs.section(cast("mi.StructType", mi.type_info(kind)), "`x`", "x.", environment=False)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (str | None, "text or null"),
        (tuple[str, ...], "a list, each item text"),
        (dict[str, bool], "a mapping of names, each to true or false"),
        (Silent, "a mapping with keys of key"),
    ],
)
def test_types_in_words(kind: object, words: str) -> None:
    assert describe(mi.type_info(kind)) == words
