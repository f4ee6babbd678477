"""What lists say of tools and servers, less what may not pass: titles, descriptions, examples.

A definition is looked at once and remembered by its digest, so that a list of 2,000 tools costs nothing.
Names of tools stay: another name would be no name. An argument whose name is a secret has none. Addresses
count in texts for people only; in a schema `$id` and `$ref` are names that lead nowhere.
"""

from __future__ import annotations

from typing import Any

import msgspec

from airlock.gateway.lists import Shown
from airlock.gateway.redact import Redactors, Rules
from airlock.mcp.strict import is_array, is_object
from airlock.model.call import Findings
from airlock.model.server import Item

PROSE = frozenset({"title", "description"})
"""Members that people and models read, at any depth of a definition."""

MAX_KEPT = 200_000
"""Definitions that are remembered; then all are forgotten."""


class Definitions:
    """Remembers what was made of a definition, until the rules change."""

    def __init__(self, redactors: Redactors) -> None:
        self._redactors = redactors
        self._by: Rules | None = None
        self._kept: dict[str, tuple[dict[str, Any], Findings] | None] = {}

    @property
    def rules(self) -> Rules:
        """The rules that decide what may leave."""
        return self._redactors.rules

    def shown(self, found: Findings) -> Shown:
        """Gives each definition as it may leave, and adds to `found` what that took."""

        def shown(item: Item) -> dict[str, Any]:
            less = self._less(item)
            if less is None:
                return item.definition
            found.add(less[1].counts)
            found.hosts |= less[1].hosts
            return less[0]

        return shown

    def info(self, info: dict[str, Any], found: Findings) -> dict[str, Any]:
        """What a server says of itself."""
        redactor = self._redactors.rules.leaving
        if redactor is None:
            return info
        less, counts = redactor.value(info, found.hosts)
        found.add(counts)
        return less

    def _less(self, item: Item) -> tuple[dict[str, Any], Findings] | None:
        rules = self._redactors.rules
        if rules is not self._by or len(self._kept) >= MAX_KEPT:
            self._by, self._kept = rules, {}
        key = item.digest
        if item.kind == "resource":  # whose digest leaves out what changes with the data
            key += msgspec.json.encode(item.definition).decode()
        if key not in self._kept:
            found = Findings()
            less = {**_walk(rules, item.definition, found), **_names(item)}
            self._kept[key] = (less, found) if found.counts else None
        return self._kept[key]


def _names(item: Item) -> dict[str, str]:
    """What a definition is known by, as it is."""
    if item.kind in ("tool", "prompt"):
        return {"name": item.own}
    return {"uri" if item.kind == "resource" else "uriTemplate": item.own}


def _walk(rules: Rules, node: dict[str, Any], found: Findings) -> dict[str, Any]:
    """An object of a definition: prose is held to everything, other texts to the detectors."""
    less: dict[str, Any] = {}
    names = _scalar(rules, dict.fromkeys(node), found)
    for name, (key, value) in zip(names, node.items(), strict=True):
        redactor = rules.leaving if key in PROSE else rules.texts
        if is_object(value):
            less[name] = _walk(rules, value, found)
        elif is_array(value):
            less[name] = [
                _walk(rules, one, found) if is_object(one) else _scalar(rules, one, found) for one in value
            ]
        elif redactor is None:
            less[name] = value
        else:
            less[name], counts = redactor.value(value, found.hosts)
            found.add(counts)
    return less


def _scalar(rules: Rules, value: Any, found: Findings) -> Any:
    if rules.texts is None:
        return value
    less, counts = rules.texts.value(value)
    found.add(counts)
    return less
