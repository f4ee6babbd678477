"""Calls that passed while policy answered nothing, judged again once it answers.

A call of which nothing is left that policy could be asked (its inputs were erased, or their key is gone)
stays open until two people waive it: "cannot tell" never becomes "was fine".
"""

from __future__ import annotations

import base64
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from airlock.audit import database
from airlock.core.clock import timestamp
from airlock.core.errors import PolicyFault
from airlock.model.decision import Decision
from airlock.model.grant import Debt, Grant
from airlock.model.lease import Unfit
from airlock.model.principal import one_person

UNTOLD = "cannot tell"
"""How the reason of a debt begins that policy cannot be asked about."""

_PASSED = """
SELECT l.id, l.request_id, l.phase, l.timestamp, COALESCE(l.tenant, ''), COALESCE(p.subject, ''),
  COALESCE(l.resource, ''), COALESCE(json_extract(p.data, '$.inputs'), '')
FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n
WHERE l.timestamp >= ? AND l.event_type = 'call' AND json_extract(l.metadata, '$.grant') = ?
ORDER BY l.timestamp, l.id
"""


class Passed(NamedTuple):
    """One call that a grant let through."""

    id: str
    request: str
    phase: str
    timestamp: str
    tenant: str
    subject: str
    resource: str
    inputs: str
    """Encrypted, base64; empty: nothing was kept, or it was erased."""


class Opens(Protocol):
    """Decrypts what was kept for replay. Raises `ValueError`."""

    def open(self, purpose: str, text: str) -> bytes: ...


class Decides(Protocol):
    """Answers one encoded question. Raises `PolicyFault` where it cannot."""

    def decide(self, question: bytes) -> Decision: ...


def passed(path: Path, grant: Grant) -> list[Passed]:
    """The calls that a grant let through, each once and always by the same row: its intent, which is there
    before anything is sent. Raises `sqlite3.Error`."""
    with closing(database.open_reader(path)) as log:
        rows = [Passed(*row) for row in log.execute(_PASSED, (timestamp(grant.granted_at), grant.id))]
    first = {row.request: row for row in sorted(rows, key=lambda row: row.phase == "intent")}
    return sorted(first.values(), key=lambda row: (row.timestamp, row.id))


def owed(row: Passed, grant: Grant) -> Debt:
    """The debt of a call, not judged."""
    return Debt(
        id=row.id,
        grant=grant.id,
        incident=grant.incident,
        state="open",
        at=row.timestamp,
        tenant=row.tenant,
        subject=row.subject,
        resource=row.resource,
        why="policy was not asked yet",
    )


def judged(debt: Debt, row: Passed | None, *, opens: Opens | None, engine: Decides) -> Debt:
    """The debt after policy was asked what it would have said. Raises `PolicyFault` where it still answers
    nothing."""
    question = None if row is None else _question(row, opens)
    if question is None:
        why = "what policy would be asked is not kept"
        return debt if untold(debt) else msgspec.structs.replace(debt, why=f"{UNTOLD}: {why}")
    try:
        decision = engine.decide(question)
    except PolicyFault as fault:
        if fault.reason != "policy_invalid":
            raise
        return msgspec.structs.replace(debt, state="violation", why=fault.reason)
    upheld = decision.allow is True and decision.approval is None
    why = decision.reason or ("allowed" if upheld else "denied")
    return msgspec.structs.replace(debt, state="upheld" if upheld else "violation", why=why)


def untold(debt: Debt) -> bool:
    """Whether nobody can tell what policy would have said of this call."""
    return debt.state == "open" and debt.why.startswith(UNTOLD)


def waived(debt: Debt, *, by: str, reason: str) -> Debt:
    """The debt with one waiver more; waived once two people did. Raises `Unfit`: `debt_settled`,
    `debt_unjudged` while policy may still answer, `approver_repeated`."""
    if debt.state != "open":
        raise Unfit("debt_settled", f"This call is judged: {debt.state}.")
    if not untold(debt):
        raise Unfit("debt_unjudged", "Policy is asked about this call as soon as it answers: wait for that.")
    if any(one_person(each, by) for each in debt.waivers):
        raise Unfit("approver_repeated", "You waived it: the second one is another person.")
    waivers = (*debt.waivers, by)
    state = "waived" if len(waivers) > 1 else "open"
    return msgspec.structs.replace(debt, waivers=waivers, state=state, why=f"{debt.why}; {reason}")


def _question(row: Passed, opens: Opens | None) -> bytes | None:
    if not row.inputs or opens is None:
        return None
    try:
        return opens.open("inputs", base64.b64decode(row.inputs).decode("ascii"))
    except ValueError:
        return None
