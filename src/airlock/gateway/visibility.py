"""Lists that were made before: the same for everybody whom policy tells apart by nothing.

A list is remembered by the facts of the question that the policy can read of the caller, where that set is
proved; so two callers share a list exactly where policy answers both alike. It counts as long as the servers
offer the same and the engine is the same. While policy answers nothing, each list is made anew. What leases
hold back is taken out of what is remembered, so that a lease asks policy nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import msgspec

from airlock.gateway import lists
from airlock.gateway.lists import Choice, Visible
from airlock.mcp.names import Kind
from airlock.model.call import Identified
from airlock.model.server import Item

MAX_LISTS = 256
"""Lists that are remembered; the one that was not used for longest goes first."""

Standing = Callable[[Identified, Kind], Hashable | None]
"""What decides which items of a kind a caller sees, beside the items; None where that is not known."""


Free = Callable[[Identified, tuple[Item, ...]], tuple[Item, ...]]
"""A list without what is contained, or the list itself."""


def untouched(identified: Identified, items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Nothing is contained."""
    del identified
    return items


class _Made(msgspec.Struct, frozen=True):
    items: tuple[Item, ...]
    shelves: list[dict[str, Item]]


class Visibility:
    """The lists of one worker. Used on the event loop only."""

    def __init__(self, *, visible: Visible, standing: Standing, free: Free = untouched) -> None:
        """`visible` is what policy says of an item, whoever holds it back."""
        self._visible = visible
        self._free = free
        self._standing = standing
        self._made: OrderedDict[Hashable, _Made] = OrderedDict()

    async def __call__(
        self, identified: Identified, kind: Kind, chosen: Hashable = None, shown: Choice | None = None
    ) -> tuple[Item, ...]:
        """What the caller may see of a kind, in the order of lists. `shown` chooses from it, the same way
        wherever `chosen` is equal. Raises `PolicyFault` where policy cannot say."""
        return self._free(identified, await self._permitted(identified, kind, chosen, shown))

    async def _permitted(
        self, identified: Identified, kind: Kind, chosen: Hashable, shown: Choice | None
    ) -> tuple[Item, ...]:
        facts = self._standing(identified, kind)
        if facts is None:
            return await self._make(identified, kind, shown)
        shelves = lists.shelves(identified.caller, kind)
        key = (kind, identified.caller.inbound.server, chosen, facts)
        made = self._made.get(key)
        if made is None or not _same(made.shelves, shelves):
            made = _Made(await self._make(identified, kind, shown), shelves)
            if self._standing(identified, kind) != facts:  # another policy answered about some of the items
                return made.items
            self._made[key] = made
            while len(self._made) > MAX_LISTS:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return made.items

    async def _make(self, identified: Identified, kind: Kind, shown: Choice | None) -> tuple[Item, ...]:
        every: Choice = shown or (lambda _: True)
        return tuple(await lists.visible_items(identified, kind, self._visible, every))


def _same(before: list[dict[str, Item]], now: list[dict[str, Item]]) -> bool:
    return len(before) == len(now) and all(one is other for one, other in zip(before, now, strict=True))
