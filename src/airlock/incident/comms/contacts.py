"""Whom to call: the contacts file, in the shape that operators keep it.

`contacts.on_call`, `.management`, `.external` and `.vendors` hold a name and how to reach it each. Groups and
names that are not known here are kept and shown; those that escalation needs and does not find are findings.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec
import yaml

from airlock.core.errors import ConfigError
from airlock.incident.escalation import LADDER, PARTIES
from airlock.incident.orders import Level

LARGEST = 256 * 1024
"""Bytes of the file."""

LONGEST = 256
"""Characters of one way to reach somebody."""

_PHONE = re.compile(r"\+?[0-9][0-9A-Z ().-]{4,30}", re.ASCII)
_MAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_OTHER = re.compile(r"(https?://|#|@)\S+")


class Contacts(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach people, by `group.name`."""

    known: dict[str, str]

    def reach(self, level: Level) -> tuple[str, ...]:
        """`name: way` for everybody who is called at this level, and who is told with them."""
        step = LADDER[level]
        return (*self.of(*step.contacts), *(way for party in step.parties for way in self.party(party)))

    def party(self, name: str) -> tuple[str, ...]:
        """`name: way` of one party outside the ladder."""
        return self.of(PARTIES[name])

    def of(self, *keys: str) -> tuple[str, ...]:
        """`name: way` for each of these, groups in whole, that the file has."""
        return tuple(
            f"{key}: {way}"
            for wanted in keys
            for key, way in self.known.items()
            if way and wanted in (key, key.partition(".")[0])
        )


class Concern(msgspec.Struct, frozen=True, kw_only=True):
    """Something that would hinder a call at night."""

    key: str
    text: str


NOBODY = Contacts(known={})


def read(text: bytes, *, name: str) -> Contacts:
    """The contacts in a YAML document. Raises `ConfigError`: what is wrong, and what would be right."""
    if len(text) > LARGEST:
        raise ConfigError(name, f"has {len(text)} bytes; at most {LARGEST} are read")
    try:
        document: Any = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as wrong:
        raise ConfigError(name, f"is no YAML: {str(wrong).partition(chr(10))[0]}") from wrong
    groups = _mapping(document, name, "contacts:").get("contacts")
    known: dict[str, str] = {}
    for group, members in _mapping(groups, name, "contacts: {on_call: {...}}").items():
        for key, way in _mapping(members or {}, name, f"{group}: {{name: way}}").items():
            if not isinstance(way, (str, int)):
                raise ConfigError(name, f"contacts.{group}.{key} is no text", "write '+1-555-0101'")
            if len(str(way)) > LONGEST or not str(way).isprintable():
                raise ConfigError(name, f"contacts.{group}.{key} takes up to {LONGEST} printable characters")
            known[f"{group}.{key}"] = str(way).strip()
    return Contacts(known=known)


def check(contacts: Contacts) -> tuple[Concern, ...]:
    """What is missing for the ladder and for parties outside, and ways that no call would go."""
    found = [
        Concern(key=step.contacts[0], text=f"{level} calls nobody: give {' or '.join(step.contacts)}")
        for level, step in LADDER.items()
        if not contacts.of(*step.contacts)
    ]
    found += [
        Concern(key=key, text=f"the {party.replace('_', ' ')} cannot be reached: give {key}")
        for party, key in PARTIES.items()
        if not contacts.of(key)
    ]
    found += [
        Concern(key=key, text=f"{way[:64]!r} is no number, mail address, channel or URL")
        for key, way in contacts.known.items()
        if not (_PHONE.fullmatch(way) or _MAIL.fullmatch(way) or _OTHER.fullmatch(way))
    ]
    return tuple({concern.key: concern for concern in found}.values())


def _mapping(value: object, name: str, shape: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(name, "has no mapping where one belongs", shape)
    if not all(
        isinstance(key, str) and key.isprintable() and len(key) <= 64 for key in cast("dict[Any, Any]", value)
    ):
        raise ConfigError(name, "has a name that is no short text", shape)
    return cast("dict[str, Any]", value)
