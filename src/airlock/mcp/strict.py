"""Strict JSON: bytes become a value that every reader of the same bytes would see the same way, or nothing.

`parse` refuses what parsers disagree on (duplicate keys, keys that differ only in case, lone surrogates,
numbers out of range) and what exhausts them (depth, count, length); the depth is bounded before the decoder
recurses. `canonical` is the one form that digests are taken over (RFC 8785).

The trick behind the speed: outside its string literals, valid JSON has one colon for each key written. The
decoder keeps one of several equal keys, so fewer keys in the value than colons in the text mean a duplicate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, TypeGuard, cast

import msgspec

from airlock.core.errors import Rejected

MAX_DEPTH = 64
"""Arrays and objects inside each other; stock parsers recurse and stop anywhere from 100 to 1,000."""
MAX_VALUES = 100_000
"""Values of all kinds in one message, containers included."""
MAX_KEY_BYTES = 1024
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1

PARSE_ERROR = -32700
INVALID_REQUEST = -32600

_decode = cast("Callable[[bytes], Any]", msgspec.json.Decoder().decode)
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode

_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_FLOAT = re.compile(rb"[0-9][.e]")
_BEYOND_BMP = re.compile(rb"[\xf0-\xf4]")


def parse(raw: bytes, *, case_collisions: bool = False) -> Any:
    """Decode one JSON text (RFC 8259, I-JSON of RFC 7493 where it is stricter), or raise `Rejected`.

    1. Bound depth and count on the text alone.
    2. Decode.
    3. Measure the value: keys, values, integers.
    4. Refuse duplicate keys.
    5. Refuse keys of one object that differ only in case, unless `case_collisions` lets them pass
       (answers of servers: their property names are theirs).
    """
    skeleton = _without_strings(raw)  # 1
    _bound(skeleton)
    try:
        value = _decode(raw)  # 2
    except UnicodeDecodeError as error:
        raise _refuse(PARSE_ERROR, "parse_error", "The body is not valid UTF-8.") from error
    except msgspec.ValidationError as error:
        # An untyped decoder validates nothing but the range of numbers.
        raise _refuse(INVALID_REQUEST, "number_out_of_range", f"{error}: binary64 is the limit.") from error
    except msgspec.DecodeError as error:
        raise _refuse(PARSE_ERROR, "parse_error", f"The body is not one JSON text: {error}.") from error
    members, keys = _measure(value)  # 3
    if skeleton.count(b":") != members:  # 4
        raise _duplicate(raw)
    if len(raw) > MAX_KEY_BYTES:
        _bound_keys(keys)
    if not case_collisions and len(set(map(str.casefold, keys))) != len(keys):  # 5
        _refuse_collisions(value)
    return value


def _without_strings(raw: bytes) -> bytes:
    """The text less its string literals: structure, numbers and white space. Exact for valid JSON."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(raw.split(b'"')[::2])


def _bound(skeleton: bytes) -> None:
    opened = skeleton.count(b"[") + skeleton.count(b"{")
    # Both are lower bounds of the number of values: whoever passes cannot make the decoder fill the memory.
    if opened > MAX_VALUES or skeleton.count(b",") >= MAX_VALUES:
        raise _too_many()
    if opened > MAX_DEPTH and _deeper_than_allowed(skeleton):
        raise _refuse(INVALID_REQUEST, "too_deep", f"The JSON is nested deeper than {MAX_DEPTH} levels.")


def _deeper_than_allowed(skeleton: bytes) -> bool:
    """Peel the innermost brackets off, one level a round; brackets that never close count as they stand."""
    brackets = skeleton.translate(_TO_SQUARE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        peeled = brackets.replace(b"[]", b"")
        if len(peeled) == len(brackets):
            break
        brackets = peeled
    return b"[]" in brackets or brackets.count(b"[") > MAX_DEPTH


def _measure(value: Any) -> tuple[int, set[str]]:
    """How many members the objects have together, and their keys; counts values and checks integers."""
    members = 0
    keys: set[str] = set()
    nodes: list[Any] = [value]
    for node in nodes:
        kind = node.__class__
        if kind is str:
            continue
        if kind is dict:
            members += len(node)
            keys.update(node)
            nodes.extend(node.values())
        elif kind is list:
            nodes.extend(node)
        elif kind is int and not MIN_INTEGER <= node <= MAX_INTEGER:
            raise _refuse(
                INVALID_REQUEST, "integer_out_of_range", f"The integer {node} does not fit in signed 64 bits."
            )
    if len(nodes) > MAX_VALUES:
        raise _too_many()
    return members, keys


def _bound_keys(keys: Iterable[str]) -> None:
    for key in keys:
        if len(key) * 4 > MAX_KEY_BYTES and len(key.encode()) > MAX_KEY_BYTES:
            raise _refuse(
                INVALID_REQUEST, "key_too_long", f"The key {shown(key)} is longer than {MAX_KEY_BYTES} bytes."
            )


def _duplicate(raw: bytes) -> Rejected:
    """Find the key with the slow decoder, which shows every pair."""
    twice: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> None:
        names = sorted(name for name, _ in members)
        twice.extend(name for name, following in pairwise(names) if name == following)

    json.loads(raw, object_pairs_hook=pairs)
    return _refuse(
        INVALID_REQUEST, "duplicate_key", f"The key {shown(twice[0])} is written twice in one object."
    )


def _refuse_collisions(value: Any) -> None:
    nodes: list[Any] = [value]
    for node in nodes:
        if is_object(node):
            folded: dict[str, str] = {}
            for key in node:
                other = folded.setdefault(key.casefold(), key)
                if other != key:
                    raise _refuse(
                        INVALID_REQUEST,
                        "case_collision",
                        f"The keys {shown(other)} and {shown(key)} of one object differ only in case.",
                    )
            nodes.extend(node.values())
        elif is_array(node):
            nodes.extend(node)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """A JSON object, of any shape."""
    return type(value) is dict


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """A JSON array."""
    return type(value) is list


def shown(text: str) -> str:
    """A caller's own text inside a sentence for that caller: quoted, escaped, short."""
    return json.dumps(text if len(text) <= 64 else f"{text[:61]}...")


def _too_many() -> Rejected:
    return _refuse(INVALID_REQUEST, "too_many_values", f"The JSON holds more than {MAX_VALUES} values.")


def _refuse(code: int, reason: str, text: str) -> Rejected:
    return Rejected(400, code, reason, text)


class KnownKeys:
    """The keys that an object of the protocol may carry, and how to tell their variants."""

    __slots__ = ("folded", "names")

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)
        self.folded = {name.casefold(): name for name in names}


def check_known_keys(keys: Iterable[str], known: KnownKeys, where: str) -> None:
    """Refuse a key that is a known one in other case: some server would read it as the known one."""
    if known.names.issuperset(keys):
        return
    for key in keys:
        proper = known.folded.get(key.casefold(), key)
        if proper != key:
            raise _refuse(
                INVALID_REQUEST,
                "case_variant_key",
                f"The key {shown(key)} in {where} must be written {shown(proper)}.",
            )


def canonical(value: Any) -> bytes:
    """RFC 8785 form of a value that `parse` returned.

    Integers are written exactly, also beyond 2**53, where RFC 8785 would have them rounded to binary64:
    two different arguments must not share a digest.
    """
    encoded = _encode_sorted(value)
    if not encoded.isascii() and _BEYOND_BMP.search(encoded):
        return _encode(_ready(value, _utf16))
    if _FLOAT.search(encoded) and _FLOAT.search(_without_strings(encoded)):
        return _encode(_ready(value, None))
    return encoded


def _ready(value: Any, order: Callable[[str], bytes] | None) -> Any:
    """The value with its keys in order and its floats already written."""
    if is_object(value):
        return {key: _ready(value[key], order) for key in sorted(value, key=order)}
    if is_array(value):
        return [_ready(item, order) for item in value]
    if type(value) is float:
        return msgspec.Raw(ecma_number(value).encode())
    return value


def _utf16(key: str) -> bytes:
    """RFC 8785 orders keys by UTF-16 code units, which differs from code points beyond the BMP."""
    return key.encode("utf-16-be")


def ecma_number(number: float) -> str:
    """A finite binary64 as ECMAScript writes it (ECMA-262 `Number::toString`, RFC 8785 section 3.2.2.3).

    `repr` finds the same shortest digits; only zeros and the choice of an exponent differ.
    """
    if number < 0:
        return "-" + ecma_number(-number)
    mantissa, _, exponent = repr(number).partition("e")
    if not exponent:
        return mantissa.removeprefix("-").removesuffix(".0")
    power = int(exponent)
    whole, _, fraction = mantissa.partition(".")
    if 0 < power < 21:
        return whole + fraction.ljust(power, "0")
    if -7 < power < 0:
        return "0." + "0" * (-power - 1) + whole + fraction
    return f"{mantissa}e{power:+d}"
