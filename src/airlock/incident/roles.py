"""Who has which role: one commander at a time, of the others any number."""

from __future__ import annotations

import msgspec

from airlock.incident.occasion import Occasion
from airlock.incident.texts import needed
from airlock.model.incident import Actor, Decided, Incident, IncidentEvent, Role, RoleName
from airlock.model.lease import Unfit

ALONE: tuple[RoleName, ...] = ("incident_commander",)
"""Roles that one person has: who assumes it takes it over."""


def commands(incident: Incident, actor: Actor) -> bool:
    """Whether somebody is the commander. Programs never are."""
    person = incident.person("incident_commander")
    if actor.type != "human" or not person:
        return False
    return person in (actor.id, actor.id.partition("|")[2])


def assumed(incident: Incident, role: RoleName, person: str, occasion: Occasion) -> Decided:
    """The record in which a person has a role, and the events that say so.

    Raises `Unfit`: `text_invalid`; `approver_not_human` where a program would let approve.
    """
    needed("person", person)
    if role == "approver" and occasion.actor.type != "human":
        raise Unfit("approver_not_human", "Only people let somebody approve.")
    held = [each for each in incident.roles if each.role == role and each.renounced_at is None]
    if any(each.person == person for each in held):
        return Decided(incident=incident)
    leaving = held if role in ALONE else []
    now = occasion.now
    kept = tuple(
        msgspec.structs.replace(each, renounced_at=now) if each in leaving else each
        for each in incident.roles
    )
    after = msgspec.structs.replace(
        incident,
        roles=(*kept, Role(role=role, person=person, assumed_at=now)),
        engaged_at=now if incident.engaged_at is None else incident.engaged_at,
    )
    left = [_event("role_renounced", role, each.person, occasion) for each in leaving]
    return Decided(incident=after, events=(*left, _event("role_assumed", role, person, occasion)))


def renounced(incident: Incident, role: RoleName, person: str, occasion: Occasion) -> Decided:
    """The record without that. `person` empty: whoever has it. Raises `Unfit` `role_not_held`."""
    leaving = [
        each
        for each in incident.roles
        if each.role == role and each.renounced_at is None and person in ("", each.person)
    ]
    if not leaving:
        raise Unfit("role_not_held", f"Nobody of that name is {role.replace('_', ' ')}.")
    roles = tuple(
        msgspec.structs.replace(each, renounced_at=occasion.now) if each in leaving else each
        for each in incident.roles
    )
    events = tuple(_event("role_renounced", role, each.person, occasion) for each in leaving)
    return Decided(incident=msgspec.structs.replace(incident, roles=roles), events=events)


def _event(kind: str, role: RoleName, person: str, occasion: Occasion) -> IncidentEvent:
    said = "assumed" if kind == "role_assumed" else "renounced"
    return IncidentEvent(
        kind="role_assumed" if kind == "role_assumed" else "role_renounced",
        at=occasion.now,
        occurred_at=occasion.now,
        actor=occasion.actor,
        summary=f"{person} {said} the role {role.replace('_', ' ')}",
        details={"role": role, "person": person},
        csf="RS",
    )
