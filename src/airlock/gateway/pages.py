"""Pages of a list, and the cursors between them (C-1).

A cursor is sealed: it holds where its page begins and the digest of the whole list that its holder saw, and
it opens only for the same caller, route and method. Any worker opens it; whoever's list has changed meanwhile
begins again.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence

import msgspec

from airlock.core.errors import Rejected, Stage
from airlock.core.sealed import SealBroken, Sealer
from airlock.model.call import Identified
from airlock.model.server import Item

_PURPOSE = "cursor"

KEPT = 32
"""Lists whose digest is remembered: reading a list to its end asks for the same one again and again."""


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    of: bytes
    """Digest of the list."""


_decode = msgspec.json.Decoder(_Cursor).decode


class Pages:
    """Cuts lists into pages of `size` items."""

    def __init__(self, *, sealer: Sealer, size: int) -> None:
        self._sealer = sealer
        self._digests: deque[tuple[Sequence[Item], bytes]] = deque(maxlen=KEPT)
        self.size = size

    def page(self, identified: Identified, items: Sequence[Item]) -> tuple[Sequence[Item], str | None]:
        """The page that the request asks for, and the cursor of the next one. Raises `Rejected` for a cursor
        that is not of this list."""
        asked = identified.message.params.get("cursor")
        if asked is None and len(items) <= self.size:
            return items, None
        digest = self._digest(items)
        begin = 0 if asked is None else self._begin(identified, asked, digest)
        end = begin + self.size
        following = self._cursor(identified, _Cursor(end, digest)) if end < len(items) else None
        return items[begin:end], following

    def _digest(self, items: Sequence[Item]) -> bytes:
        for known, digest in self._digests:
            if known is items:
                return digest
        found = digest_of(items)
        self._digests.append((items, found))
        return found

    def _cursor(self, identified: Identified, cursor: _Cursor) -> str:
        return self._sealer.seal(_PURPOSE, msgspec.json.encode(cursor), _context(identified))

    def _begin(self, identified: Identified, asked: str, digest: bytes) -> int:
        try:
            cursor = _decode(self._sealer.open(_PURPOSE, asked, _context(identified)))
        except SealBroken as error:
            raise _unknown("Unknown cursor: begin with the first page.") from error
        if cursor.of != digest:
            raise _unknown("The list has changed since this cursor was given: begin with the first page.")
        return cursor.offset


def digest_of(items: Sequence[Item]) -> bytes:
    """Tells a list from every other one."""
    told = "\n".join(f"{item.server} {item.digest} {item.name}" for item in items)
    return hashlib.sha256(told.encode()).digest()


def _context(identified: Identified) -> bytes:
    caller = identified.caller
    return "\0".join((caller.principal.key, caller.inbound.route, identified.message.method)).encode()


def _unknown(text: str) -> Rejected:
    return Rejected(200, -32602, "cursor_unknown", text, stage=Stage.RESOLVE)
