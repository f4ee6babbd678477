"""Keys of tool arguments that a server might take for others: `Path` where the schema declares `path`.

`compile_argument_keys` reads an input schema once, `check_argument_case` then costs next to nothing for
well-formed arguments. A level is everything that the schema says about one place of the instance: its
own `properties` and those of subschemas that apply in place. Local references are followed, cycles included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from airlock.core.errors import Rejected
from airlock.mcp.strict import is_array, is_object, shown

IN_PLACE = ("if", "then", "else")
IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
ITEMS = ("items", "contains", "unevaluatedItems")
UNDECLARED = ("additionalProperties", "unevaluatedProperties")
DESCRIBES = frozenset({"properties", "patternProperties", "prefixItems", *ITEMS, *UNDECLARED})
MAX_LEVELS = 4000
"""Levels of one schema; sets of subschemas could otherwise be combined without end."""
MAX_DECLARED = 10_000
"""Keys declared by all levels of one schema together."""
MAX_STEPS = 40_000
"""Subschemas and steps of references followed for all levels together: one may stand in many levels."""


class ArgumentKeys:
    """One level: the declared keys, and the levels below them. Levels of recursive schemas form cycles."""

    __slots__ = ("declared", "folded", "items", "members", "others")

    def __init__(self, declared: Iterable[str]) -> None:
        self.declared = frozenset(declared)
        self.folded = {name.casefold(): name for name in self.declared}
        self.members: dict[str, ArgumentKeys] = {}
        self.others: ArgumentKeys | None = None
        self.items: ArgumentKeys | None = None


def compile_argument_keys(schema: Any) -> ArgumentKeys:
    """The table of one tool. Raises `ValueError` for a schema that combines into too many levels or keys."""
    return _Compiler(schema).compile()


def check_argument_case(arguments: Any, keys: ArgumentKeys, where: str = "arguments") -> None:
    """Refuse an undeclared key that casefold-equals a declared one of its level (-32602)."""
    if is_object(arguments):
        if not keys.declared.issuperset(arguments):
            _check_undeclared(arguments, keys, where)
        for name, below in keys.members.items():
            if name in arguments:
                check_argument_case(arguments[name], below, f"{where}.{name}")
    elif is_array(arguments) and keys.items is not None:
        for item in arguments:
            check_argument_case(item, keys.items, f"{where}[]")


def _check_undeclared(members: dict[str, Any], keys: ArgumentKeys, where: str) -> None:
    for key, value in members.items():
        if key in keys.declared:
            continue
        proper = keys.folded.get(key.casefold())
        if proper is not None:
            raise Rejected(
                400,
                -32602,
                "case_variant_argument",
                f"The key {shown(key)} in {where} is not declared; the tool declares {shown(proper)}.",
            )
        if keys.others is not None:
            check_argument_case(value, keys.others, f"{where}.*")


class Given:
    """Leaves out arguments that are null and need not be there: they count as absent (MCP 2026-07-28 sends no
    header for either)."""

    __slots__ = ("_optional",)

    def __init__(self, schema: Any) -> None:
        described = _mapping(schema)
        required = _sequence(described.get("required"))
        self._optional = frozenset(_mapping(described.get("properties"))).difference(
            name for name in required if isinstance(name, str)
        )

    def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`arguments` less the optional ones of the top level that are null."""
        return {
            name: value
            for name, value in arguments.items()
            if value is not None or name not in self._optional
        }


class _Compiler:
    """Turns sets of subschemas into levels, each set once; a list of work instead of recursion."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._levels: dict[frozenset[int], ArgumentKeys] = {}
        self._unfinished: list[tuple[ArgumentKeys, list[dict[str, Any]]]] = []
        self._declared = 0
        self._steps = 0

    def compile(self) -> ArgumentKeys:
        top = self._level([self._root])
        for level, schemas in self._unfinished:
            for name, together in _by_name(schemas).items():
                below = self._level(together)
                if below is not None:
                    level.members[name] = below
            level.others = self._level(_others(schemas))
            level.items = self._level(_items(schemas))
        return top or ArgumentKeys(())

    def _level(self, schemas: Iterable[Any]) -> ArgumentKeys | None:
        """The level of these subschemas, or None where they say nothing about keys."""
        together = self._in_place(schemas)
        if not any(DESCRIBES.intersection(schema) for schema in together):
            return None
        identity = frozenset(map(id, together))
        level = self._levels.get(identity)
        if level is None:
            if len(self._levels) >= MAX_LEVELS:
                raise ValueError(f"it combines into more than {MAX_LEVELS} levels")
            self._declared += sum(len(_mapping(schema.get("properties"))) for schema in together)
            if self._declared > MAX_DECLARED:
                raise ValueError(f"it declares more than {MAX_DECLARED} keys")
            level = self._levels[identity] = ArgumentKeys(_by_name(together))
            self._unfinished.append((level, together))
        return level

    def _in_place(self, schemas: Iterable[Any]) -> list[dict[str, Any]]:
        """All subschemas that apply to the same place, references followed; each once."""
        found: dict[int, dict[str, Any]] = {}
        waiting = list(schemas)
        while waiting:
            schema = waiting.pop()
            if is_object(schema) and id(schema) not in found:
                self._step()
                found[id(schema)] = schema
                waiting.extend(self._applied(schema))
        return list(found.values())

    def _applied(self, schema: dict[str, Any]) -> Iterator[Any]:
        for keyword in IN_PLACE:
            yield schema.get(keyword)
        for keyword in IN_PLACE_LISTS:
            yield from _sequence(schema.get(keyword))
        yield from _mapping(schema.get("dependentSchemas")).values()
        for keyword in ("$ref", "$dynamicRef"):
            yield self._resolve(schema.get(keyword))

    def _resolve(self, reference: Any) -> Any:
        """The target of a reference within the schema (RFC 6901 fragment); others are refused elsewhere."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return None
        target = self._root
        for part in reference.split("/")[1:]:
            self._step()
            name = part.replace("~1", "/").replace("~0", "~")
            target = _below(target, name)
        return target

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise ValueError(f"to know its keys takes more than {MAX_STEPS} steps")


def _by_name(schemas: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """What these subschemas say of each declared key."""
    found: dict[str, list[Any]] = {}
    for schema in schemas:
        for name, below in _mapping(schema.get("properties")).items():
            found.setdefault(name, []).append(below)
    return found


def _below(target: Any, name: str) -> Any:
    if is_array(target):
        return target[int(name)] if name.isdecimal() and int(name) < len(target) else None
    return _mapping(target).get(name)


def _others(schemas: Iterable[dict[str, Any]]) -> list[Any]:
    """What applies to keys that are not declared. Patterns are not tried: any of them may match."""
    found: list[Any] = []
    for schema in schemas:
        found.extend(schema.get(keyword) for keyword in UNDECLARED)
        found.extend(_mapping(schema.get("patternProperties")).values())
    return found


def _items(schemas: Iterable[dict[str, Any]]) -> list[Any]:
    found: list[Any] = []
    for schema in schemas:
        found.extend(schema.get(keyword) for keyword in ITEMS)
        found.extend(_sequence(schema.get("prefixItems")))
        found.extend(_sequence(schema.get("items")))
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return value if is_object(value) else {}


def _sequence(value: Any) -> list[Any]:
    return value if is_array(value) else []
