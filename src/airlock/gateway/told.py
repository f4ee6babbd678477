"""What a list tells of its items: each as it may leave, encoded once for all who see the same list.

A list is known by the very items that policy let through, so it is shared exactly by those whom policy tells
apart by nothing (C-6). What was taken out of definitions is said of each answer all the same.

A parameter that policy masks is not mirrored into a header, which proxies log: its annotation is left out
(E-11). The call still has the header towards a server that asks for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from airlock.gateway import lists
from airlock.gateway.definitions import Definitions
from airlock.gateway.redact import Rules
from airlock.mcp import headers
from airlock.model.call import Findings, Identified
from airlock.model.server import Item

KEPT = 8
"""Lists that are remembered encoded."""

MOST = 4 * 1024 * 1024
"""Bytes of one of them; longer ones are encoded for each answer."""

Masked = Callable[[Identified, Item], frozenset[str]]
"""Names of the arguments of a tool that policy keeps out of records, for this caller."""


def nothing(identified: Identified, item: Item) -> frozenset[str]:
    """No argument is masked."""
    del identified, item
    return frozenset()


class _Kept(msgspec.Struct, frozen=True):
    items: Sequence[Item]
    rules: Rules
    shape: tuple[bool, bool]
    encoded: msgspec.Raw
    found: Findings


class Told:
    """Of one worker. Used on the event loop only."""

    def __init__(self, *, definitions: Definitions, masked: Masked = nothing) -> None:
        self._definitions = definitions
        self._masked = masked
        self._kept: deque[_Kept] = deque(maxlen=KEPT)

    def definitions(
        self, identified: Identified, items: Sequence[Item], found: Findings
    ) -> list[dict[str, Any]]:
        """The items in the client's era, under the names of the route; what was taken out is in `found`."""
        shown = self._definitions.shown(found)

        def told(item: Item) -> dict[str, Any]:
            said = shown(item)
            names = self._masked(identified, item) if item.param_headers else None
            return headers.unmirrored(said, item.param_headers, names) if names else said

        return lists.definitions(identified, items, told)

    def encoded(self, identified: Identified, items: Sequence[Item], found: Findings) -> msgspec.Raw:
        """The same as JSON, for a whole list that others may have too."""
        rules, shape = (
            self._definitions.rules,
            (identified.client.modern, not identified.caller.inbound.server),
        )
        for kept in self._kept:
            if kept.items is items and kept.rules is rules and kept.shape == shape:
                break
        else:
            own = Findings()
            said = msgspec.Raw(msgspec.json.encode(self.definitions(identified, items, own)))
            kept = _Kept(items, rules, shape, said, own)
            if len(said) <= MOST:
                self._kept.append(kept)
        found.add(kept.found.counts)
        found.hosts |= kept.found.hosts
        return kept.encoded
