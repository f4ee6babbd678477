"""From what a server offers to what the gateway knows: canonical items with digests, risk classes, defects.

Pure: takes values, returns values. Pins are compared elsewhere and handed in, so that the same definition
always gives the same `Item`. One bad tool never takes the others with it; it stays in the catalog with
its defect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NoReturn

import jsonschema_rs
import msgspec

from airlock.core.config import ServerEntry, ToolEntry
from airlock.mcp import headers, names, results, strict, uris, work
from airlock.mcp.arguments import compile_argument_keys
from airlock.mcp.names import Kind
from airlock.model.server import Catalog, Item, PinState
from airlock.model.upstream import Offer

PATTERN_SIZE = 1024 * 1024
"""Bytes of one compiled pattern. A few characters may ask for many megabytes and for tenths of a second, in
which nothing else of the worker runs; this much takes 9 ms at most, and `^[^\\s]{1,255}$` fits."""

PATTERN_CACHE = 256 * 1024
"""Bytes that matching one pattern may keep; matching goes on without them, only slower."""

MAX_PATTERNS = 50
"""Patterns of one tool: they are compiled in one go, in which nothing else of the worker runs."""

_PLAIN = ToolEntry()

_KEYS: Mapping[Kind, str] = {"tool": "name", "prompt": "name", "resource": "uri", "template": "uriTemplate"}
"""The member of a definition that names it."""

_NAMED = frozenset({"tool", "prompt"})

_DATA = frozenset({"size", "annotations"})
"""Members of a resource that say how its data are at the moment."""


def definitions(offer: Offer) -> dict[str, tuple[str, dict[str, Any]]]:
    """Canonical name -> (digest, definition) of everything that is pinned: tools, prompts and templates that
    have a usable name. The first of two equal names counts. Resources come and go with the data behind them:
    they are listed by their server, and approved with it."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for kind, offered in _pinned(offer):
        for definition in offered:
            own = definition.get(_KEYS[kind])
            if isinstance(own, str) and own and (name := names.canonical(kind, own)) not in found:
                found[name] = (digest(definition), definition)
    return found


def digest(definition: dict[str, Any]) -> str:
    """SHA-256 of the RFC 8785 form of the whole definition: formatting does not count, content does (C-7)."""
    return hashlib.sha256(strict.canonical(definition)).hexdigest()


def judged(
    offered: Mapping[str, tuple[str, dict[str, Any]]], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Digest -> defect, empty for none, of every definition. Those in `known` are not looked at again."""
    known = known or {}
    return {
        fingerprint: _defect(name, definition) if (before := known.get(fingerprint)) is None else before
        for name, (fingerprint, definition) in offered.items()
    }


def build(
    entry: ServerEntry,
    offer: Offer,
    pins: Mapping[str, PinState],
    now: float,
    defects: Mapping[str, str] | None = None,
) -> Catalog:
    """The catalog of one server. What has no pin counts as changed: unknown means no.

    `defects` is what `judged` said of the same offer; without it, that is found out here.
    """
    offered = definitions(offer)
    defects = judged(offered) if defects is None else defects
    items: dict[Kind, list[Item]] = {kind: [] for kind in names.KINDS}
    for name, (fingerprint, definition) in sorted(offered.items()):
        kind = names.kind_of(name)
        pin, defect = pins.get(name, "changed"), defects[fingerprint]
        items[kind].append(_item(entry, kind, name, fingerprint, definition, pin=pin, defect=defect))
    tools, by_alias = _aliased(items["tool"])
    prompts, prompts_by_alias = _aliased(items["prompt"])
    return Catalog(
        tools=tools,
        by_alias=by_alias,
        prompts=prompts,
        prompts_by_alias=prompts_by_alias,
        resources=_resources(entry, offer),
        templates={item.own: item for item in items["template"]},
        era=offer.era,
        server_info=offer.server_info,
        capabilities=offer.capabilities,
        instructions=offer.instructions,
        keep_ms=offer.keep_ms,
        fetched_at=now,
    )


def steady(before: Catalog | None, found: Catalog) -> Catalog:
    """The catalog with those parts of the one before that say the same: who remembers what was made of a part
    sees at a glance that it is the same."""
    if before is None:
        return found
    kept = {
        part: getattr(before, part)
        for part in ("tools", "by_alias", "prompts", "prompts_by_alias", "resources", "templates")
        if _says(getattr(before, part)) == _says(getattr(found, part))
    }
    return msgspec.structs.replace(found, **kept)


def _says(items: Mapping[str, Item]) -> list[tuple[object, ...]]:
    return [
        (name, item.digest, item.pin, item.defect, item.definition if item.kind == "resource" else None)
        for name, item in items.items()
    ]


def _pinned(offer: Offer) -> tuple[tuple[Kind, tuple[dict[str, Any], ...]], ...]:
    return ("tool", offer.tools), ("prompt", offer.prompts), ("template", offer.templates)


def _aliased(found: list[Item]) -> tuple[dict[str, Item], dict[str, Item]]:
    """Items by their own name and by their name on `/mcp`; where two share one, both have that defect."""
    by_own: dict[str, Item] = {}
    by_alias: dict[str, Item] = {}
    for item in found:
        other = by_alias.get(item.alias)
        if other is None:
            by_own[item.own] = by_alias[item.alias] = item
            continue
        for one, two in ((other, item), (item, other)):
            by_own[one.own] = msgspec.structs.replace(one, defect=f"its name collides with {two.own!r}")
        by_alias[item.alias] = by_own[other.own]
    return by_own, by_alias


def _resources(entry: ServerEntry, offer: Offer) -> dict[str, Item]:
    """By URI, in its order. What of a definition changes with the data is no part of its digest."""
    found: dict[str, Item] = {}
    for definition in sorted(offer.resources, key=lambda one: one["uri"]):
        lasting = {key: said for key, said in definition.items() if key not in _DATA}
        name = names.canonical("resource", definition["uri"])
        item = _item(entry, "resource", name, digest(lasting), definition, pin="pinned", defect="")
        found[item.own] = item
    return found


def _item(
    entry: ServerEntry,
    kind: Kind,
    name: str,
    fingerprint: str,
    definition: dict[str, Any],
    *,
    pin: PinState,
    defect: str,
) -> Item:
    own: str = definition[_KEYS[kind]]
    said = entry.tools.get(name, _PLAIN)
    schema = definition.get("inputSchema") if kind == "tool" and not defect else None
    return Item(
        server=entry.name,
        name=name,
        kind=kind,
        alias=names.alias(entry.name, own) if kind in _NAMED else uris.federated(entry.name, own),
        definition=definition,
        digest=fingerprint,
        sensitivity=said.sensitivity or entry.sensitivity,
        read_only=entry.read_only if said.read_only is None else said.read_only,
        tenant=entry.tenant,
        tags=(*entry.tags, *said.tags),
        owner=entry.owner,
        pin=pin,
        param_headers=headers.param_headers(schema) if isinstance(schema, dict) else (),
        defect=defect,
        matches=uris.matcher(own) if kind == "template" and not defect else None,
    )


def _defect(name: str, definition: dict[str, Any]) -> str:
    kind = names.kind_of(name)
    if kind == "tool":
        return _tool_defect(definition)
    try:
        if kind == "template":
            uris.matcher(names.own(name))
    except ValueError as unusable:
        return str(unusable)
    return ""


def _tool_defect(definition: dict[str, Any]) -> str:
    execution = definition.get("execution")
    if isinstance(execution, dict) and "required" in execution.values():
        return "it runs only as a task, and tasks are not served"
    schema: Any = definition.get("inputSchema")
    output: Any = definition.get("outputSchema")
    defect = results.schema_defect(schema) or headers.find_defects(schema)
    if output is not None and not defect:
        defect = results.schema_defect(output)
    if defect:
        return defect
    try:
        work.levels(schema)
        compile_argument_keys(schema)
        compile_schema(schema)
    except ValueError as unusable:
        return f"its input schema cannot be used: {str(unusable).splitlines()[0]}"
    return ""


def compile_schema(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """A validator (2020-12 unless the schema names another draft), linear-time patterns, no remote
    references.

    Raises `ValueError` for a schema that cannot be used.
    """
    if _patterns(schema) > MAX_PATTERNS:
        raise ValueError(f"it has more than {MAX_PATTERNS} patterns")
    return jsonschema_rs.validator_for(
        schema,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_SIZE, dfa_size_limit=PATTERN_CACHE),
        retriever=_no_remote_reference,
    )


def _patterns(schema: Any) -> int:
    """Patterns anywhere in the schema: a reference may make a subschema of any place."""
    found = 0
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if strict.is_object(node):
            found += isinstance(node.get("pattern"), str)
            keyed: Any = node.get("patternProperties")
            found += len(keyed) if strict.is_object(keyed) else 0
            waiting.extend(node.values())
        elif strict.is_array(node):
            waiting.extend(node)
    return found


def _no_remote_reference(uri: str) -> NoReturn:
    raise ValueError(f"a schema may not refer to {uri}")
