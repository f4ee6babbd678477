"""`/api/v1/incidents/{id}/files/{name}` and `/exposure`: what was written of one, and what was reached.

Files come as the engine last wrote them: to render one means to verify the log, which is no work for a
process that serves calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from airlock.api.deciding import fit, found
from airlock.api.entries import INVALID_PARAMS, Entry
from airlock.core.errors import Rejected
from airlock.incident import questions
from airlock.incident.exposure import Exposure
from airlock.incident.questions import Answered
from airlock.incident.render import documents
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from airlock.store.database import Store

Reached = Callable[[str], tuple[Exposure, Answered, tuple[Answered, ...]]]
"""What was reached in an incident, the rows that it was worked out from, and whom the incident affects.
Raises `Unfit` `incident_unknown`. It takes time."""


class Scope(msgspec.Struct, frozen=True):
    """Exposure: whom and what the attacker reached. Impact: whom the incident affects. Never to be added."""

    exposure: dict[str, Any]
    source: dict[str, Any]
    impact: list[dict[str, Any]]


class DocumentsApi:
    """Files and figures of incidents. `folder` has one directory for each incident."""

    def __init__(self, *, store: Store, folder: Path, reached: Reached) -> None:
        self._store = store
        self._folder = folder
        self._reached = reached

    async def file(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """A file, by its name or by what it is."""
        return await asyncio.to_thread(self._file, request.params["id"], request.params["name"])

    async def exposure(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """What was reached, and whom it affects."""
        return json_response(200, await asyncio.to_thread(self._scope, request.params["id"]))

    def _file(self, id: str, name: str) -> HttpResponse:
        record = fit(lambda: found(self._store, id))
        which = documents.file_of(name, record.id)
        if which is None:
            names = ", ".join(documents.FILES)
            raise Rejected(404, INVALID_PARAMS, "file_unknown", f"There is no such file: one of {names}.")
        wanted = documents.file_name(which, record.id)
        try:
            text = (self._folder / record.id / wanted).read_bytes()
        except FileNotFoundError as missing:
            why = f"{wanted} was not written yet: the engine does so; `airlock incident render` does without."
            raise Rejected(404, INVALID_PARAMS, "file_not_written", why) from missing
        headers = (("content-type", "text/markdown; charset=utf-8"), ("cache-control", "no-store"))
        return HttpResponse(status=200, body=text, headers=headers)

    def _scope(self, id: str) -> Scope:
        reached, source, impact = fit(lambda: self._reached(id))
        return Scope(
            exposure=msgspec.to_builtins(reached),
            source=questions.as_json(source),
            impact=[questions.as_json(each) for each in impact],
        )


def entries(api: DocumentsApi) -> tuple[Entry, ...]:
    """The addresses of files and figures."""
    return (
        Entry(
            method="GET",
            path="/api/v1/incidents/{id}/files/{name}",
            permission="incidents.read",
            summary="Read a file of an incident.",
            handler=api.file,
            text="text/markdown",
        ),
        Entry(
            method="GET",
            path="/api/v1/incidents/{id}/exposure",
            permission="incidents.read",
            summary="Show what was reached, and whom it affects.",
            handler=api.exposure,
            gives=Scope,
        ),
    )
