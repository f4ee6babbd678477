"""Alerts: folded, decided on, found again. Every new alert and every step leaves a row for the audit log.

A rule that finds more different groups than anybody could look at gets one alert for all the others, so
that whoever attacks decides neither how large the store grows nor how long people read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, func, insert, select, update

from airlock.core.clock import timestamp
from airlock.mcp import strict
from airlock.model.entry import Event, Personal
from airlock.model.entry import Severity as RowSeverity
from airlock.model.incident import Alert, AlertState, Finding, IncidentSeverity
from airlock.model.lease import Unfit
from airlock.store import outbox
from airlock.store.changes import INCIDENTS, Change
from airlock.store.cursors import Cursor, remember
from airlock.store.database import Store
from airlock.store.schema import alerts, incidents

MOST_NEW = 200
"""Alerts of one rule with news within `WITHIN`; what is found beyond is one alert, `OTHERS`."""

WITHIN = 3600.0

MOST_LOOKED = 1000
"""Findings of one rule in one transaction that are looked up; further new groups are `OTHERS`."""

OTHERS = {"others": "yes"}
"""The group of that alert."""

OVER = ("RESOLVED", "IN_REVIEW", "CLOSED", "CANCELLED", "MERGED")
"""Statuses of incidents to which no finding is added any more."""

_ROW_SEVERITY: Mapping[IncidentSeverity, RowSeverity] = {
    "P0": "CRITICAL",
    "P1": "HIGH",
    "P2": "MEDIUM",
    "P3": "LOW",
}

Fold = Callable[[Alert | None, Finding], Alert]
"""The alert that a finding makes of the newest one of its fingerprint."""

Fingerprint = Callable[[Finding], str]

_alert = msgspec.json.Decoder(Alert).decode


def fold(
    where: Store | Change,
    findings: Sequence[Finding],
    decide: Fold,
    fingerprint: Fingerprint,
    *,
    now: float,
    place: tuple[str, Cursor] | None = None,
) -> list[Alert]:
    """Fold findings, and note in the same transaction how far a reader (its name) came. The alerts that were
    touched, each once, as they are after that."""
    if isinstance(where, Store):
        with where.change(INCIDENTS) as change:
            return fold(change, findings, decide, fingerprint, now=now, place=place)
    folding = _Folding(where, decide, fingerprint, now)
    for finding in findings:
        folding.take(finding)
    folding.write()
    if place is not None:
        remember(where, *place)
    return list(folding.touched.values())


def change(
    where: Store | Change,
    id: str,
    decide: Callable[[Alert], Alert],
    *,
    actor: str,
    word: str,
    now: float,
    expected: int | None = None,
) -> Alert:
    """Apply a step to an alert. `word` is what its row says; `expected`: the version that the step is about.

    Raises `Unfit`: `alert_unknown`, `version_conflict`, and what `decide` raises.
    """
    if isinstance(where, Store):
        with where.change(INCIDENTS) as own:
            return change(own, id, decide, actor=actor, word=word, now=now, expected=expected)
    before = _found(where, id)
    if before is None:
        raise unknown(id)
    if expected is not None and before.version != expected:
        raise Unfit("version_conflict", f"The alert is at version {before.version}: read it again.")
    after = decide(before)
    where.connection.execute(update(alerts).where(alerts.c.id == id).values(**_row(after)))
    outbox.leave(where.connection, row_of(after, word, actor, now), at=now)
    where.announce()
    return after


def get(store: Store, id: str) -> Alert | None:
    """One alert as it was last written; None where there is none of this id."""
    with store.read() as connection:
        document = connection.execute(select(alerts.c.document).where(alerts.c.id == id)).scalar()
    return None if document is None else _alert(document)


def listing(
    store: Store,
    *,
    states: Sequence[AlertState] = (),
    incident: str = "",
    rule: str = "",
    since: float = 0.0,
    limit: int = 1000,
) -> list[Alert]:
    """Alerts as they were last written, those with the newest findings first; nothing given: all."""
    query: Select[Any] = select(alerts.c.document).where(alerts.c.last_seen >= since)
    if states:
        query = query.where(alerts.c.state.in_(states))
    if incident:
        query = query.where(alerts.c.incident == incident)
    if rule:
        query = query.where(alerts.c.rule == rule)
    query = query.order_by(alerts.c.last_seen.desc(), alerts.c.id.desc()).limit(limit)
    with store.read() as connection:
        return [_alert(document) for document in connection.execute(query).scalars()]


def newest(store: Store, fingerprint: str) -> Alert | None:
    """The newest alert of a fingerprint."""
    with store.read() as connection:
        document = connection.execute(_newest(fingerprint)).scalar()
    return None if document is None else _alert(document)


def waiting(store: Store) -> Mapping[str, int]:
    """How many alerts are in each state that waits for somebody."""
    query = (
        select(alerts.c.state, func.count())
        .where(alerts.c.state.in_(("NEW", "ACKNOWLEDGED", "SUPPRESSED")))
        .group_by(alerts.c.state)
    )
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def raised(store: Store) -> Mapping[str, int]:
    """How many alerts of each rule there are; those that were removed, `store.tidying.removed` has."""
    query = select(alerts.c.rule, func.count()).group_by(alerts.c.rule)
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def unknown(id: str) -> Unfit:
    """There is no such alert."""
    return Unfit("alert_unknown", f"There is no alert {id[:64]!r}.")


def row_of(alert: Alert, word: str, actor: str, now: float) -> Event:
    """The row: which alert and rule. Whom it is about can be erased."""
    finding = alert.finding
    about = strict.canonical({"group": finding.group, "summary": finding.summary})
    return Event(
        event_type="incident",
        action="incident_event",
        correlation_id=alert.incident or alert.id,
        tenant=finding.tenant,
        reason=word,
        severity=_ROW_SEVERITY[finding.severity] if word == "alert_raised" else "LOW",
        occurred_at=timestamp(now),
        metadata={
            "alert": alert.id,
            "rule": finding.rule,
            "fingerprint": alert.fingerprint,
            "severity": finding.severity,
            "confidence": finding.confidence,
            "state": alert.state,
            "incident": alert.incident,
        },
        personal=Personal(subject=actor, arguments=about),
    )


class _Folding:
    """Findings of one transaction, each folded in memory; what they made is written once."""

    def __init__(self, change: Change, decide: Fold, fingerprint: Fingerprint, now: float) -> None:
        self._change = change
        self._decide = decide
        self._fingerprint = fingerprint
        self._now = now
        self._taken: Counter[str] = Counter()
        self._room: dict[str, int] = {}
        """Groups that a rule may still make, by rule."""
        self._known: set[str] = set()
        """Alerts that the store has."""
        self.touched: dict[str, Alert] = {}
        """By fingerprint."""

    def take(self, finding: Finding) -> None:
        """Fold one finding."""
        key = self._fingerprint(finding)
        self._taken[finding.rule] += 1
        if key not in self.touched and not self._look(key, finding.rule):
            summary = f"{finding.rule} found more groups than are told apart"
            finding = msgspec.structs.replace(finding, group=OTHERS, tenant="", summary=summary)
            key = self._fingerprint(finding)
            if key not in self.touched:
                self._load(key)
        self.touched[key] = self._decide(self.touched.get(key), finding)

    def _look(self, key: str, rule: str) -> bool:
        """Whether a group is told apart: it is known, or there is room for it."""
        if self._taken[rule] <= MOST_LOOKED and self._load(key):
            return True
        if rule not in self._room:
            self._room[rule] = MOST_NEW - _recent(self._change, rule, self._now)
        self._room[rule] -= 1
        return self._room[rule] >= 0

    def _load(self, key: str) -> bool:
        before = _before(self._change, key)
        if before is None:
            return False
        self.touched[key] = before
        self._known.add(before.id)
        return True

    def write(self) -> None:
        """Write what was touched, and a row for each new alert."""
        connection = self._change.connection
        for alert in self.touched.values():
            if alert.id in self._known:
                connection.execute(update(alerts).where(alerts.c.id == alert.id).values(**_row(alert)))
            else:
                connection.execute(insert(alerts).values(**_row(alert)))
                row = row_of(alert, "alert_raised", alert.finding.rule, self._now)
                outbox.leave(connection, row, at=self._now)
        if self.touched:
            self._change.announce()


def _before(change: Change, fingerprint: str) -> Alert | None:
    """The newest alert of a fingerprint, unless its incident is over: what is found then is another one."""
    document = change.connection.execute(_newest(fingerprint)).scalar()
    alert = None if document is None else _alert(document)
    if alert is None or not alert.incident:
        return alert
    query = select(incidents.c.status).where(incidents.c.id == alert.incident)
    return None if change.connection.execute(query).scalar() in OVER else alert


def _newest(fingerprint: str) -> Select[Any]:
    this = alerts.c.fingerprint == fingerprint
    return select(alerts.c.document).where(this).order_by(alerts.c.last_seen.desc()).limit(1)


def _recent(change: Change, rule: str, now: float) -> int:
    """Alerts of a rule with news, as far as they matter."""
    this = (alerts.c.rule == rule) & (alerts.c.last_seen >= now - WITHIN)
    return len(change.connection.execute(select(alerts.c.id).where(this).limit(MOST_NEW)).all())


def _found(change: Change, id: str) -> Alert | None:
    document = change.connection.execute(select(alerts.c.document).where(alerts.c.id == id)).scalar()
    return None if document is None else _alert(document)


def _row(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "rule": alert.finding.rule,
        "state": alert.state,
        "incident": alert.incident,
        "last_seen": alert.last_seen,
        "version": alert.version,
        "document": msgspec.json.encode(alert).decode(),
    }
