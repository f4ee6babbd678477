"""What people got from authorization servers, encrypted: nobody reads it in the database, or moves it there.

An entry belongs to one tenant, authorization server, server and owner. Keys are derived per tenant, and the
place of a row is bound to what it holds, so that a row copied to somebody else opens for nobody. Whoever
forgets entries, or makes new ones, announces it: every process drops what it remembers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update

from airlock.core.sealed import SealBroken, Sealer
from airlock.store.changes import VAULT, Change
from airlock.store.database import Store
from airlock.store.schema import vault_clients, vault_entries, vault_trips

CLAIM = 10.0
"""Seconds for which one process exchanges a refresh token and no other does."""

_Row = Row[Any]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Whose entry it is, and where it counts."""

    tenant: str
    issuer: str
    server: str
    owner: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it was read. `revision` rises with each change of it."""

    place: Place
    subject: str
    payload: bytes | None
    """None: it was sealed with keys that are gone, or the row was changed."""
    revision: int
    updated_at: float

    def __repr__(self) -> str:
        return f"Kept(place={self.place!r}, revision={self.revision})"


class Vault:
    """See the module. Blocks: never on an event loop. Raises `Fault`."""

    def __init__(self, *, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._keys = sealer

    def find(self, *, server: str, owner: str) -> Kept | None:
        """The entry of an owner at a server."""
        this = (vault_entries.c.server == server) & (vault_entries.c.owner == owner)
        return self._newest(this)

    def latest(self, server: str) -> Kept | None:
        """The entry at a server that somebody made or renewed last."""
        return self._newest((vault_entries.c.server == server) & (vault_entries.c.owner != ""))

    def of(self, owner: str) -> list[Kept]:
        """All entries of an owner."""
        query = select(vault_entries).where(vault_entries.c.owner == owner).order_by(vault_entries.c.server)
        with self._store.read() as connection:
            return [self._kept(row) for row in connection.execute(query)]

    def link(self, place: Place, subject: str, payload: bytes, now: float) -> Kept:
        """A login: it takes the place of what its owner had at the server, from whichever issuer."""
        with self._store.change(VAULT) as change:
            mine = (vault_entries.c.server == place.server) & (vault_entries.c.owner == place.owner)
            newest = select(func.max(vault_entries.c.revision)).where(mine)
            revision = (change.connection.execute(newest).scalar() or 0) + 1
            change.connection.execute(delete(vault_entries).where(mine))
            values = {
                **msgspec.structs.asdict(place),
                "subject": subject,
                "sealed": self._seal(place, payload),
                "revision": revision,
                "claimed_until": 0.0,
                "updated_at": now,
            }
            change.connection.execute(insert(vault_entries).values(**values))
            change.announce()
        return Kept(place=place, subject=subject, payload=payload, revision=revision, updated_at=now)

    def amend(self, kept: Kept, payload: bytes, now: float, *, release: bool = True) -> Kept | None:
        """Change an entry, unless it changed since it was read, or is gone: then None. `release`: who had
        claimed it is done."""
        this = _at(kept.place) & (vault_entries.c.revision == kept.revision)
        values = {
            "sealed": self._seal(kept.place, payload),
            "revision": kept.revision + 1,
            **({"claimed_until": 0.0} if release else {}),
            "updated_at": now,
        }
        with self._store.change(VAULT) as change:
            if not change.connection.execute(update(vault_entries).where(this).values(**values)).rowcount:
                return None
        return msgspec.structs.replace(kept, payload=payload, revision=kept.revision + 1, updated_at=now)

    def claim(self, kept: Kept, now: float) -> bool:
        """Take the one right to exchange the refresh token of an entry."""
        free = vault_entries.c.claimed_until <= now
        this = _at(kept.place) & (vault_entries.c.revision == kept.revision) & free
        with self._store.change(VAULT) as change:
            values = {"claimed_until": now + CLAIM}
            return change.connection.execute(update(vault_entries).where(this).values(**values)).rowcount > 0

    def forget(self, *, owner: str, server: str = "") -> int:
        """Delete the entries of an owner, at one server or all; how many there were."""
        this = vault_entries.c.owner == owner
        return self._forget(this & (vault_entries.c.server == server) if server else this)

    def forget_subject(self, fits: Callable[[str], bool]) -> int:
        """Delete the entries of everybody whose `issuer|subject` fits; how many there were."""
        with self._store.read() as connection:
            subjects = connection.execute(select(vault_entries.c.subject).distinct()).scalars().all()
        gone = [subject for subject in subjects if subject and fits(subject)]
        return self._forget(vault_entries.c.subject.in_(gone)) if gone else 0

    def client(self, *, tenant: str, issuer: str, callback: str) -> bytes | None:
        """As whom an issuer registered us."""
        here = vault_clients
        this = (here.c.tenant == tenant) & (here.c.issuer == issuer) & (here.c.callback == callback)
        with self._store.read() as connection:
            row = connection.execute(select(here.c.sealed).where(this)).first()
        context = _context("client", issuer, callback)
        return None if row is None else self._open(tenant, context, row.sealed)

    def keep_client(self, *, tenant: str, issuer: str, callback: str, payload: bytes) -> None:
        """Remember as whom an issuer registered us, in place of what was known."""
        here = vault_clients
        this = (here.c.tenant == tenant) & (here.c.issuer == issuer) & (here.c.callback == callback)
        sealed = self._sealer(tenant).seal("vault", payload, _context("client", issuer, callback))
        with self._store.change(VAULT) as change:
            change.connection.execute(delete(here).where(this))
            values = {"tenant": tenant, "issuer": issuer, "callback": callback, "sealed": sealed}
            change.connection.execute(insert(here).values(**values))

    def drop_client(self, *, tenant: str, issuer: str, callback: str) -> None:
        """An issuer does not know us any more."""
        here = vault_clients.c
        this = (here.tenant == tenant) & (here.issuer == issuer) & (here.callback == callback)
        with self._store.change(VAULT) as change:
            change.connection.execute(delete(vault_clients).where(this))

    def depart(self, id: str, *, tenant: str, payload: bytes, until: float, now: float) -> None:
        """Remember a login that somebody begins. Those that took too long are gone."""
        sealed = self._sealer(tenant).seal("vault", payload, _context("trip", id))
        with self._store.change(VAULT) as change:
            change.connection.execute(delete(vault_trips).where(vault_trips.c.until <= now))
            values = {"id": id, "tenant": tenant, "sealed": sealed, "until": until}
            change.connection.execute(insert(vault_trips).values(**values))

    def arrive(self, id: str, now: float) -> bytes | None:
        """A login that somebody began: it is handed out once."""
        this = vault_trips.c.id == id
        with self._store.change(VAULT) as change:
            row = change.connection.execute(select(vault_trips).where(this)).first()
            change.connection.execute(delete(vault_trips).where(this))
        if row is None or row.until <= now:
            return None
        return self._open(row.tenant, _context("trip", id), row.sealed)

    def _newest(self, this: ColumnElement[bool]) -> Kept | None:
        query = select(vault_entries).where(this).order_by(vault_entries.c.updated_at.desc()).limit(1)
        with self._store.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else self._kept(row)

    def _forget(self, this: ColumnElement[bool]) -> int:
        with self._store.change(VAULT) as change:
            gone = change.connection.execute(delete(vault_entries).where(this)).rowcount
            _tell(change, gone)
        return gone

    def _kept(self, row: _Row) -> Kept:
        place = Place(tenant=row.tenant, issuer=row.issuer, server=row.server, owner=row.owner)
        return Kept(
            place=place,
            subject=row.subject,
            payload=self._open(place.tenant, _bound(place), row.sealed),
            revision=row.revision,
            updated_at=row.updated_at,
        )

    def _sealer(self, tenant: str) -> Sealer:
        return self._keys.derived(f"vault\0{tenant}")

    def _seal(self, place: Place, payload: bytes) -> str:
        return self._sealer(place.tenant).seal("vault", payload, _bound(place))

    def _open(self, tenant: str, context: bytes, sealed: str) -> bytes | None:
        try:
            return self._sealer(tenant).open("vault", sealed, context)
        except SealBroken:
            return None


def _tell(change: Change, count: int) -> None:
    if count:
        change.announce()


def _at(place: Place) -> ColumnElement[bool]:
    here = vault_entries.c
    mine = (here.tenant == place.tenant) & (here.issuer == place.issuer)
    return mine & (here.server == place.server) & (here.owner == place.owner)


def _bound(place: Place) -> bytes:
    return _context("entry", place.tenant, place.issuer, place.server, place.owner)


def _context(*parts: str) -> bytes:
    return msgspec.json.encode(parts)
