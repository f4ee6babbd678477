"""What people read first in a bag: log lines, answered questions, the record and its documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from airlock.audit import query
from airlock.core.clock import Clock, log_time, timestamp
from airlock.core.log_reader import Reading
from airlock.core.log_store import FOLDER as LOGS
from airlock.incident.evidence.bag import Bag
from airlock.incident.evidence.scrub import Scrubber
from airlock.store import bundles, incidents
from airlock.store.database import Store

_LIMIT = 100_000
"""Rows of an answer that are kept; a truncated one says so."""

_PATIENCE = 20.0
"""Seconds that one question may take."""


def add_logs(data_dir: Path, bag: Bag, scrub: Scrubber, *, incident: str, since: float) -> list[str]:
    """Add the lines of all processes, in the order of time; what is missing of them, in words."""
    name = f"data/logs/incident-logs-{incident}.txt"
    lines = 0
    try:
        reading = Reading(data_dir / LOGS, since=log_time(since))
        with bag.writing(name) as file:
            for line in reading.lines():
                lines += 1
                text = scrub.text(name, line.text.decode("utf-8", "backslashreplace"))
                file.write(f"{line.process} {text}\n".encode())
        gaps = reading.gaps()
    except FileNotFoundError:
        gaps = ["no gateway has kept lines there"]
    told = {"since": log_time(since), "lines": lines, "missing": gaps}
    bag.add_bytes("data/logs/coverage.json", msgspec.json.encode(told) + b"\n")
    return [f"Log lines: {gap}." for gap in gaps]


def add_queries(database: Path, bag: Bag, *, since: float, clock: Clock) -> None:
    """Ask every prepared question of a copy, and add question, answer and count."""
    counts: dict[str, Any] = {}
    for name, prepared in query.PREPARED.items():
        parameters = {"since": timestamp(since)} if prepared.since else {}
        bag.add_bytes(f"data/queries/{name}.sql", f"{prepared.sql};\n".encode())
        try:
            answer = query.run(
                database, prepared.sql, parameters, clock=clock, limit=_LIMIT, timeout=_PATIENCE
            )
        except query.QueryRefused as refused:
            counts[name] = {"title": prepared.title, "refused": str(refused)}
            continue
        result = f"data/queries/{name}.csv"
        bag.add_bytes(result, query.as_csv(answer, exact=True).encode("utf-8", "backslashreplace"))
        counts[name] = {
            "title": prepared.title,
            "parameters": parameters,
            "rows": len(answer.rows),
            "truncated": answer.truncated,
            "sha256": bag.payload[result],
        }
    bag.add_bytes("data/queries/counts.json", msgspec.json.format(msgspec.json.encode(counts)) + b"\n")


def add_record(store: Store, bag: Bag, scrub: Scrubber, *, incident: str) -> bool:
    """Add the record of an incident, its timeline and what else names it; False where there is none."""
    found = incidents.get(store, incident)
    if found is None:
        return False
    events = [msgspec.to_builtins(each) for each in incidents.timeline(store, incident)]
    _json(bag, scrub, "incident.json", msgspec.to_builtins(found))
    _json(bag, scrub, "timeline.json", events)
    for name, documents in bundles.documents(store, incident).items():
        _json(bag, scrub, f"{name}.json", documents)
    return True


def add_documents(data_dir: Path, bag: Bag, scrub: Scrubber, *, incident: str) -> list[str]:
    """Add the rendered files of an incident; their names in the bag."""
    folder = data_dir / "incidents" / incident
    named = re.compile(rf"[A-Za-z0-9-]*{re.escape(incident)}\.(md|html|json)|comms/[A-Za-z0-9._-]+")
    added: list[str] = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if named.fullmatch(name) and path.is_file() and not path.is_symlink():
            inside = f"data/{name}"
            text = path.read_bytes().decode("utf-8", "backslashreplace")
            bag.add_bytes(inside, scrub.text(inside, text).encode())
            added.append(inside)
    return added


def add_replaced(bag: Bag, replaced: Mapping[str, Mapping[str, int]]) -> None:
    """Add what the detectors of secrets took out of which file."""
    bag.add_bytes("data/replaced.json", msgspec.json.encode(replaced, order="sorted") + b"\n")


def _json(bag: Bag, scrub: Scrubber, name: str, document: object) -> None:
    path = f"data/record/{name}"
    text = msgspec.json.encode(scrub.value(path, document), order="sorted")
    bag.add_bytes(path, msgspec.json.format(text, indent=1) + b"\n")
