"""What came to decide, and by whom: one change of the policy in force. Times: Unix seconds."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["start", "reload", "rollback", "refused"]
"""How it came: with the program, by reading the files again, from those that were kept; or not at all,
because something is wrong with it."""


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `revision` and `before` are SHA-256 of policies, hex; empty: none."""

    n: int = 0
    """Rises from change to change."""
    revision: str
    before: str = ""
    """What decided until then."""
    kind: Kind
    at: float
    by: str
    """Who asked: `issuer|subject`, several joined by ` and `; `start`; `SIGHUP`."""
    origin: str = ""
    """Where the policy was read from; empty for a rollback."""
    reason: str = ""
    incident: str = ""
    against: str | None = None
    """Of a rollback: the revision of the files that it stands over, empty where they cannot be read; None:
    no gateway has taken it over yet."""


def holds(last: Revision | None, files: str) -> bool:
    """Whether the last change that was not refused is a rollback that goes on while the operator's files have
    this revision."""
    return last is not None and last.kind == "rollback" and last.against in (None, files)


def undone(changes: list[Revision]) -> frozenset[int]:
    """Numbers of the changes (oldest first) that a rollback took back: they brought what it replaced."""
    found: set[int] = set()
    for number, change in enumerate(changes):
        if change.kind != "rollback":
            continue
        brought = [
            each.n for each in changes[:number] if each.revision == change.before and each.kind != "refused"
        ]
        found.update(brought[-1:])
    return frozenset(found)


def previous(changes: list[Revision]) -> str:
    """What decided before the last policy that was loaded (`changes` oldest first, none refused): what a
    rollback took back is passed over. Empty: nothing did."""
    if not changes:
        return ""
    current, taken = changes[-1].revision, undone(changes)
    loaded = [each for each in changes if each.kind != "rollback"]
    place = max((n for n, each in enumerate(loaded) if each.revision == current), default=len(loaded))
    earlier = (each for each in reversed(loaded[:place]) if each.n not in taken)
    return next((each.revision for each in earlier if each.revision != current), "")
