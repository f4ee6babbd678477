"""From what a server offers to what the gateway knows: canonical tools with digests, risk classes and
defects.

Pure: takes values, returns values. Pins are compared elsewhere and handed in, so that the same definition
always gives the same `Tool`. One bad tool never takes the others with it; it stays in the catalog with
its defect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NoReturn

import jsonschema_rs
import msgspec

from airlock.core.config import ServerEntry, ToolEntry
from airlock.mcp import headers, names, results, strict, work
from airlock.mcp.arguments import compile_argument_keys
from airlock.model.server import Catalog, PinState, Tool
from airlock.model.upstream import Offer

PATTERN_SIZE = 1024 * 1024
"""Bytes of one compiled pattern. A few characters may ask for many megabytes and for tenths of a second, in
which nothing else of the worker runs; this much takes 9 ms at most, and `^[^\\s]{1,255}$` fits."""

PATTERN_CACHE = 256 * 1024
"""Bytes that matching one pattern may keep; matching goes on without them, only slower."""

MAX_PATTERNS = 50
"""Patterns of one tool: they are compiled in one go, in which nothing else of the worker runs."""

_PLAIN = ToolEntry()


def definitions(offer: Offer) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> (digest, definition) of every tool that has a usable name. The first of two equal names
    counts."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for definition in offer.tools:
        name = definition.get("name")
        if isinstance(name, str) and name and name not in found:
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
        fingerprint: _defect(definition) if (before := known.get(fingerprint)) is None else before
        for fingerprint, definition in offered.values()
    }


def build(
    entry: ServerEntry,
    offer: Offer,
    pins: Mapping[str, PinState],
    now: float,
    defects: Mapping[str, str] | None = None,
) -> Catalog:
    """The catalog of one server. A tool without a pin counts as changed: unknown means no.

    `defects` is what `judged` said of the same offer; without it, that is found out here.
    """
    offered = definitions(offer)
    defects = judged(offered) if defects is None else defects
    tools: dict[str, Tool] = {}
    by_alias: dict[str, Tool] = {}
    for name, (fingerprint, definition) in sorted(offered.items()):
        pin, defect = pins.get(name, "changed"), defects[fingerprint]
        tool = _tool(entry, fingerprint, definition, pin=pin, defect=defect)
        if tool.alias in by_alias:
            other = by_alias[tool.alias]
            tool = msgspec.structs.replace(tool, defect=f"its name collides with {other.name!r}")
            other = msgspec.structs.replace(other, defect=f"its name collides with {tool.name!r}")
            tools[other.name] = by_alias[tool.alias] = other
        else:
            by_alias[tool.alias] = tool
        tools[name] = tool
    return Catalog(
        tools=tools,
        by_alias=by_alias,
        era=offer.era,
        server_info=offer.server_info,
        capabilities=offer.capabilities,
        instructions=offer.instructions,
        fetched_at=now,
    )


def _tool(
    entry: ServerEntry, fingerprint: str, definition: dict[str, Any], *, pin: PinState, defect: str
) -> Tool:
    name: str = definition["name"]
    said = entry.tools.get(name, _PLAIN)
    schema = definition.get("inputSchema")
    return Tool(
        server=entry.name,
        name=name,
        alias=names.alias(entry.name, name),
        definition=definition,
        digest=fingerprint,
        sensitivity=said.sensitivity or entry.sensitivity,
        read_only=entry.read_only if said.read_only is None else said.read_only,
        tenant=entry.tenant,
        tags=(*entry.tags, *said.tags),
        owner=entry.owner,
        pin=pin,
        param_headers=() if defect or not isinstance(schema, dict) else headers.param_headers(schema),
        defect=defect,
    )


def _defect(definition: dict[str, Any]) -> str:
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
