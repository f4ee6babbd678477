"""A fragment of a configuration: a few keys for now, laid over the whole one that stays in force.

Runbooks replace a whole file to change two keys. Such a file must not take servers, identity providers or
policy away, so it is never a configuration: it says what is asked for, and `airlock.model.overrides` says
what becomes of that.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import cast

import msgspec
import msgspec.inspect as mi

from airlock.core import document
from airlock.core.config import Config
from airlock.core.document import Node, Place
from airlock.core.errors import ConfigError
from airlock.core.schema import ALIASES, keys
from airlock.core.shape import Reader

TIGHTENING = (
    "rate_limiting.per_token",
    "rate_limiting.per_ip",
    "rate_limiting.per_tenant",
    "logging.level",
    "logging.audit_all_requests",
    "monitoring.enhanced",
)
"""Protection: a fragment can make it stricter."""

TUNING = ("policy.cache_ttl", "policy.cache_size", "server.max_connections", "server.max_clients")
"""Capacity: a fragment can change it within bounds."""

DURATION = "monitoring.duration"
"""How long, not what."""

KEYS = frozenset((*TIGHTENING, *TUNING, DURATION))

LARGEST = 64 * 1024
"""Bytes of a fragment: ten keys, and room for comments."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a fragment. `where` is `FILE:LINE`."""

    key: str
    value: object
    where: str


class Fragment(msgspec.Struct, frozen=True, kw_only=True):
    """What a fragment asks for, in the order of the schema, and how long closer monitoring is to last."""

    asked: tuple[Asked, ...]
    duration: float | None = None
    """Seconds; None where it is not said."""


def read(data: bytes, place: Place) -> Fragment:
    """The fragment that this text is; nothing, and comments alone, ask for nothing.

    Raises ConfigError, whose `problems` are all that could be found: what no configuration could hold, and
    keys that only a whole configuration can.
    """
    if len(data) > LARGEST:
        raise ConfigError(place(1), f"larger than {LARGEST} bytes", "a fragment has a few keys")
    problems: list[ConfigError] = []
    root = document.parse(data, place, problems)
    if root.kind == "null":
        return Fragment(asked=())
    if root.kind != "mapping":
        raise ConfigError(root.where, f"found a {root.kind} value", "expected sections, such as `logging:`")
    return _read(root, {}, problems)


def single(key: str, text: str) -> Fragment:
    """The fragment of one key, in any of its spellings, with a value written as in a file. Raises
    ConfigError."""
    found = canonical(key)
    if found not in KEYS or found == DURATION:
        near = difflib.get_close_matches(found, KEYS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join((*TIGHTENING, *TUNING))}"
        raise ConfigError(key[:64], "no key that can be set for a while", hint)
    problems: list[ConfigError] = []
    node = document.parse(text, lambda _: found, problems)
    return _read(Node(where="default", kind="mapping"), {found: node}, problems)


def canonical(key: str) -> str:
    """The one spelling of a dotted key."""
    section, _, name = key.partition(".")
    whole = f"{ALIASES.get(section, section)}.{name}"
    return ALIASES.get(whole, whole)


def _read(root: Node, overrides: Mapping[str, Node], problems: list[ConfigError]) -> Fragment:
    schema = cast("mi.StructType", mi.type_info(Config))
    reader = Reader(overrides=overrides, known=keys(schema), problems=problems)
    values = reader.struct(schema, root)
    written = {key: where for key, where in reader.origins.items() if where != "default"}
    for key, where in written.items():
        if key not in KEYS:
            hint = f"an overlay can hold {', '.join((*TIGHTENING, *TUNING, DURATION))}"
            reader.blame(key, "belongs into the whole configuration", hint, where)
    if problems:
        raise ConfigError.together(problems)
    config = msgspec.convert(values, Config)
    asked = [Asked(key=key, value=value_of(config, key), where=where) for key, where in written.items()]
    duration = config.monitoring.duration if DURATION in written else None
    return Fragment(asked=tuple(each for each in asked if each.key != DURATION), duration=duration)


def value_of(config: Config, key: str) -> object:
    """The value of one of `KEYS`."""
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)
