"""Whether configured servers are in service: a server is out of service while a lease disables it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import select

from airlock.model.incident import Incident, Status
from airlock.model.lease import Lease, Unfit
from airlock.store.changes import Change
from airlock.store.lease_rows import plain
from airlock.store.schema import incidents, leases

RUNNING: tuple[Status, ...] = ("TRIAGE", "INVESTIGATING", "IDENTIFIED", "MONITORING")
"""Statuses of incidents that are not resolved."""


def disabling(held: Iterable[Lease], server: str) -> list[Lease]:
    """The leases that keep a server out of service."""
    return [each for each in held if each.action == "server.disable" and each.selector.server == server]


def contained(change: Change, several: Iterable[str]) -> None:
    """Raise `Unfit` `containment_active` where one of these leases keeps a server out of service that an
    open incident names: putting it back takes two people."""
    for row in change.connection.execute(select(leases).where(leases.c.id.in_(list(several)))):
        lease = plain(row)
        if lease.action != "server.disable":
            continue
        naming = named_by(change, lease.selector.server, lease.incident)
        if naming:
            text = f"Incident {naming[0]} is open and names {lease.selector.server}: propose server.restore."
            raise Unfit("containment_active", text)


def named_by(change: Change, server: str, incident: str) -> list[str]:
    """Ids of the open incidents that name a server: this one, and those whose services it is among."""
    query = select(incidents.c.document).where(incidents.c.status.in_(RUNNING))
    found = (msgspec.json.decode(text, type=Incident) for text in change.connection.execute(query).scalars())
    return [each.id for each in found if each.id == incident or server in each.affected_services]
