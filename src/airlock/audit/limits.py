"""Limits that make sorted compact JSON and RFC 8785 write the same bytes, and that bound an entry.

Pure. Too long is cut and replaced by a digest, so that no client can make its own call unrecordable;
a value without canonical form is misuse and raises ValueError.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from airlock.model import exact

ENTRY_MAX = 65_535
"""Bytes; entry bundles of C2SP tlog-tiles carry a 16-bit length."""
METADATA_MAX = 32 * 1024
IDENTITY_MAX = 4 * 1024
TEXT_MAX = 2_048
"""Bytes of one encoded text field. Ten of them, metadata and identity at their caps stay below ENTRY_MAX."""
PERSONAL_TEXT_MAX = 8 * 1024
"""Bytes of one encoded personal text: a client chooses the length of its user agent."""

_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}")
_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical(value: object) -> bytes:
    """Sorted compact JSON; equal to RFC 8785 for every value that passes the checks of this module."""
    return _ENCODER.encode(value)


def clip(text: str, limit: int = TEXT_MAX) -> str:
    """A text of at most `limit` encoded bytes: unchanged, or its beginning and the SHA-256 of the whole."""
    # No character takes more than 6 bytes of JSON, so a short text needs no second look.
    if len(text) < limit // 6 or len(_ENCODER.encode(text)) <= limit:
        return text
    return f"{text[: limit // 6 - 80]}...sha256:{sha256(text.encode()).hexdigest()}"


def check_timestamp(text: str) -> str:
    """The text itself, or ValueError if it is not in the 26-character form."""
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError(f"timestamp {text!r} is not YYYY-MM-DD HH:MM:SS.ffffff")
    return text


def count(number: int) -> int:
    if not 0 <= number <= exact.INTEGER_MAX:
        raise ValueError(f"{number} is no count below 2^53")
    return number


def bounded(members: dict[str, Any], limit: int) -> Raw | UnsetType:
    """The canonical bytes of `members`; what exceeds `limit` gives way to its digest."""
    if not members:
        return UNSET
    exact.check(members)
    encoded = canonical(members)
    return Raw(encoded if len(encoded) <= limit else _truncated(members, limit))


def _truncated(members: dict[str, Any], limit: int) -> bytes:
    """Keep the smallest members that fit together, name the rest by the digest of their canonical form."""
    sizes = sorted((len(canonical(value)) + len(key) + 4, key) for key, value in members.items())
    kept: dict[str, Any] = {}
    room = limit - 128
    for size, key in sizes:
        room -= size
        if room >= 0:
            kept[key] = members[key]
    rest = {key: value for key, value in members.items() if key not in kept}
    return canonical({**kept, "overflow_digest": sha256(canonical(rest)).hexdigest(), "truncated": True})
