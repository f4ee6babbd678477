"""Writes the files of incidents again after each event, and the two pages. One loop of the engine.

Files are copies for people: never read back, put in place whole, byte-identical for the same record. A crash
leaves the old ones, and the next start writes every open incident anew.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from structlog.typing import FilteringBoundLogger

from airlock.app.record import Sources, gather, leases_of
from airlock.core.clock import Clock
from airlock.core.errors import Fault
from airlock.incident.questions import INTEGRITY, Answered
from airlock.incident.render import documents, night, status
from airlock.incident.render.record import Record
from airlock.model.health import Service
from airlock.model.incident import Incident
from airlock.store import incidents

LOOK_EVERY = 1.0
"""Seconds between two looks at what changed."""

PAGES_EVERY = 60.0
"""Seconds after which the pages are written again although nothing changed: clocks go on."""

Mark = tuple[int, int]
"""Version of a record and length of its timeline."""


class Filer:
    """Knows what it has written. Used in one thread at a time."""

    def __init__(self, where: Sources, *, service: Callable[[], Service], clock: Clock) -> None:
        self._where = where
        self._service = service
        self._clock = clock
        self._written: dict[str, Mark] = {}
        self._records: dict[str, Record] = {}
        self._judged: dict[str, tuple[str, Answered]] = {}
        """What verification said of the log at a status of an incident: it is asked once for each."""
        self._pages_at: float | None = None
        self._seen: dict[str, int] | None = None
        """Versions of the control data at the last look: where none rose, nothing is read."""

    def write(self) -> list[str]:
        """Write what changed since; the ids of the incidents whose files were written.

        Raises `OSError`, or what the store raises: then the rest is written next time. What breaks at one
        incident is raised once everything else was written.
        """
        store = self._where.store
        versions = store.versions()
        if versions == self._seen and not self._pages_due():
            return []
        marks = incidents.lengths(store)
        known = incidents.listing(store, include_ended=True)
        self._skip(known, marks)
        changed = [each for each in known if self._written.get(each.id) != _mark(each, marks)]
        service = self._service() if changed or self._pages_due() else Service()
        broken: list[Exception] = []
        for each in changed:
            try:
                record = self._gathered(each, service)
                self._file(record)
            except (OSError, Fault, SQLAlchemyError, sqlite3.Error):
                raise
            except Exception as error:  # noqa: BLE001 - the others have their files, and the pages say it
                why = f"{each.id} cannot be shown: {type(error).__name__}"
                service = msgspec.structs.replace(service, reasons=(*service.reasons, why))
                broken.append(error)
                continue
            self._written[each.id] = _mark(each, marks)
            self._records[each.id] = record
        if changed or self._pages_due():
            self._write_pages(service)
        if broken:
            raise ExceptionGroup("files of incidents", broken)
        self._seen = versions
        return [each.id for each in changed]

    def _skip(self, known: list[Incident], marks: Mapping[str, int]) -> None:
        """What was over long before this process began has its files already."""
        for each in known:
            if each.id not in self._written and self._is_over(each) and self._has_files(each.id):
                self._written[each.id] = _mark(each, marks)

    def _is_over(self, incident: Incident) -> bool:
        ended = incident.closed_at or incident.resolved_at or incident.opened_at
        return incident.status in incidents.ENDED and self._clock.wall() - ended > status.SHOWN_FOR

    def _has_files(self, id: str) -> bool:
        return (self._where.folder / id / documents.file_name("review", id)).exists()

    def _gathered(self, incident: Incident, service: Service) -> Record:
        status, found = self._judged.get(incident.id, ("", None))
        known = {INTEGRITY: found} if found is not None and status == incident.status else {}
        record = gather(self._where, incident.id, service=service, clock=self._clock, known=known)
        if INTEGRITY in record.answers:
            self._judged[incident.id] = (incident.status, record.answers[INTEGRITY])
        return record

    def _file(self, record: Record) -> None:
        folder = self._where.folder / record.incident.id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in documents.files(record).items():
            replace(folder / name, text.encode())

    def _pages_due(self) -> bool:
        return self._pages_at is None or self._clock.monotonic() - self._pages_at >= PAGES_EVERY

    def _write_pages(self, service: Service) -> None:
        now = self._clock.wall()
        self._records = {id: each for id, each in self._records.items() if not self._is_over(each.incident)}
        self._where.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shown = status.page(self._records.values(), now)
        replace(self._where.folder / "status.json", status.as_json(shown))
        replace(self._where.folder / "status.html", status.html(shown).encode())
        open_ones = [night.night(self._as_of(each, now)) for each in night.open_ones(self._records.values())]
        replace(self._where.folder / "night.html", night.html(open_ones, service, now).encode())
        self._pages_at = self._clock.monotonic()

    def _as_of(self, record: Record, now: float) -> Record:
        """A record in which time went on: deadlines pass and leases end without an event."""
        held = leases_of(self._where.store, record.incident.id, now)
        return msgspec.structs.replace(record, at=now, leases=tuple(held))


class Filing:
    """The loop."""

    def __init__(self, filer: Filer, *, log: FilteringBoundLogger) -> None:
        self._filer = filer
        self._log = log
        self.trouble = ""
        """What is wrong, while it is tried again; empty: nothing."""

    async def run(self) -> None:
        """Write until cancelled. What cannot be written is said once, and tried again."""
        while True:
            await asyncio.to_thread(self.once)
            await asyncio.sleep(LOOK_EVERY)

    def once(self) -> None:
        """Write what changed. It takes time, and blocks."""
        try:
            written = self._filer.write()
        except (OSError, ValueError, Fault, SQLAlchemyError, sqlite3.Error) as error:
            why = str(error) or type(error).__name__
            if why != self.trouble:
                self._log.error("incident_files_failed", reason=why)
            self.trouble = why
            return
        self.trouble = ""
        for id in written:
            self._log.info("incident_files", incident=id)


def replace(path: Path, content: bytes) -> None:
    """Put a file in place whole; nothing is written where it has this content already."""
    try:
        if path.read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "wb", opener=_private) as file:
        file.write(content)
    os.replace(temporary, path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _mark(incident: Incident, lengths: Mapping[str, int]) -> Mark:
    return incident.version, lengths.get(incident.id, 0)
