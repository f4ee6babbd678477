"""The parts of a question that a policy can read, byte for byte as the question has them.

Two questions with the same parts get the same answer. What a record keeps of a question needs no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airlock.policy.footprint import Names

TENANT = ("subject", "tenant")
"""Always a part, whatever the policy reads: tenants share no answer."""


class Facts:
    """Cuts questions to a proved footprint. Holds no state."""

    def __init__(self, paths: Iterable[Names]) -> None:
        self._decode = msgspec.json.Decoder(_facts(paths)).decode
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, question: bytes) -> bytes:
        """A JSON object with those parts of the question that there are.

        Raises `msgspec.DecodeError` or UnicodeDecodeError for what is no question.
        """
        return self._encode(self._decode(question))


def _facts(paths: Iterable[Names]) -> type[msgspec.Struct]:
    """A Struct that takes the named parts of a question as the bytes they are, and skips the others."""
    tree: dict[str, Any] = {}
    for path in sorted({TENANT, *paths}):  # a whole section comes before its parts
        place: dict[str, Any] | None = tree
        for name in path[:-1]:
            place = place.setdefault(name, {}) if place is not None else None
        if place is not None:
            place.setdefault(path[-1], None)
    return _struct(tree)


def _struct(tree: dict[str, Any]) -> type[msgspec.Struct]:
    """Names of arguments need not be names of Python: fields are numbered, and renamed in JSON."""
    names = {f"f{number}": name for number, name in enumerate(tree)}
    fields: list[tuple[str, Any, Any]] = [
        (field, (Raw if tree[name] is None else _struct(tree[name])) | UnsetType, UNSET)
        for field, name in names.items()
    ]
    return msgspec.defstruct("Facts", fields, rename=names, frozen=True, gc=False)
