"""YAML text as a tree in which every value knows where it was written.

Only what all readers of YAML understand alike is accepted: mappings with text keys, lists and plain values.
Duplicate keys, anchors, aliases, merge keys and tags are refused, so no value comes from a place that the
reader of the file does not see, and nothing can grow by expansion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import yaml

from airlock.core.errors import ConfigError

Place = Callable[[int], str]
"""From a line number (from 1) to the words that tell a person where that is."""

Kind = Literal["text", "number", "boolean", "null", "list", "mapping", "other"]

_SHAPES: dict[type[yaml.Node], tuple[Kind, ...]] = {
    yaml.ScalarNode: ("text", "number", "boolean", "null", "other"),
    yaml.SequenceNode: ("list", "other"),
    yaml.MappingNode: ("mapping", "other"),
}
"""What a value can be by the way it is written: a tag that says otherwise is believed in nothing."""

_TAGS: dict[str, Kind] = {
    "tag:yaml.org,2002:str": "text",
    "tag:yaml.org,2002:int": "number",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:bool": "boolean",
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:seq": "list",
    "tag:yaml.org,2002:map": "mapping",
}


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One value: `text` of a scalar as written, `items` of a list, `entries` of a mapping in file order."""

    where: str
    kind: Kind
    text: str = ""
    items: tuple[Node, ...] = ()
    entries: tuple[tuple[str, Node], ...] = ()


def parse(data: bytes | str, place: Place, problems: list[ConfigError]) -> Node:
    """The document as a tree; what is wrong with single keys and values is added to `problems`.

    Raises ConfigError where the text is not one YAML document: nothing more can be said of it then.
    """
    try:
        root = yaml.SafeLoader(data).get_single_node()
        if root is None:
            return Node(where=place(1), kind="null")
        return _Tree(place, problems).node(root, place(root.start_mark.line + 1))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(place(line), f"not readable as YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(place(1), "not readable as YAML: not printable UTF-8 text") from error
    except RecursionError as error:
        raise ConfigError(place(1), "not readable as YAML: nested too deeply") from error
    except ConfigError:
        raise
    except (ValueError, OverflowError) as error:  # of PyYAML's own: an escape or a version beyond all numbers
        raise ConfigError(place(1), "not readable as YAML: a number that is too large") from error


class _Tree:
    """Turns PyYAML's nodes into ours. An alias shows as a node that is met a second time."""

    def __init__(self, place: Place, problems: list[ConfigError]) -> None:
        self._place = place
        self._problems = problems
        self._met: set[int] = set()

    def node(self, node: yaml.Node, where: str) -> Node:
        """The node and all below it."""
        if id(node) in self._met:
            raise ConfigError(where, "an alias", "write the value again in its place")
        self._met.add(id(node))
        kind = _TAGS.get(node.tag, "other")
        if kind not in _SHAPES[type(node)]:
            kind = "other"
        if isinstance(node, yaml.ScalarNode):
            return Node(where=where, kind=kind, text=node.value)
        if isinstance(node, yaml.SequenceNode):
            return Node(where=where, kind=kind, items=self._items(node))
        return Node(where=where, kind=kind, entries=self._entries(node))

    def _items(self, node: yaml.SequenceNode) -> tuple[Node, ...]:
        items: list[yaml.Node] = node.value
        return tuple(self.node(item, self._place(item.start_mark.line + 1)) for item in items)

    def _entries(self, node: yaml.Node) -> tuple[tuple[str, Node], ...]:
        """The entries of a mapping; a value stands where its key stands."""
        entries: dict[str, Node] = {}
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
        for key, value in pairs:
            where = self._place(key.start_mark.line + 1)
            name: object = key.value
            if not isinstance(name, str) or _TAGS.get(key.tag) != "text":
                self._problems.append(ConfigError(where, "a key that is not text", "put the key in quotes"))
            elif name in entries:
                hint = f"the first is at {entries[name].where}"
                self._problems.append(ConfigError(where, f"{name}: given twice", hint))
            else:
                entries[name] = self.node(value, where)
        return tuple(entries.items())
