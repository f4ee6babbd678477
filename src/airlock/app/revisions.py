"""Which policy decides: that of the operator's files, or one that was kept and that people went back to.

1 a rollback that people ordered is the last change in the store; it names a kept policy
2 it holds as long as the files are those that it was ordered over: another file ends it, a restart does not
3 whatever comes to decide is kept first, and noted with whoever asked for it

Blocks; nothing here runs on an event loop.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.model.revision import Kind, Revision, holds
from airlock.policy import kept
from airlock.policy.bundle import Bundle, load_bundle
from airlock.store import revisions
from airlock.store.changes import POLICY
from airlock.store.database import FILE, Store, open_store

LATEST = 10
"""Policies that are kept after they decided."""

REFUSED = 3
"""Policies that are kept although they never decided."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that is to decide, the revision of the operator's files (empty: they cannot be read), and
    the rollback that stands over them."""

    bundle: Bundle
    files: str
    rollback: Revision | None = None


def choose(config: Config) -> Chosen:
    """1 and 2. Raises `ConfigError`, `Fault`."""
    data, path = Path(config.data_dir), config.policy.path
    last = _last(data)
    rollback = last if last is not None and last.kind == "rollback" else None
    try:
        files = load_bundle(Path(path) if path else None)
    except ConfigError:
        if rollback is None:
            raise
        return _gone_back(data, rollback, "")
    if rollback is None or not holds(rollback, files.revision):
        return Chosen(bundle=files, files=files.revision)
    return _gone_back(data, rollback, files.revision)


def _gone_back(data: Path, rollback: Revision, files: str) -> Chosen:
    return Chosen(bundle=kept.load(data, rollback.revision), files=files, rollback=rollback)


def _last(data: Path) -> Revision | None:
    if not (data / FILE).exists():
        return None
    with closing(open_store(data / FILE)) as store, store.read() as connection:
        return revisions.last(connection)


class History:
    """3. Of one data directory."""

    def __init__(self, data: Path, *, clock: Clock) -> None:
        self._data = data
        self._clock = clock

    def note(self, chosen: Chosen, *, kind: Kind, by: str) -> None:
        """Keep what is about to decide, and note it where it is a change. Raises `OSError`, `Fault`."""
        kept.keep(self._data, chosen.bundle)
        with closing(self._store()) as store:
            self._noted(store, chosen, kind, by)
            self._prune(store)

    def refused(self, bundle: Bundle, why: str, *, by: str) -> None:
        """Keep what does not decide because something is wrong with it. Raises `OSError`, `Fault`."""
        kept.keep(self._data, bundle)
        with closing(self._store()) as store:
            with store.change(POLICY) as change:
                known = revisions.listing(change.connection)
                if not known or (known[-1].kind, known[-1].revision) != ("refused", bundle.revision):
                    last = revisions.last(change.connection)
                    refused = self._change(bundle, "refused", by, last, why[:500])
                    revisions.add(change.connection, refused)
            self._prune(store)

    def withdraw(self, why: str) -> None:
        """Forget a rollback that could not be taken over. Raises `Fault`."""
        with closing(self._store()) as store:
            with store.read() as connection:
                last = revisions.last(connection)
            if last is not None and last.kind == "rollback" and last.against is None:
                revisions.withdraw(store, last, why, now=self._clock.wall())

    def _noted(self, store: Store, chosen: Chosen, kind: Kind, by: str) -> None:
        with store.change(POLICY) as change:
            last = revisions.last(change.connection)
            if chosen.rollback is not None:
                if chosen.rollback.against is None:
                    revisions.over(change.connection, chosen.rollback.n, chosen.files)
            elif last is None or last.kind == "rollback" or last.revision != chosen.bundle.revision:
                revisions.add(change.connection, self._change(chosen.bundle, kind, by, last))

    def _change(
        self, bundle: Bundle, kind: Kind, by: str, last: Revision | None, reason: str = ""
    ) -> Revision:
        return Revision(
            revision=bundle.revision,
            before="" if last is None else last.revision,
            kind=kind,
            at=self._clock.wall(),
            by=by,
            origin=bundle.origin,
            reason=reason,
        )

    def _prune(self, store: Store) -> None:
        """The last that decided stay, the last that were refused, and what a rollback stands over."""
        with store.read() as connection:
            newest = revisions.listing(connection)[::-1]
        decided = dict.fromkeys(
            each for one in newest if one.kind != "refused" for each in (one.revision, one.before) if each
        )
        refused = dict.fromkeys(each.revision for each in newest if each.kind == "refused")
        over = [each.against or "" for each in newest if each.kind != "refused"][:1]
        kept.prune(self._data, {*[*decided][:LATEST], *[*refused][:REFUSED], *over})

    def _store(self) -> Store:
        return open_store(self._data / FILE)
