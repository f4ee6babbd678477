"""A tree of nodes against the types of the configuration.

The walk follows the types, not the file, so that every key of the schema gets a value or an origin and every
key of the file that the schema does not know is refused by name. A problem never stops the walk: a person
who starts the program gets all of them at once. What is wrong is left out of the result.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec.inspect as mi
from msgspec import UNSET, UnsetType

from airlock.core import units
from airlock.core.clock import moment
from airlock.core.document import Node
from airlock.core.errors import ConfigError
from airlock.core.schema import ALIASES, bare, describe, keys, optional

_WORDS = {"warning": "warn"}
"""What most loggers call the level between info and error."""

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_TRUE_FALSE = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Reader:
    """Reads one tree.

    `problems` grows in the order of the schema. `places` and `origins` go from dotted key to the place where
    it was written: `places` has sections too, `origins` every value that counts, defaults included.
    """

    def __init__(
        self, *, overrides: Mapping[str, Node], known: Iterable[str], problems: list[ConfigError]
    ) -> None:
        self._overrides = overrides
        self._homes = {key.rpartition(".")[2]: key for key in known}
        self._blamed: set[str] = set()
        self.problems = problems
        self.places: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self.rows: dict[str, list[str]] = {}
        """Keys of the items of a list that could be read, in the order of the result."""

    def blame(self, key: str, what: str, hint: str = "", where: str = "") -> None:
        """Adds a problem, unless the key has one already: followers of a mistake only confuse."""
        if key not in self._blamed:
            named = f"{key}: {what}" if key else what
            self.problems.append(ConfigError(where or self.place(key), named, hint))
        self._blamed.add(key)

    def place(self, key: str) -> str:
        """Where a key was written, or else the nearest mapping around it."""
        while key not in self.places:
            key = key.rpartition(".")[0]
        return self.places[key]

    def struct(self, kind: mi.StructType, node: Node, key: str = "") -> dict[str, object] | UnsetType:
        """The readable values of a mapping; UNSET when a required one is not among them."""
        self.places[key] = node.where
        given = self._given(kind, node, key)
        values: dict[str, object] = {}
        for field in kind.fields:
            path = _join(key, field.name)
            value = self._field(field, self._overrides.get(path, given.get(field.name)), path)
            if value is not UNSET:
                values[field.name] = value
        complete = all(field.name in values for field in kind.fields if field.required)
        return values if complete else UNSET

    def _field(self, field: mi.Field, node: Node | None, key: str) -> object:
        if node is not None:
            return self._value(field.type, node, key)
        inner, _ = bare(field.type)
        if field.required:
            self.blame(key, "missing", f"expected {describe(field.type)}")
        elif isinstance(inner, mi.StructType):
            return self._unwritten(field, inner, key)
        else:
            self.origins[key] = "default"
        return UNSET

    def _unwritten(self, field: mi.Field, kind: mi.StructType, key: str) -> object:
        """A section that the file leaves out: its defaults, or nothing where no variable asks for it."""
        if not optional(field.type) or any(name.startswith(f"{key}.") for name in self._overrides):
            return self.struct(kind, Node(where="default", kind="mapping"), key)
        self.origins |= dict.fromkeys(keys(kind, f"{key}."), "default")
        return UNSET

    def _given(self, kind: mi.StructType, node: Node, key: str) -> dict[str, Node]:
        """The entries of a mapping under canonical names; unknown and doubled ones are refused."""
        names = [field.name for field in kind.fields]
        given: dict[str, Node] = {}
        for name, value in node.entries:
            path = _join(key, name)
            canonical = ALIASES.get(path, path).removeprefix(f"{key}.")
            if canonical in given:
                self.blame(path, "given twice", f"another spelling of {canonical}", value.where)
            elif canonical in names:
                given[canonical] = value
            else:
                self.blame(path, "unknown key", self._nearest(name, names), value.where)
        return given

    def _nearest(self, name: str, names: Sequence[str]) -> str:
        """The nearest key of this mapping, or the key of another section that is called like this."""
        snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).replace("-", "_").lower()
        if near := difflib.get_close_matches(snake, names, n=1):
            return f"did you mean {near[0]}?"
        if near := difflib.get_close_matches(snake, self._homes, n=1, cutoff=0.8):
            return f"did you mean {self._homes[near[0]]}?"
        return "known here: " + ", ".join(names)

    def _value(self, annotated: mi.Type, node: Node, key: str) -> object:
        """The value, or UNSET after blaming its key."""
        kind, unit = bare(annotated)
        self.places[key] = self.origins[key] = node.where
        if node.kind == "null" and optional(annotated):
            return None
        match kind, node.kind:
            case mi.StructType(), "mapping":
                del self.origins[key]
                return self.struct(kind, node, key)
            case mi.VarTupleType(item_type=item), "list":
                return self._items(item, node, key)
            case mi.DictType(value_type=value), "mapping":
                read = ((name, self._value(value, inner, _join(key, name))) for name, inner in node.entries)
                return {name: value for name, value in read if value is not UNSET}
            case ((mi.StructType() | mi.VarTupleType() | mi.DictType()), _):
                # Not repeated: a secret may have been written in place of the mapping that names its file.
                found = "nothing" if node.kind == "null" else f"a {node.kind} value"
                self.blame(key, f"found {found}", f"expected {describe(annotated)}")
            case _:
                try:
                    return _scalar(kind, unit, node)
                except ValueError:
                    right = f"expected {describe(annotated)}{_quotes(kind, unit, node)}"
                    self.blame(key, _found(node), right)
        return UNSET

    def _items(self, item: mi.Type, node: Node, key: str) -> list[object]:
        read = [
            (f"{key}.{index}", self._value(item, inner, f"{key}.{index}"))
            for index, inner in enumerate(node.items)
        ]
        self.rows[key] = [row for row, value in read if value is not UNSET]
        return [value for _, value in read if value is not UNSET]


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _scalar(kind: mi.Type, unit: str, node: Node) -> object:
    """The value of a scalar. Raises ValueError where it is not what the type asks for."""
    match kind:
        case mi.IntType() | mi.FloatType():
            return _number(kind, unit, node)
        case mi.BoolType() if node.kind == "boolean" and node.text.lower() in _TRUE_FALSE:
            return _TRUE_FALSE[node.text.lower()]
        case mi.LiteralType(values=values) if node.kind == "text":
            word = _WORDS.get(node.text.lower(), node.text.lower())
            if word in values:
                return word
        case mi.StrType() if unit == "rate":
            return units.show_rate(units.rate(node.text))
        case mi.StrType(pattern=pattern) if node.kind == "text":
            if pattern is None or re.fullmatch(pattern, node.text):
                return node.text
        case _:
            pass
    raise ValueError("not what the type asks for")


def _number(kind: mi.IntType | mi.FloatType, unit: str, node: Node) -> float:
    if unit == "moment":  # whatever YAML takes it for: it has a type of its own for some spellings
        value = moment(node.text)
    elif unit and node.kind in ("text", "number"):
        value = units.duration(node.text) if unit == "duration" else units.size(node.text)
    elif node.kind == "number" and _WHOLE.fullmatch(node.text):
        value = int(node.text)
    else:
        raise ValueError("not a number")
    inside = (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
    )
    if not inside:
        raise ValueError("out of range")
    return value


def _found(node: Node) -> str:
    if node.kind in ("null", "list", "mapping"):
        return "found nothing" if node.kind == "null" else f"found a {node.kind}"
    return f"found `{node.text[:40]}`"


def _quotes(kind: mi.Type, unit: str, node: Node) -> str:
    """YAML takes `on`, `12` and `2026-01-01` for other things than text."""
    unquoted = isinstance(kind, mi.StrType) and not unit and node.kind in ("number", "boolean", "other")
    return "; put it in quotes" if unquoted else ""
