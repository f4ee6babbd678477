"""Lists that were made before: used again exactly as long as they are true."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import msgspec
import pytest

from airlock.gateway import lists, visibility
from airlock.gateway.contain import Contain
from airlock.gateway.serving import Serving
from airlock.gateway.visibility import Visibility
from airlock.mcp.names import Kind
from airlock.model.call import Identified
from airlock.model.containment import compiled
from airlock.model.server import Item
from airlock.model.snapshot import Snapshot
from tests.gateway.parts import HandClock, authenticated, definition, identified, registered, snapshot
from tests.model.test_containment import lease

DOCS, FILES = registered("docs", definition("a"), definition("b")), registered("files", definition("c"))


class Asked:
    """Policy that sees everything but `b`, and counts what it is asked."""

    def __init__(self, standing: Hashable | None = "all alike") -> None:
        self.count = 0
        self.standing = standing
        contain = Contain(clock=HandClock(), serving=Serving())
        self.lists = Visibility(visible=self.visible, standing=self.told, free=contain.free)

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


def test_what_two_policies_answered_together_is_not_remembered() -> None:
    asked = Asked(standing="first")
    at = snapshot(registered("docs", *(definition(f"t{number}") for number in range(lists.BREATH + 1))))

    async def replaced() -> None:
        caller = identified("tools/list", {}, caller=authenticated(at=at))
        making = asyncio.create_task(asked.lists(caller, "tool"))
        await asyncio.sleep(0)
        asked.standing = "second"
        await making

    asyncio.run(replaced())
    asked.standing, before = "first", asked.count
    asked(at)
    assert asked.count == before + lists.BREATH + 1


def test_what_a_lease_holds_back_is_taken_out_of_what_is_remembered() -> None:
    asked, at = Asked(), snapshot(DOCS, FILES)
    held = compiled([lease("server.disable", {"server": "docs"})], epoch=1)
    contained = msgspec.structs.replace(at, leases=held)
    assert [asked(at), asked(contained), asked(at)] == ["ac", "c", "ac"]
    assert asked.count == 3


def test_what_leases_leave_of_a_list_is_the_same_list_until_one_of_them_ends() -> None:
    clock = HandClock()
    contain = Contain(clock=clock, serving=Serving())
    leases = [
        lease("server.disable", {"server": "docs"}, lasts=9.0),
        lease("tool.quarantine", {"server": "files", "tool": "c"}, lasts=20.0),
    ]
    at = msgspec.structs.replace(snapshot(DOCS, FILES), leases=compiled(leases, epoch=1))
    caller = identified("tools/list", {}, caller=authenticated(at=at))
    every = tuple(lists.offered(caller, "tool"))
    first = contain.free(caller, every)
    assert first == ()
    assert contain.free(caller, every) is first
    for seconds, names in ((10.0, "ab"), (30.0, "abc")):
        clock.seconds = 1000.0 + seconds
        assert "".join(item.name for item in contain.free(caller, every)) == names


def test_the_list_that_was_not_used_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visibility, "MAX_LISTS", 2)
    asked, at = Asked(), snapshot(DOCS, FILES)
    for standing in ("one", "two", "one", "three", "one"):
        asked.standing = standing
        asked(at)
    assert asked.count == 9
    asked.standing = "two"
    assert (asked(at), asked.count) == ("ac", 12)
