"""Lists that were made before: used again exactly as long as they are true."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import msgspec
import pytest

from airlock.gateway import visibility
from airlock.gateway.visibility import Visibility
from airlock.mcp.names import Kind
from airlock.model.call import Identified
from airlock.model.containment import compiled
from airlock.model.server import Item
from airlock.model.snapshot import Snapshot
from tests.gateway.parts import authenticated, definition, identified, registered, snapshot
from tests.model.test_containment import lease

DOCS, FILES = registered("docs", definition("a"), definition("b")), registered("files", definition("c"))


class Asked:
    """Policy that sees everything but `b`, and counts what it is asked."""

    def __init__(self, standing: Hashable | None = "all alike") -> None:
        self.count = 0
        self.standing = standing
        self.lists = Visibility(visible=self.visible, standing=self.told)

    def visible(self, caller: Identified, item: Item) -> bool:
        self.count += 1
        return item.name != "b"

    def told(self, caller: Identified, kind: Kind) -> Hashable | None:
        return self.standing

    def __call__(self, at: Snapshot, *, server: str = "", chosen: Hashable = None) -> str:
        caller = identified("tools/list", {}, caller=authenticated(at=at, server=server))
        return "".join(item.name for item in asyncio.run(self.lists(caller, "tool", chosen)))


def test_policy_is_asked_once_for_all_whom_it_does_not_tell_apart() -> None:
    asked = Asked()
    at = snapshot(DOCS, FILES)
    assert (asked(at), asked.count) == ("ac", 3)
    assert (asked(msgspec.structs.replace(at, policy_revision="x")), asked.count) == ("ac", 3)


def test_a_list_is_made_anew_for_other_facts_another_route_and_another_choice() -> None:
    asked, at = Asked(), snapshot(DOCS, FILES)
    asked(at)
    asked.standing = "others"
    assert (asked(at), asked.count) == ("ac", 6)
    assert (asked(at, server="docs"), asked.count) == ("a", 8)
    assert (asked(at, chosen="tags"), asked.count) == ("ac", 11)


def test_a_list_is_made_anew_when_a_server_offers_something_else() -> None:
    asked = Asked()
    asked(snapshot(DOCS, FILES))
    assert (asked(snapshot(DOCS, registered("files", definition("d")))), asked.count) == ("ad", 6)
    assert (asked(snapshot(DOCS)), asked.count) == ("a", 8)


def test_nothing_is_remembered_where_nobody_can_say_what_policy_reads() -> None:
    asked = Asked(standing=None)
    asked(snapshot(DOCS, FILES))
    asked(snapshot(DOCS, FILES))
    assert asked.count == 6


def test_nothing_is_remembered_while_a_lease_holds_something_back() -> None:
    asked = Asked()
    held = compiled([lease("server.disable", {"server": "other"})], epoch=1)
    at = msgspec.structs.replace(snapshot(DOCS, FILES), leases=held)
    asked(at)
    asked(at)
    assert asked.count == 6


def test_the_list_that_was_not_used_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visibility, "MAX_LISTS", 2)
    asked, at = Asked(), snapshot(DOCS, FILES)
    for standing in ("one", "two", "one", "three", "one"):
        asked.standing = standing
        asked(at)
    assert asked.count == 9
    asked.standing = "two"
    assert (asked(at), asked.count) == ("ac", 12)
