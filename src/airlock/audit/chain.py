"""Where a chain stands, and how it grows by one entry.

Pure. A batch grows on a `Draft`; the chain itself moves only when the batch is durable. A draft that could
not be made durable is dropped, and its numbers are given again: nobody was told of them.
Invariants: seq has no hole, `previous_hash` is the hash of the entry before, no tenant's counter has a hole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airlock.audit import entry as form
from airlock.audit.limits import clip

if TYPE_CHECKING:
    from airlock.model.entry import Event


class Sealed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry in its place, ready to be written."""

    seq: int
    id: str
    hash: str
    entry: bytes
    personal: bytes

    @property
    def size(self) -> int:
        return len(self.entry) + len(self.personal)


class Stamp(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an entry gets from outside: the moment of recording, its identifier, 32 random bytes."""

    timestamp: str
    id: str
    salt: bytes


class Chain:
    """The head of one chain: last number, its hash, and the last number of every tenant."""

    def __init__(
        self, *, uid: str, seq: int = 0, hash: str | None = None, tenants: dict[str, int] | None = None
    ) -> None:
        if (seq == 0) != (hash is None):
            raise ValueError("a chain has a hash exactly when it has an entry")
        self.uid = uid
        self.seq = seq
        self.hash = hash
        self.tenants = dict(tenants or {})

    def draft(self) -> Draft:
        """Room for the next batch. Only one draft of a chain may be accepted."""
        return Draft(self)

    def accept(self, draft: Draft) -> None:
        """The batch is durable: move the head."""
        if draft.base != self.seq:
            raise RuntimeError(f"draft grew from {draft.base}, the chain stands at {self.seq}")
        self.seq, self.hash = draft.seq, draft.hash
        self.tenants.update(draft.tenants)


class Draft:
    """A batch on top of a chain that nobody has been told of yet."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.base = chain.seq
        self.seq = chain.seq
        self.hash = chain.hash
        self.tenants: dict[str, int] = {}
        self.sealed: list[Sealed] = []
        self.size = 0

    def append(self, event: Event, stamp: Stamp, committed: form.Committed | None = None) -> Sealed:
        """The event as the next entry. `committed` replaces the commitments of `event.personal`.

        Raises ValueError, with the draft unchanged, for an event outside the vocabulary or the limits.
        """
        try:
            return self._append(event, stamp, committed)
        except UnicodeEncodeError:
            # A user agent may hold what UTF-8 cannot: it is written out, so that it cannot avoid its record.
            return self._append(form.scrub(event), stamp, committed)

    def _append(self, event: Event, stamp: Stamp, committed: form.Committed | None) -> Sealed:
        committed = committed or form.commit(event.personal, stamp.salt)
        tenant = clip(event.tenant)
        place = self._place(tenant, stamp)
        return self._add(form.encode(event, committed, place), committed.record, place, tenant)

    def append_late(self, spooled: form.Spooled, stamp: Stamp) -> Sealed:
        """An entry that could not be written when it happened, in a new place."""
        place = self._place(spooled.tenant, stamp)
        return self._add(form.relocate(spooled, place), spooled.personal, place, spooled.tenant)

    def _place(self, tenant: str, stamp: Stamp) -> form.Place:
        known = self.tenants.get(tenant, self._chain.tenants.get(tenant, 0))
        return form.Place(
            chain_uid=self._chain.uid,
            seq=self.seq + 1,
            previous_hash=self.hash,
            tenant_seq=known + 1 if tenant else None,
            id=stamp.id,
            timestamp=stamp.timestamp,
        )

    def _add(self, entry: bytes, personal: bytes, place: form.Place, tenant: str) -> Sealed:
        sealed = Sealed(
            seq=place.seq, id=place.id, hash=form.entry_hash(entry), entry=entry, personal=personal
        )
        if place.tenant_seq is not None:
            self.tenants[tenant] = place.tenant_seq
        self.seq, self.hash = sealed.seq, sealed.hash
        self.sealed.append(sealed)
        self.size += sealed.size
        return sealed
