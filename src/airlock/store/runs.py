"""Runs of playbooks and the journals of their steps.

What changes leaves its row for the audit log in the same transaction. A step that says `started` has the
number of that row beside it: its effect waits until the row is in the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, insert, select, update

from airlock.mcp import strict
from airlock.model.entry import Event, Personal
from airlock.model.entry import Severity as RowSeverity
from airlock.model.lease import Lease, Unfit
from airlock.model.playbook import ENDED, Call, Run, RunState, StepRun
from airlock.store import leases as lease_store
from airlock.store import outbox
from airlock.store.changes import INCIDENTS, Change
from airlock.store.database import Store
from airlock.store.schema import lease_keys, run_steps, runs

Journal = dict[str, StepRun]

_run = msgspec.json.Decoder(Run).decode
_entry = msgspec.json.Decoder(StepRun).decode


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A run, its journal in the order of beginning, and the numbers of the steps' newest rows."""

    run: Run
    journal: Journal
    outbox: dict[str, int]


Decide = Callable[[Run, Journal], tuple[Run, Sequence[StepRun]]]
"""The run after a change, and the journal entries that it changes."""


def create(store: Store, run: Run) -> None:
    """A new run, with a row that says so."""
    with store.change(INCIDENTS) as change:
        change.connection.execute(insert(runs).values(**_row(run)))
        outbox.leave(change.connection, _of_run(run, "started"), at=run.started_at)


def get(store: Store, id: str) -> Stored | None:
    """One run; None where there is none of this id."""
    with store.read() as connection:
        return _stored(connection, id)


def listing(store: Store, *, playbook: str = "", incident: str = "", limit: int = 200) -> list[Run]:
    """Runs, the newest first; of one playbook or incident where these are given."""
    query = select(runs.c.document).order_by(runs.c.started_at.desc(), runs.c.id.desc())
    if playbook:
        query = query.where(runs.c.playbook == playbook)
    if incident:
        query = query.where(runs.c.incident == incident)
    with store.read() as connection:
        return [_run(document) for document in connection.execute(query.limit(limit)).scalars()]


def active(store: Store, *, waiting: bool) -> list[str]:
    """The runs that go on, the oldest first; with `waiting` those that wait for somebody, too."""
    states: tuple[RunState, ...] = ("running", "waiting") if waiting else ("running",)
    query = select(runs.c.id).where(runs.c.state.in_(states)).order_by(runs.c.started_at)
    with store.read() as connection:
        return list(connection.execute(query).scalars())


def change(change: Change, id: str, decide: Decide, *, now: float, expected: Run | None = None) -> Stored:
    """Apply a decision to a run in a transaction. `expected`: only if the run is still this.

    Raises `Unfit` `run_unknown`, `version_conflict`; and what `decide` raises.
    """
    connection = change.connection
    before = _stored(connection, id)
    if before is None:
        raise unknown(id)
    if expected is not None and before.run != expected:
        raise Unfit("version_conflict", "The run was changed meanwhile: read it again.")
    after, entries = decide(before.run, before.journal)
    journal, numbers = dict(before.journal), dict(before.outbox)
    for entry in entries:
        number = outbox.leave(connection, row_of(after, entry), at=now)
        _put(connection, id, entry, number, known=entry.step in journal)
        journal[entry.step], numbers[entry.step] = entry, number
    if after != before.run:
        connection.execute(update(runs).where(runs.c.id == id).values(**_row(after)))
        if after.state in ENDED:
            outbox.leave(connection, _of_run(after, after.state), at=now)
    change.announce()
    return Stored(run=after, journal=journal, outbox=numbers)


def lease_of(store: Store, key: str, *, now: float) -> Lease | None:
    """The newest lease in force that was given to a step with this idempotency key, in whichever run."""
    query = select(lease_keys.c.lease_id).where(lease_keys.c.key.startswith(f"{key}:"))
    with store.read() as connection:
        several = list(connection.execute(query).scalars())
    found = (lease_store.get(store, id=id, now=now) for id in sorted(several, reverse=True))
    return next((lease for lease in found if lease is not None and lease.holds(now)), None)


def unknown(id: str) -> Unfit:
    """There is no such run."""
    return Unfit("run_unknown", f"There is no run {id[:64]!r}.")


_ROW_SEVERITY: Mapping[str, RowSeverity] = {"failed": "HIGH", "unknown": "HIGH", "started": "MEDIUM"}


def row_of(run: Run, entry: StepRun) -> Event:
    """The row of a step. Parameters and outputs are committed in it, and stand in no column."""
    planned = run.plan.step(entry.step)
    said = strict.canonical({"params": entry.params, "output": entry.output, "detail": entry.detail})
    by = entry.approvals[-1].by if entry.approvals else run.started_by
    duration = None
    if entry.started_at is not None and entry.ended_at is not None:
        duration = max(0, round((entry.ended_at - entry.started_at) * 1000))
    return Event(
        event_type="incident",
        action="playbook_step",
        correlation_id=run.incident or run.id,
        reason=f"step_{entry.state}",
        severity=_ROW_SEVERITY.get(entry.state, "LOW"),
        latency_ms=duration,
        metadata={
            "run": run.id,
            "incident": run.incident,
            "playbook": run.plan.id,
            "plan_digest": run.plan.digest,
            "step": entry.step,
            "state": entry.state,
            "call": planned.do.action if isinstance(planned.do, Call) else "manual",
            "key": entry.key,
            "needs": entry.needs,
            "dry_run_digest": entry.dry_run,
            "approvals": len(entry.approvals),
            "before": entry.before,
            "after": entry.after,
            "lease": entry.lease,
            "output_digest": entry.output_digest,
            "digest": hashlib.sha256(said).hexdigest(),
        },
        personal=_personal(by, said),
    )


def _of_run(run: Run, word: str) -> Event:
    said = strict.canonical({"variables": run.variables, "detail": run.detail})
    return Event(
        event_type="incident",
        action="playbook_step",
        correlation_id=run.incident or run.id,
        reason=f"run_{word}",
        metadata={
            "run": run.id,
            "incident": run.incident,
            "playbook": run.plan.id,
            "plan_digest": run.plan.digest,
            "mode": run.mode,
            "state": run.state,
            "digest": hashlib.sha256(said).hexdigest(),
        },
        personal=_personal(run.started_by, said),
    )


def _personal(by: str, said: bytes) -> Personal:
    issuer, _, subject = by.rpartition("|")
    digest = hashlib.sha256(said).hexdigest()
    return Personal(issuer=issuer, subject=subject, arguments=said, arguments_digest=digest)


def _stored(connection: Connection, id: str) -> Stored | None:
    document = connection.execute(select(runs.c.document).where(runs.c.id == id)).scalar()
    if document is None:
        return None
    query: Select[Any] = select(run_steps).where(run_steps.c.run == id)
    rows = sorted(connection.execute(query).all(), key=_begun)
    return Stored(
        run=_run(document),
        journal={row.step: _entry(row.document) for row in rows},
        outbox={row.step: row.outbox for row in rows},
    )


def _begun(row: Row[Any]) -> float:
    entry = _entry(row.document)
    times = (entry.asked_at, entry.started_at, entry.ended_at)
    return min(time for time in (*times, float("inf")) if time is not None)


def _put(connection: Connection, id: str, entry: StepRun, number: int, *, known: bool) -> None:
    values = {"state": entry.state, "document": msgspec.json.encode(entry).decode(), "outbox": number}
    if known:
        this = (run_steps.c.run == id) & (run_steps.c.step == entry.step)
        connection.execute(update(run_steps).where(this).values(**values))
        return
    connection.execute(insert(run_steps).values(run=id, step=entry.step, **values))


def _row(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "playbook": run.plan.id,
        "incident": run.incident,
        "state": run.state,
        "started_at": run.started_at,
        "document": msgspec.json.encode(run).decode(),
    }
