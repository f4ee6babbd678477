"""A row of the audit log as the rules that act at once see it: what every rule sees, and a few facts that
only counting needs. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from airlock.incident.detect.seen import SELECT, Seen, of_row

__all__ = ("SELECT", "Fact", "fact")

_METADATA = 19
"""Where `SELECT` has the metadata."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    seen: Seen
    subject_marks: tuple[int, ...] = ()
    token_marks: tuple[int, ...] = ()
    """Short hashes of what a stranger tried: rows of several windows and workers are united by them."""
    lease: str = ""
    """The lease that refused a call, or that the row is about."""
    issuer: str = ""
    """The identity provider that was looked at."""


class _More(msgspec.Struct):
    subject_marks: tuple[int, ...] = ()
    token_marks: tuple[int, ...] = ()
    lease_id: str = ""
    issuer: str = ""


_more = msgspec.json.Decoder(_More).decode

_TOLD = frozenset({"token_validate", "discovery", "lease_applied", "login"})
"""Actions whose rows have more facts; refusals by a lease have them too."""


def fact(row: Sequence[Any]) -> Fact | None:
    """One row of `SELECT`; None for what the gateway did itself to see whether it works."""
    seen = of_row(row)
    if seen is None:
        return None
    if seen.action not in _TOLD and not seen.reason.startswith("contained"):
        return Fact(seen=seen)
    try:
        more = _more(row[_METADATA] or b"{}")
    except (msgspec.DecodeError, UnicodeError):
        more = _More()
    return Fact(
        seen=seen,
        subject_marks=more.subject_marks,
        token_marks=more.token_marks,
        lease=more.lease_id,
        issuer=more.issuer,
    )
