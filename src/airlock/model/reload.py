"""What became of a reload: what it changed, who took it over, and what was wrong where it was refused."""

from __future__ import annotations

from typing import Literal

import msgspec

AskedBy = Literal["signal", "api"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was wrong. `where` is `FILE:LINE`, or the key."""

    where: str
    what: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One reload. `acked` of `total` workers run what it brought."""

    result: Literal["accepted", "refused"]
    asked_by: AskedBy
    at: str
    changed: tuple[str, ...] = ()
    """Dotted keys of the configuration, servers by name; `policy` where its text is another."""
    sections: tuple[str, ...] = ()
    """Those of `changed`."""
    acked: int = 0
    total: int = 0
    problems: tuple[Problem, ...] = ()
