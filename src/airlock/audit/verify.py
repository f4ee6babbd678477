"""Proves or refutes the log from its stored rows: decides on values, reads nothing by itself.

L1: every entry hashes to what its row says, and every row names the hash of the one before.
L2: every column equals the entry, every personal value its commitment, every tenant counts without a hole.
What is hashed is what is stored; nothing is serialised again. A skeleton row (content pruned) keeps
its links. Neither layer stops somebody who may write the database and hashes everything anew up to the
head, or cuts the end: `NOT_PROVEN` says so in every report, before anything else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.audit import entry as form
from airlock.audit.rows import COLUMNS, LINK, ChainRow, Columned, Unreadable, columns, opening, read
from airlock.audit.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

LISTED = 1000
"""Findings listed in full; more are counted."""

_ABSENT = form.UNSTORED | {"inputs"}
"""Committed fields whose values may lawfully be absent: never stored, or erased before their row."""

_DATA = msgspec.json.Decoder(dict[str, str])
_COLUMNS_END = len(LINK) + len(COLUMNS)

NOT_PROVEN: tuple[str, ...] = (
    "No signed checkpoint exists: whoever can write the database can change, drop or add rows and compute "
    "every later hash anew up to the head. L1-L2 pass such a log.",
    "The newest rows of a chain, or a whole chain, can be cut off together with their line in "
    "audit_chains. L1-L2 pass what is left.",
    "No witness holds a copy of the head: an older copy of the whole host, put back, passes.",
    "Times are this host's word: no independent time is recorded.",
    "Arguments and results are committed, not stored: only who still has them can hold them against "
    "the commitments.",
)
"""What L1-L2 cannot show, the gravest first."""


class Exit(IntEnum):
    """Exit codes of a verification."""

    PROVEN = 0
    TAMPERED = 1
    NOT_RUN = 2
    UNPROVEN = 3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One contradiction: where it is, what should stand there, and what does."""

    code: str
    chain_uid: str
    seq: int | None = None
    id: str = ""
    what: str
    expected: str = ""
    seen: str = ""


class Findings:
    """Collects findings; lists the first `LISTED`, counts all."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []
        self.count = 0

    def add(self, finding: Finding) -> None:
        self.count += 1
        if len(self.listed) < LISTED:
            self.listed.append(finding)


class Walk:
    """Verifies one chain, row after row in order of `seq`.

    `predecessor` answers which `seq` of this chain has a hash: it tells a fork from a broken link.
    `first` > 1 starts in the middle: then the first row's own link is taken on trust.
    """

    def __init__(
        self,
        chain_uid: str,
        found: Findings,
        *,
        predecessor: Callable[[str], int | None],
        first: int = 1,
    ) -> None:
        self.chain_uid = chain_uid
        self.first = first
        self.rows = 0
        self.skeletons = 0
        self.pruned: list[tuple[int, int]] = []
        """Ranges of skeletons, each with first and last `seq`: the first `LISTED`."""
        self.last_seq = first - 1
        self._found = found
        self._predecessor = predecessor
        self._trusting = first > 1
        self._last: tuple[object, ...] = (None,)
        self._opening: Columned | None = None
        self._opaque = 0
        """Rows that could not be read: pruned, damaged or missing. Whose they were is unknown."""
        self._tenants: dict[str, tuple[int | None, int]] = {}

    def step(self, row: tuple[Any, ...]) -> None:
        """Check one row: the columns of `LINK` and `COLUMNS`, then n, salt, subject, source_ip, data."""
        seq, stored, previous, entry = row[2], row[5], row[6], row[8]
        self.rows += 1
        if seq != self.last_seq + 1:
            self._out_of_order(row)
        elif previous not in self._last and not self._trusting:
            self._unlinked(row)
        duplicate = seq == self.last_seq
        self._trusting = False
        computed = stored
        if entry is None:
            self._skeleton(row)
        else:
            computed = self._content(row)
        # Either hash of a changed row may be the one that its successor names: one finding, not two.
        self._last = (*self._last, stored, computed) if duplicate else (stored, computed)
        if isinstance(seq, int):
            self.last_seq = seq

    def finish(self, line: ChainRow | None) -> None:
        """Hold the walk against the chain's line in `audit_chains` (None: there is none)."""
        if line is None:
            self._report(None, "V-SIZE", "the chain has rows but no line in audit_chains", "a line", "none")
            return
        if line.head_seq != self.last_seq:
            what = "the rows do not end where audit_chains says"
            self._report(None, "V-SIZE", what, f"seq {line.head_seq}", f"seq {self.last_seq}")
        elif self.rows and line.head_hash not in self._last:
            what = "the newest row has another hash than audit_chains says"
            self._report(None, "V-LINK", what, line.head_hash, self._last[-1])
        if self._opening is not None:
            wanted = (*opening(self._opening), self._opening.timestamp)
            seen = (line.origin, line.predecessor, line.opened_at)
            if wanted != seen:
                what = "the line in audit_chains differs from the chain's first entry"
                self._report(None, "V-COLUMN", what, wanted, seen)

    def _report(
        self, row: tuple[Any, ...] | None, code: str, what: str, expected: object, seen: object
    ) -> None:
        where = (None, "") if row is None else (row[2], row[3])
        self._found.add(
            Finding(
                code=code,
                chain_uid=str(self.chain_uid),
                seq=where[0] if isinstance(where[0], int) else None,
                id=visible(where[1]),
                what=what,
                expected=_shown(expected),
                seen=_shown(seen),
            )
        )

    def _out_of_order(self, row: tuple[Any, ...]) -> None:
        seq, wanted = row[2], self.last_seq + 1
        if not isinstance(seq, int):
            self._report(row, "V-SEQ", "seq is no number", wanted, seq)
        elif seq < wanted:
            self._report(row, "V-FORK", f"a second row claims seq {seq}", wanted, seq)
        elif self.rows == 1:
            self._opaque += seq - wanted
            what = f"the chain begins at seq {seq}: rows before it are gone"
            self._report(row, "V-LINK", what, wanted, seq)
        else:
            self._opaque += seq - wanted
            what = f"rows {wanted} to {seq - 1} are missing before this one"
            self._report(row, "V-LINK", what, wanted, seq)

    def _unlinked(self, row: tuple[Any, ...]) -> None:
        origin = None if row[6] is None else self._predecessor(row[6])
        if origin is None:
            self._report(row, "V-LINK", "previous_hash names no row before it", self._last[-1], row[6])
        else:
            what = f"the row follows seq {origin}, which already has a successor"
            self._report(row, "V-FORK", what, self._last[-1], row[6])

    def _skeleton(self, row: tuple[Any, ...]) -> None:
        """A pruned row keeps its links alone: whatever else it shows, no entry backs."""
        self.skeletons += 1
        self._opaque += 1
        values = zip(COLUMNS, row[len(LINK) : _COLUMNS_END], strict=True)
        if shown := [name for name, value in values if value is not None]:
            what = "the row has no entry, but columns that only an entry fills"
            self._report(row, "V-COLUMN", what, None, ", ".join(shown))
        if row[_COLUMNS_END] is not None:
            self._report(row, "V-COMMIT", "the row has no entry, but personal values", "none", "a row")
        seq = row[2]
        if self.pruned and self.pruned[-1][1] + 1 == seq:
            self.pruned[-1] = (self.pruned[-1][0], seq)
        elif isinstance(seq, int) and len(self.pruned) < LISTED:
            self.pruned.append((seq, seq))

    def _content(self, row: tuple[Any, ...]) -> str:
        """L1 and L2 of one row's entry; the hash of what is stored."""
        entry, stored = row[8], row[5]
        if not isinstance(entry, bytes):
            self._opaque += 1
            self._report(row, "V-HASH", "the entry is not stored as bytes", "bytes", type(entry).__name__)
            return stored
        computed = form.entry_hash(entry)
        if computed != stored:
            self._opaque += 1
            self._report(row, "V-HASH", "the entry does not have the row's hash", stored, computed)
            return computed
        leaf = form.leaf_hash(entry)
        if leaf != row[7]:
            self._report(row, "V-HASH", "the entry does not have the row's leaf_hash", leaf.hex(), row[7])
        try:
            parsed = read(entry)
        except Unreadable as error:
            self._report(row, "V-COLUMN", "the entry cannot be read", "an entry of format 1", error)
            return computed
        if row[2] == 1:
            self._opening = parsed
        self._placed(row, parsed)
        if columns(parsed) != row[len(LINK) : _COLUMNS_END]:
            self._columns(row, parsed)
        self._personal(row, parsed.commit)
        if parsed.tenant is not None:
            self._tenant(row, parsed.tenant, parsed.tenant_seq)
        return computed

    def _placed(self, row: tuple[Any, ...], entry: Columned) -> None:
        if entry.previous_hash != row[6]:
            what = "previous_hash differs from the entry"
            self._report(row, "V-LINK", what, entry.previous_hash, row[6])
        if (entry.chain_uid, entry.seq) != (row[1], row[2]):
            what = "the entry belongs to another place"
            self._report(row, "V-SEQ", what, f"{entry.chain_uid} {entry.seq}", f"{row[1]} {row[2]}")
        for name, wanted, seen in (("id", entry.id, row[3]), ("timestamp", entry.timestamp, row[4])):
            if wanted != seen:
                self._report(row, "V-COLUMN", f"column {name} differs from the entry", wanted, seen)

    def _columns(self, row: tuple[Any, ...], entry: Columned) -> None:
        for name, wanted, seen in zip(COLUMNS, columns(entry), row[len(LINK) : _COLUMNS_END], strict=True):
            if wanted != seen:
                self._report(row, "V-COLUMN", f"column {name} differs from the entry", wanted, seen)

    def _tenant(self, row: tuple[Any, ...], tenant: str, counter: int | None) -> None:
        """`tenant_seq` counts without a hole; rows that could not be read may have been that tenant's."""
        last, opaque = self._tenants.get(tenant, (0 if self.first == 1 else None, 0))
        if counter is None:
            self._report(row, "V-SEQ", "the entry names a tenant but no tenant_seq", "a number", None)
            return
        if last is not None and not 0 <= counter - last - 1 <= self._opaque - opaque:
            what = f"tenant_seq of tenant {_shown(tenant)} does not follow"
            self._report(row, "V-SEQ", what, last + 1, counter)
        self._tenants[tenant] = (counter, self._opaque)

    def _personal(self, row: tuple[Any, ...], commit: dict[str, str]) -> None:
        """Personal values against their commitments. `arguments` and `result` are never stored."""
        n, salt, subject, source_ip, data = row[_COLUMNS_END:]
        if n is None:
            if commit:
                what = "the entry commits to personal values, but their row is gone"
                self._report(row, "V-PERSONAL", what, ", ".join(sorted(commit)), "no row in audit_personal")
            return
        values = _values(subject, source_ip, data)
        if values is None or not isinstance(salt, bytes):
            self._report(row, "V-COMMIT", "the personal row cannot be read", "salt and texts", data)
            return
        for field, value in values.items():
            committed, seen = commit.get(field), form.commitment(salt, field, value)
            if committed != seen:
                what = f"personal value {_shown(field)} differs from its commitment"
                self._report(row, "V-COMMIT", what, committed, seen)
        for field in commit.keys() - values.keys() - _ABSENT:
            what = f"personal value {_shown(field)} is committed but not stored"
            self._report(row, "V-PERSONAL", what, commit[field], None)


def _values(subject: object, source_ip: object, data: object) -> dict[str, str] | None:
    """The stored personal values by field; None where the row holds something else than texts."""
    named = {"subject": subject, "source_ip": source_ip}
    values = {field: value for field, value in named.items() if value is not None}
    try:
        others = {} if data is None else _DATA.decode(cast("str", data))
        if not named.keys().isdisjoint(others):
            return None  # a true value hidden behind a false column
        values.update(others)
        # What a foreign hand stored may be a number, or text that UTF-8 does not carry.
        "".join(cast("dict[str, str]", values).values()).encode()
    except (msgspec.DecodeError, UnicodeEncodeError, TypeError, RecursionError):
        return None
    return cast("dict[str, str]", values)


def _shown(value: object) -> str:
    return "NULL" if value is None else visible(value, 120)
