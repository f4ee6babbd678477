"""What is true of an incident and stands on no timeline yet: late clocks, levels to call, news of its leases.

Whoever reads may write it down, and so does the ticker every second; each event has a key, so that it is
written once. Without anybody awake nothing is lost: all of it is computed from the record and the store.
"""

from __future__ import annotations

import msgspec

from airlock.incident import clocks, containment, escalation, regulation
from airlock.incident.clocks import Clock, Term
from airlock.incident.regulation import Law
from airlock.model.incident import Decided, Incident, IncidentEvent
from airlock.model.lease import Lease
from airlock.store import incident_facts, incidents, replicas
from airlock.store.changes import LEASES
from airlock.store.database import Store


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the store says of the leases of an incident at one moment."""

    leases: tuple[Lease, ...] = ()
    terms: tuple[Term, ...] = ()
    state: containment.State = "NONE"
    untold: tuple[IncidentEvent, ...] = ()
    """Events that stand on no timeline."""

    @property
    def settled(self) -> bool:
        """Whether it stays like this until a lease changes."""
        return not self.untold and self.state in ("NONE", "CONTAINED", "RELEASED")


def look(store: Store, id: str, now: float) -> Seen:
    """Read what there is of an incident's leases."""
    found = incident_facts.leases_of(store, id, now=now)
    if not found:
        return Seen()
    untold = [containment.told(each, now) for each in incident_facts.untold(store, id)]
    known = incident_facts.enforced(store, id)
    for lease in found:
        waits = lease.holds(now) and lease.action not in containment.WATCHING and lease.id not in known
        if waits and _enforced(store, lease.epoch, now):
            untold.append(containment.succeeded(lease, now))
    return Seen(
        leases=tuple(found),
        terms=tuple(containment.terms(found, incident_facts.extended_at(store, id), now)),
        state=containment.state(found, now=now, enforced=_newest_enforced(store, now)),
        untold=tuple(untold),
    )


def every_clock(incident: Incident, terms: tuple[Term, ...], law: Law, now: float) -> list[Clock]:
    """All clocks of an incident: of its severity, its review, its duties and its leases."""
    return [
        *clocks.clocks(incident, now),
        *regulation.clocks(incident, law, now),
        *clocks.lease_clocks(terms, now),
    ]


def news(incident: Incident, seen: Seen, law: Law, now: float) -> Decided:
    """What has to be written now, and the record that has it written."""
    ended = incident.status in incidents.ENDED
    succeeded = any(event.kind == "containment_succeeded" for event in seen.untold)
    if succeeded and incident.contained_at is None and not ended:
        incident = msgspec.structs.replace(incident, contained_at=now)
    if ended:
        return Decided(incident=incident, events=seen.untold)
    late = clocks.news(incident, now, every_clock(incident, seen.terms, law, now))
    called = escalation.news(late.incident, now)
    return Decided(incident=called.incident, events=(*seen.untold, *late.events, *called.events))


def notice(store: Store, id: str, law: Law, now: float) -> Incident:
    """Write what nobody has written yet; gives the record. Raises `Unfit` `incident_unknown`."""
    incident = incidents.get(store, id)
    if incident is None:
        raise incidents.unknown(id)
    seen = look(store, id, now)
    if not news(incident, seen, law, now).events:
        return incident
    return incidents.change(store, id, lambda fresh: news(fresh, seen, law, now)).incident


def _enforced(store: Store, epoch: int, now: float) -> bool:
    receipt = replicas.receipt(store, epoch=epoch, now=now)
    return receipt.total > 0 and not receipt.missing


def _newest_enforced(store: Store, now: float) -> bool:
    return _enforced(store, store.versions()[LEASES], now)
