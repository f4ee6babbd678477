"""What each row of the tables comes to, from what its checks saw. Decides only; reads and writes nothing.

A row passes only when every check that it demands was made and held, when its answer under a fault is not
that at F0, and when its native command was good at F0 and not good under a fault. What could not be shown is
pending and names the part that it waits for; what only a cluster can show is never a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from tests.runbooks.registry import HEALTHY

CLUSTER = "cluster"
BAD = (1, 3)
"""Exit statuses of a native command that did not find all well, or could not prove it."""

QUESTIONS = (
    ("status",), ("doctor",), ("verify",), ("policy", "status"), ("policy", "check"), ("policy", "test"),
    ("audit", "verify"), ("audit", "gaps"), ("audit", "storage"), ("redaction", "verify"),
    ("redaction", "scan"),
)  # fmt: skip
"""Verbs that answer a question: 0 where all is well, `BAD` where it is not. The others act or show, and what
they showed is for the check to judge."""

Word = Literal["pass", "fail", "pending", "needs-cluster"]


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of `rows.toml`, where the fields are explained."""

    id: str
    title: str
    t: str
    faults: tuple[str, ...]
    sound: tuple[str, ...]
    native: str
    needs: str
    waits: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Native(msgspec.Struct, frozen=True, kw_only=True):
    """One native command that a check ran."""

    command: str
    rc: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one check of a row saw: the record of a `Run`, and whether the check held."""

    row: str
    fault: str
    proof: str = ""
    answer: str = ""
    commands: tuple[str, ...] = ()
    seconds: float = 0.0
    natives: tuple[Native, ...] = ()
    marks: tuple[str, ...] = ()
    replaced: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    tells: bool = True
    failure: str = ""
    """First line of why it did not hold; empty: it held."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a row came to, and why it is not a pass."""

    word: Word
    why: str = ""
    marks: tuple[str, ...] = ()


def judge(row: Row, seen: Sequence[Seen]) -> Verdict:
    """1. what waits as a whole  2. what did not hold  3. what was not shown  4. what tells no difference."""
    marks = _marks(row, seen)
    if row.needs:
        return Verdict(
            word="needs-cluster" if row.needs == CLUSTER else "pending", why=row.needs, marks=marks
        )
    for one in seen:
        if one.failure:
            return Verdict(word="fail", why=f"{one.fault}: {one.failure}", marks=marks)
    by_fault = {one.fault: one for one in seen}
    missing = [fault for fault in (HEALTHY, *row.faults) if fault not in by_fault and fault not in row.waits]
    if missing:
        return Verdict(word="pending", why=f"a check at {', '.join(missing)}", marks=marks)
    return _told_apart(row, by_fault, marks)


def _told_apart(row: Row, by_fault: Mapping[str, Seen], marks: tuple[str, ...]) -> Verdict:
    good = by_fault.get(HEALTHY)
    for fault, one in by_fault.items():
        if good is not None and fault != HEALTHY and one.tells and one.answer == good.answer:
            return Verdict(word="fail", why=f"the same answer at {HEALTHY} and {fault}", marks=marks)
    if not row.native or "native" in row.waits:
        return Verdict(word="pass", marks=marks)
    said = {fault: _native(row, one) for fault, one in by_fault.items()}
    if not any(said.values()):
        return Verdict(word="pending", why=f"a check of `{row.native}`", marks=marks)
    if _asks(row) and any(code != 0 for code in said.get(HEALTHY, ())):
        return Verdict(word="fail", why=f"`{row.native}` is not 0 at {HEALTHY}", marks=marks)
    bad = [fault for fault, codes in said.items() if fault != HEALTHY and any(code in BAD for code in codes)]
    if _asks(row) and len(by_fault) > 1 and not bad:
        return Verdict(word="fail", why=f"`{row.native}` is good under every fault", marks=marks)
    return Verdict(word="pass", marks=marks)


def _asks(row: Row) -> bool:
    """Whether the native command answers a question by its exit status."""
    words = row.native.removeprefix("airlock ").split()
    return any(words[: len(question)] == list(question) for question in QUESTIONS)


def _native(row: Row, one: Seen) -> list[int]:
    """Exit statuses of the row's native command in one check, in order. Its verb counts, not its options."""
    words = [word for word in row.native.split()[:3] if not word.startswith("-") and word.isalpha()]
    return [native.rc for native in one.natives if native.command.split()[: len(words)] == words]


def _marks(row: Row, seen: Sequence[Seen]) -> tuple[str, ...]:
    found = {mark for one in seen for mark in one.marks}
    if row.sound and any(not one.tells for one in seen if one.fault != HEALTHY):
        found.add("blind → native")
    return tuple(sorted(found))
