"""What a caller may see of the servers: whether it is still what it saw, list by list."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from airlock.core.errors import Fault
from airlock.gateway.visibility import Visibility
from airlock.mcp.names import Kind
from airlock.model.call import Identified
from airlock.model.server import Item

REMEMBERED = 256
"""Lists whose digests are remembered: many callers see the same ones."""

LISTS: dict[str, tuple[Kind, ...]] = {
    "notifications/tools/list_changed": ("tool",),
    "notifications/prompts/list_changed": ("prompt",),
    "notifications/resources/list_changed": ("resource", "template"),
}
"""Notification -> the kinds that it is about."""

Seen = dict[str, bytes]
"""By notification: a digest of what a caller sees."""


class Changes:
    """Of one worker."""

    def __init__(self, visibility: Visibility) -> None:
        self._visibility = visibility
        self._digests: OrderedDict[int, tuple[tuple[Item, ...], bytes]] = OrderedDict()

    async def seen(self, identified: Identified) -> Seen:
        """What the caller sees now; a list that policy cannot make is left out."""
        found: Seen = {}
        for notification, kinds in LISTS.items():
            try:
                lists = [await self._visibility(identified, kind) for kind in kinds]
            except Fault:
                continue
            found[notification] = b"".join(self._digest(items) for items in lists)
        return found

    def _digest(self, items: tuple[Item, ...]) -> bytes:
        known = self._digests.get(id(items))
        if known is not None and known[0] is items:
            return known[1]
        named = "\0".join(f"{item.server}\0{item.name}\0{item.digest}" for item in items)
        digest = hashlib.sha256(named.encode()).digest()
        self._digests[id(items)] = items, digest
        if len(self._digests) > REMEMBERED:
            self._digests.popitem(last=False)
        return digest


def news(before: Seen, now: Seen) -> list[str]:
    """The notifications that are due."""
    return [each for each, digest in now.items() if before.get(each, digest) != digest]
