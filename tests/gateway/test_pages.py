"""Pages of a list, and cursors that nobody can make, move or keep for long."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from airlock.core.errors import Rejected
from airlock.gateway.pages import Pages
from airlock.model.call import Identified
from airlock.model.server import Item
from tests.gateway.parts import (
    authenticated,
    definition,
    failure_of,
    identified,
    principal,
    registered,
    sealer,
)

ITEMS = tuple(registered("docs", *(definition(name) for name in "abcde")).catalog.tools.values())  # type: ignore[union-attr]
PAGES = Pages(sealer=sealer(), size=2)


def asking(
    cursor: str | None = None, *, method: str = "tools/list", server: str = "", who: str = "alice"
) -> Identified:
    caller = authenticated(server=server, who=principal(who))
    return identified(method, {} if cursor is None else {"cursor": cursor}, caller=caller)


def page(cursor: str | None = None, items: Sequence[Item] = ITEMS) -> tuple[list[str], str | None]:
    found, following = PAGES.page(asking(cursor), items)
    return [item.name for item in found], following


def test_c1_a_list_comes_page_by_page() -> None:
    first, cursor = page()
    second, further = page(cursor)
    third, end = page(further)
    assert (first, second, third, end) == (["a", "b"], ["c", "d"], ["e"], None)


def test_a_list_of_one_page_has_no_cursor() -> None:
    assert page(items=ITEMS[:2]) == (["a", "b"], None)
    assert page(items=()) == ([], None)


def test_any_worker_opens_a_cursor() -> None:
    other = Pages(sealer=sealer(), size=2)
    found, _ = other.page(asking(page()[1]), ITEMS)
    assert [item.name for item in found] == ["c", "d"]


@pytest.mark.parametrize("cursor", ["", "forged", "k1.AAAA"])
def test_c1_an_altered_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Rejected, check=failure_of("cursor_unknown")):
        page(cursor)


@pytest.mark.parametrize("changed", [{"who": "bob"}, {"server": "docs"}, {"method": "prompts/list"}])
def test_c1_a_foreign_cursor_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(Rejected, check=failure_of("cursor_unknown")):
        PAGES.page(asking(page()[1], **changed), ITEMS)


def test_c1_a_cursor_of_a_list_that_changed_is_refused() -> None:
    other = (*ITEMS[:4], msgspec.structs.replace(ITEMS[4], digest="0" * 64))
    with pytest.raises(Rejected, match="has changed"):
        page(page()[1], other)
