"""Reports that people wrote by hand at the beginning of an incident, read into an order to open it.

What stands in brackets was not filled in, and stays open. A line that says something else than it may is an
error with its number: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from airlock.core.clock import moment
from airlock.core.errors import ConfigError
from airlock.model.incident import SEVERITIES, TYPES

Order = dict[str, object]

_TITLE = re.compile(r"#\s*Incident Report:\s*(\S+)\s*")
_FIELD = re.compile(r"\*\*(?P<name>[^*]+)\*\*:\s*(?P<value>.*)")
_HEADING = re.compile(r"##\s*(.+?)\s*")
_ITEM = re.compile(r"[-*]\s+(.*)")
_OPEN = re.compile(r"\[[^\]]*\]")
"""A blank that nobody filled in."""

_FORMS = (
    "%a %b %d %H:%M:%S UTC %Y",
    "%a %b %d %I:%M:%S %p UTC %Y",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%d %H:%M UTC",
    "%Y-%m-%dT%H:%M:%S+00:00",
)
"""How `date -u` and people write a time."""

_WORDS = {
    "outage": "service_outage",
    "security": "security_incident",
    "performance": "performance_degradation",
    "authentication": "authentication_issue",
    "policy": "policy_failure",
    "data": "data_issue",
}
"""The type by a word of it."""

_IMPACT = {
    "affected users": "affected_users",
    "affected services": "affected_services",
    "business impact": "business_impact",
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says: an order as `POST /api/v1/incidents` takes it, and lines for the timeline."""

    order: Order
    notes: tuple[str, ...]


def read(text: str, name: str) -> Report:
    """A report; `name` is how messages call it. Raises `ConfigError` with the line."""
    order: Order = {}
    notes: list[str] = []
    symptoms: list[str] = []
    section = ""
    for number, line in _lines(text):
        where = f"{name}:{number}"
        if heading := _HEADING.fullmatch(line):
            section = heading[1].lower()
        elif not section:
            _head(order, line, where)
        elif item := _ITEM.fullmatch(line):
            _item(order, symptoms, notes, section, item[1])
    if "id" not in order:
        hint = "the first line is `# Incident Report: INC-YYYYMMDD-HHMMSS`"
        raise ConfigError(f"{name}:1", "no incident is named", hint)
    if symptoms:
        order["symptoms"] = symptoms
        order["title"] = symptoms[0]
    return Report(order=order, notes=tuple(notes))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _head(order: Order, line: str, where: str) -> None:
    if title := _TITLE.fullmatch(line):
        order["id"] = title[1]
    elif field := _FIELD.fullmatch(line):
        value = field["value"].strip()
        if value and not _OPEN.fullmatch(value):
            _field(order, field["name"].strip().lower(), value, where)


def _field(order: Order, name: str, value: str, where: str) -> None:
    match name:
        case "severity":
            if value not in SEVERITIES:
                raise ConfigError(where, f"{value[:64]!r} is no severity", "write P0, P1, P2 or P3")
            order["severity"] = value
        case "type":
            order["type"] = _type(value, where)
        case "start time":
            order["estimated_start"] = _time(value, where)
        case "incident commander":
            order["commander"] = value
        case _:
            return  # the status is ours to say


def _item(order: Order, symptoms: list[str], notes: list[str], section: str, text: str) -> None:
    if _OPEN.fullmatch(text):
        return
    name, colon, value = text.partition(":")
    value = value.strip()
    if section == "initial symptoms":
        symptoms.append(text)
    elif section == "timeline":
        notes.append(text)
    elif section == "impact assessment" and colon and value and not _OPEN.fullmatch(value):
        member = _IMPACT.get(name.strip().lower())
        if member == "affected_services":
            order[member] = [part.strip() for part in value.split(",") if part.strip()]
        elif member is not None:
            order[member] = value


def _type(value: str, where: str) -> str:
    word = value.lower().replace(" ", "_")
    if word in TYPES:
        return word
    found = {kind for part, kind in _WORDS.items() if part in value.lower()}
    if len(found) != 1:
        raise ConfigError(
            where, f"{value[:64]!r} is no type of an incident", "write one of " + ", ".join(TYPES)
        )
    return found.pop()


def _time(value: str, where: str) -> float:
    """Unix seconds."""
    try:
        return moment(value)
    except ValueError:
        pass
    for form in _FORMS:
        try:
            return datetime.strptime(value, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    raise ConfigError(where, f"{value[:64]!r} is no time in UTC", "write 2026-11-28T21:07:00Z")
