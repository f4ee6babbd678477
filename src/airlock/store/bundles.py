"""Evidence bundles as rows: asked for, collected, sealed. The bundles themselves are folders on disk."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, insert, select, update

from airlock.model.entry import Event
from airlock.model.evidence import Asked, Bundle, Wanted, check_asked
from airlock.model.lease import Unfit
from airlock.store import outbox
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from airlock.store.schema import alerts, bundles, debts, grants, messages, proposals, runs

_bundle = msgspec.json.Decoder(Bundle).decode


def request(store: Store, incident: str, asked: Asked, *, quick: bool, now: float) -> Bundle:
    """Ask for a bundle; somebody has to make it. A quick one that was not completed is completed, unless
    another quick one is asked for; else it is a new one.

    Raises `Unfit`: `incident_id_invalid`, `window_invalid`.
    """
    check_asked(incident, asked)
    with store.change(INCIDENTS) as change:
        found = _of(change.connection, incident)
        open_one = next((each for each in found if each.state == "quick" and not each.wanted), None)
        if open_one is not None and not quick and open_one.asked.tenant == asked.tenant:
            kept = msgspec.structs.replace(asked, window=open_one.asked.window)
            again = msgspec.structs.replace(open_one, wanted="complete", asked=kept, problem="")
            _put(change.connection, again)
            return again
        bundle = Bundle(
            id=f"evidence-{incident}" + (f".{len(found) + 1}" if found else ""),
            incident=incident,
            created_at=now,
            asked=asked,
            wanted="quick" if quick else "complete",
        )
        values = {"id": bundle.id, "incident": incident, "created_at": now, "document": _text(bundle)}
        change.connection.execute(insert(bundles).values(**values))
    return bundle


def ask(store: Store, id: str, wanted: Wanted, *, who: str, role: str, reason: str) -> Bundle:
    """Ask for more to be done with a bundle. Raises `Unfit`: `bundle_unknown`, `bundle_sealed`."""
    with store.change(INCIDENTS) as change:
        before = _known(change.connection, id)
        if before.state == "sealed":
            raise Unfit("bundle_sealed", "This bundle is sealed: collect another one.")
        asked = msgspec.structs.replace(before.asked, who=who, role=role, reason=reason)
        after = msgspec.structs.replace(before, wanted=wanted, asked=asked, problem="")
        _put(change.connection, after)
    return after


def done(store: Store, after: Bundle, events: Sequence[Event], *, now: float) -> None:
    """Write what became of a bundle, and leave its rows for the audit log, in one transaction."""
    with store.change(INCIDENTS) as change:
        _known(change.connection, after.id)
        _put(change.connection, after)
        for event in events:
            outbox.leave(change.connection, event, at=now)


def get(store: Store, id: str) -> Bundle | None:
    """One bundle; None where there is none of this id."""
    with store.read() as connection:
        document = connection.execute(select(bundles.c.document).where(bundles.c.id == id)).scalar()
    return None if document is None else _bundle(document)


def of(store: Store, incident: str) -> list[Bundle]:
    """The bundles of an incident, oldest first."""
    with store.read() as connection:
        return _of(connection, incident)


def listing(store: Store) -> list[Bundle]:
    """Every bundle, oldest first."""
    with store.read() as connection:
        found = connection.execute(select(bundles.c.document).order_by(bundles.c.created_at, bundles.c.id))
        return [_bundle(document) for document in found.scalars()]


def wanted(store: Store) -> list[Bundle]:
    """The bundles that somebody has to work on, oldest first."""
    return [each for each in listing(store) if each.wanted]


def sealed(store: Store, incident: str) -> bool:
    """Whether an incident has a bundle that is sealed, and was unchanged when it was verified after that."""
    return any(each.state == "sealed" and each.whole for each in of(store, incident))


def documents(store: Store, incident: str) -> dict[str, list[object]]:
    """What else names an incident, as it is stored: alerts, proposals, grants, debts, messages, runs."""
    found: dict[str, list[object]] = {}
    with store.read() as connection:
        for table in (alerts, proposals, grants, debts, messages, runs):
            query = select(table.c.document).where(table.c.incident == incident).order_by(table.c.id)
            found[table.name] = [
                msgspec.json.decode(document) for document in connection.execute(query).scalars()
            ]
    return found


def unknown(id: str) -> Unfit:
    """There is no such bundle."""
    return Unfit("bundle_unknown", f"There is no bundle {id[:64]!r}: `airlock evidence list`.")


def _of(connection: Connection, incident: str) -> list[Bundle]:
    query = select(bundles.c.document).where(bundles.c.incident == incident)
    ordered = query.order_by(bundles.c.created_at, bundles.c.id)
    return [_bundle(document) for document in connection.execute(ordered).scalars()]


def _known(connection: Connection, id: str) -> Bundle:
    document = connection.execute(select(bundles.c.document).where(bundles.c.id == id)).scalar()
    if document is None:
        raise unknown(id)
    return _bundle(document)


def _put(connection: Connection, bundle: Bundle) -> None:
    this = bundles.c.id == bundle.id
    connection.execute(update(bundles).where(this).values(document=_text(bundle)))


def _text(bundle: Bundle) -> str:
    return msgspec.json.encode(bundle).decode()
