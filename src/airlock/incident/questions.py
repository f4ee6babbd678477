"""Stored questions to the audit log: every figure of a document comes from one, and can be asked again.

A question is a file of `queries/`: its first line says what it answers, the rest is one SELECT with the
parameters `:since` and `:until`, the bounds of a window in the form of `timestamp` columns. The digest of an
answer covers the question, the window and every row; whoever asks the same log again gets the same one.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from airlock.audit import query
from airlock.core.clock import Clock, timestamp
from airlock.model.incident import Basis

NAMES = (
    "affected_users",
    "affected_tools",
    "calls",
    "denials",
    "sources",
    "redactions",
    "individuals",
)
"""What is asked of every incident."""

COMPLIANCE = ("hours", "denials", "fail_open", "unapproved_tools")
"""What a compliance report asks."""

INTEGRITY = "integrity"
"""Whether the log itself is genuine: an answer of `airlock audit verify`, in the form of the others."""

GAPS = "gaps"
"""What is missing from the log: an answer of `airlock audit gaps`, in the form of the others."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One stored question. `sha256` is that of its SQL."""

    name: str
    title: str
    sql: str
    sha256: str


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of an answer. `problem` says why there is none, or why it is not whole."""

    query: str
    title: str
    since: str
    until: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[object, ...], ...] = ()
    digest: str = ""
    """SHA-256 over question, window and rows; empty where there is no answer."""
    basis: Basis = "observed"
    problem: str = ""

    @property
    def known(self) -> bool:
        """Whether there is an answer."""
        return bool(self.digest)

    def number(self, column: str) -> int | None:
        """The value of a column of the only row; None where there is no answer."""
        if not self.rows:
            return None
        value = self.rows[0][self.columns.index(column)]
        return value if isinstance(value, int) else None

    def total(self, column: str) -> int | None:
        """The sum of a column; None where there is no answer."""
        if not self.known:
            return None
        at = self.columns.index(column)
        return sum(value for row in self.rows if isinstance(value := row[at], int))

    def column(self, name: str) -> tuple[str, ...]:
        """The distinct texts of a column, in order."""
        at = self.columns.index(name) if name in self.columns else 0
        return tuple(dict.fromkeys(str(row[at]) for row in self.rows if row[at] not in (None, "")))

    @property
    def citation(self) -> str:
        """How a document names it: `affected_users, sha256 0123456789abcdef, observed`."""
        return f"{self.query}, sha256 {self.digest[:16]}, {self.basis}"


@cache
def question(name: str) -> Question:
    """A question by its name. Raises `LookupError`."""
    if not name.isidentifier():
        raise LookupError(f"no stored question is called {name[:64]!r}")
    try:
        text = files("airlock.incident").joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")
    except FileNotFoundError as missing:
        raise LookupError(f"no stored question is called {name[:64]!r}") from missing
    title, _, sql = text.partition("\n")
    return Question(
        name=name,
        title=title.removeprefix("-- "),
        sql=sql.strip(),
        sha256=hashlib.sha256(sql.strip().encode()).hexdigest(),
    )


def ask(
    audit: Path, name: str, *, since: float, until: float, clock: Clock, most: int = query.LIMIT
) -> Answered:
    """Answer a stored question about the window from `since` until before `until`, in Unix seconds.

    At most `most` rows. Where the log cannot be asked the answer says so; nothing is raised for that.
    """
    asked = question(name)
    window = {"since": timestamp(since), "until": timestamp(until)}
    empty = Answered(query=name, title=asked.title, since=window["since"], until=window["until"])
    try:
        answer = query.run(audit, asked.sql, window, clock=clock, limit=most)
    except (query.QueryRefused, sqlite3.Error, OSError) as error:
        return msgspec.structs.replace(empty, problem=str(error))
    problem = f"only the first {len(answer.rows)} rows" if answer.truncated else ""
    return answered(empty, answer.columns, answer.rows, sql=asked.sha256, problem=problem)


def answered(
    empty: Answered,
    columns: Iterable[str],
    rows: Iterable[tuple[object, ...]],
    *,
    sql: str,
    problem: str = "",
) -> Answered:
    """An answer with its digest. `sql` names what was asked, beside the title."""
    found = msgspec.structs.replace(empty, columns=tuple(columns), rows=tuple(rows), problem=problem)
    whole = [found.query, sql, found.since, found.until, found.columns, found.rows]
    return msgspec.structs.replace(found, digest=hashlib.sha256(msgspec.json.encode(whole)).hexdigest())


def as_json(found: Answered) -> dict[str, object]:
    """The answer as plain values, rows by column."""
    plain: dict[str, object] = msgspec.to_builtins(found)
    plain["rows"] = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    return plain


def verdict(answers: Iterable[Answered]) -> int:
    """The exit code of a compliance report: 0 good, 1 bad, 3 where an answer is missing, not whole, or says
    nothing."""
    by_name = {each.query: each for each in answers}
    gaps, minutes, tools = by_name[GAPS], by_name["fail_open"], by_name["unapproved_tools"]
    bad = any(row[gaps.columns.index("result")] == "gap" for row in gaps.rows)
    if bad or minutes.rows or tools.total("called"):
        return 1
    doubt = bool(gaps.rows) or not all(each.known and not each.problem for each in by_name.values())
    return 3 if doubt else 0
