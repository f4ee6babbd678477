"""`/api/v1/incidents/{id}/comms` and `/api/v1/contacts`: what people are told, who approves it, whom to call.

A text is rendered from the record when it is asked for, and from then on stays as it is: an approval and a
receipt are about exactly these words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from airlock.api.deciding import Deciding, dated, fit, found, human
from airlock.api.entries import INVALID_PARAMS, Entry, document
from airlock.api.leasing import actor
from airlock.api.persons import person
from airlock.core.errors import ConfigError, Rejected
from airlock.core.incident_config import IncidentSection
from airlock.incident.clocks import due
from airlock.incident.comms import contacts, outgoing
from airlock.incident.comms.contacts import Contacts
from airlock.incident.comms.outgoing import Text
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import Incident, RoleName
from airlock.model.message import Audience, Message, Template
from airlock.model.principal import Principal
from airlock.store import incidents, messages
from airlock.store.changes import INCIDENTS

Write = Callable[[str, Template], Text]
"""Renders a notice of an incident from its record. Raises `Unfit`. Blocks."""

LoadContacts = Callable[[], Contacts]
"""What the contacts file says. Raises `ConfigError`. Blocks."""


class Notice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST .../comms` takes. `audience`: whose text it is, where not the usual one of the template."""

    template: Template
    audience: Audience | None = None


class Yes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An approval: in which role, and of which words."""

    role: RoleName
    sha256: str


class Messages(msgspec.Struct, frozen=True):
    """Messages in the order of their making."""

    messages: list[dict[str, Any]]


class Reachable(msgspec.Struct, frozen=True):
    """Contacts by name, and what would hinder a call."""

    contacts: dict[str, str]
    concerns: list[dict[str, str]]


class CommsApi:
    """Notices of incidents."""

    def __init__(
        self,
        deciding: Deciding,
        *,
        settings: Callable[[], IncidentSection],
        write: Write,
        load: LoadContacts,
    ) -> None:
        self._store = deciding.store
        self._clock = deciding.clock
        self._settings = settings
        self._write = write
        self._load = load

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Every message of an incident, with its receipts."""
        id = request.params["id"]

        def work() -> list[Message]:
            fit(lambda: found(self._store, id))
            return messages.listing(self._store, incident=id)

        return _told(200, await asyncio.to_thread(work))

    async def send(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Render a notice and let it go: 201; 202 where it waits for an approval first."""
        asked, id = document(request, Notice), request.params["id"]
        made = await asyncio.to_thread(lambda: fit(lambda: self._made(id, asked, who)))
        return _told(202 if any(each.needs for each in made) else 201, made)

    async def approve(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Say yes to a message, in one of the roles that it waits for."""
        asked = document(request, Yes)
        id, message = request.params["id"], request.params["message"]
        approved = await asyncio.to_thread(lambda: fit(lambda: self._approved(id, message, asked, who)))
        return _told(202 if approved.needs else 200, [approved])

    async def contacts(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Whom to call, and what is missing."""
        try:
            known = await asyncio.to_thread(self._load)
        except ConfigError as wrong:
            raise Rejected(409, INVALID_PARAMS, "contacts_unreadable", str(wrong)) from wrong
        concerns = [msgspec.to_builtins(each) for each in contacts.check(known)]
        return json_response(200, {"contacts": known.known, "concerns": concerns})

    def _made(self, id: str, asked: Notice, who: Principal) -> list[Message]:
        """In a thread."""
        incident, now = found(self._store, id), self._clock.wall()
        made = outgoing.notices(
            incident,
            asked.template,
            self._write(id, asked.template),
            occasion="",
            targets=self._settings().targets,
            by=actor(who),
            now=now,
            audience=asked.audience,
            next_update_at=due(incident, "update"),
        )
        with self._store.change(INCIDENTS) as change:
            messages.leave(change.connection, made)
            incidents.append(change, id, outgoing.drafted(made, by=human(who), now=now))
            return [messages.find(change.connection, each.id) for each in made]

    def _approved(self, id: str, message: str, asked: Yes, who: Principal) -> Message:
        """In a thread. Who approves has the role in this incident, or in their token."""
        incident = found(self._store, id)
        if person(who).machine:
            text = "A program never approves: it takes a person."
            raise Rejected(403, INVALID_PARAMS, "approver_automation", text)
        if not _has(incident, asked.role, who):
            text = f"You are not the {asked.role.replace('_', ' ')} of this incident."
            raise Rejected(403, INVALID_PARAMS, "role_missing", text)
        with self._store.change(INCIDENTS) as change:
            found_one = messages.find(change.connection, message)
            if found_one.incident != id:
                raise messages.unknown(message)
            approved = outgoing.approve(
                found_one, role=asked.role, by=actor(who), sha256=asked.sha256, now=self._clock.wall()
            )
            messages.put(change.connection, approved)
            incidents.append(change, id, [outgoing.approved(approved, by=human(who))])
        return approved


def entries(api: CommsApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    path = "/api/v1/incidents/{id}/comms"
    return (
        Entry(
            method="GET",
            path=path,
            permission="incidents.read",
            summary="List the messages of an incident.",
            handler=api.list,
            gives=Messages,
        ),
        Entry(
            method="POST",
            path=path,
            permission="comms.send",
            summary="Render a notice and send it.",
            handler=api.send,
            takes=Notice,
            gives=Messages,
            statuses=(201, 202),
        ),
        Entry(
            method="POST",
            path=f"{path}/{{message}}/approve",
            permission="comms.send",
            summary="Approve a message in a role of the incident.",
            handler=api.approve,
            takes=Yes,
            gives=Messages,
            statuses=(200, 202),
        ),
        Entry(
            method="GET",
            path="/api/v1/contacts",
            permission="incidents.read",
            summary="Whom to call, and what would hinder it.",
            handler=api.contacts,
            gives=Reachable,
        ),
    )


def _has(incident: Incident, role: RoleName, who: Principal) -> bool:
    person = incident.person(role)
    return role in who.roles or (person != "" and person in (actor(who), who.subject))


def _told(status: int, several: list[Message]) -> HttpResponse:
    return json_response(status, {"messages": [dated(msgspec.to_builtins(each)) for each in several]})
