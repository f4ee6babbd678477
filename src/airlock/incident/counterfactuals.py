"""What would have been: which rule would have told earlier and at what price, what an earlier lease had
stopped.

1 the rows before the detection are played to every rule, with its thresholds and with lower ones; what fires
  about a party of the incident is a line
2 its price is how often the same rule with the same thresholds fires in the days before, about anybody else
3 the calls between the detection (and the earliest such line) and each lease are judged by that lease

Reads `audit.db` and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from airlock.audit import database, past
from airlock.incident import replay
from airlock.incident.correlation import PARTIES
from airlock.incident.detect import backtest, links
from airlock.incident.detect import replay as played
from airlock.incident.detect.catalogue import Rule, rules
from airlock.incident.detect.memory import DAY, HOUR, Memory
from airlock.incident.detect.replay import Hit
from airlock.incident.detect.seen import Seen
from airlock.mcp import strict
from airlock.model.incident import Alert, Incident
from airlock.model.lease import Lease

FACTORS = (1.0, 0.75, 0.5, 0.25)
"""Shares of its thresholds at which a rule is tried."""

BEFORE = HOUR
"""Seconds before the known start of an incident in which it may have shown."""

MOST_ROWS = 50_000
"""Rows of one play, the newest before the detection."""

UNPLAYED = ("policy revisions: the log keeps their digests and not their texts, so no other one is played",)
"""What no line says anything about."""


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that fires before the incident was detected."""

    rule: str
    factor: float
    """Share of its own thresholds; 1: as they are."""
    thresholds: dict[str, float]
    """Those that are others than its own."""
    fires_at: float
    earlier: float
    """Seconds before the detection."""
    others: int
    """What would have been alerts about others in the days before: what it costs."""
    event_ids: tuple[str, ...]

    def line(self, days: float) -> str:
        """For people: when, with which thresholds, and at what price."""
        lower = ", ".join(f"{name}={value:g}" for name, value in sorted(self.thresholds.items()))
        at = f" at {lower}" if lower else " as it is"
        cost = f"costs {self.others} alerts about others in {days:g} days"
        return f"rule {self.rule}{at} fires {self.earlier / 60:.1f} min earlier; {cost}"


class Sooner(msgspec.Struct, frozen=True, kw_only=True):
    """A lease of the incident, had it begun earlier. Times are Unix seconds."""

    lease: str
    action: str
    at: str
    """`detection`, or the id of the rule that would have told first."""
    since: float
    until: float
    stopped: int
    calls: int
    unknown: int
    """Calls of which nobody can say it."""

    def line(self) -> str:
        """For people."""
        unsure = f"; {self.unknown} cannot be judged" if self.unknown else ""
        told = f"would have stopped {self.stopped} of {self.calls} calls"
        return f"lease {self.lease} ({self.action}) at {_at(self.at)} {told}{unsure}"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What to work out. Times are Unix seconds."""

    audit: str
    incident: Incident
    alerts: tuple[Alert, ...]
    leases: tuple[Lease, ...]
    days: float = 30.0
    most: int = MOST_ROWS


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What would have been. `days` were looked at for the price, fewer than asked where there is less log."""

    incident: str
    days: float
    rows: int
    earlier: tuple[Earlier, ...]
    sooner: tuple[Sooner, ...]
    lines: tuple[str, ...]
    unplayed: tuple[str, ...]
    digest: str = ""
    """SHA-256 of the canonical form of the rest."""


def work_out(asked: Question) -> Answer:
    """See the module. Raises `sqlite3.Error` where there is no log."""
    related = _Related(asked.incident, asked.alerts, asked.leases)
    found, played_rows = _early(asked, related)  # 1
    earlier, days = _priced(asked, related, found)  # 2
    sooner = tuple(_sooner(asked, earlier))  # 3
    answer = Answer(
        incident=asked.incident.id,
        days=days,
        rows=played_rows,
        earlier=earlier,
        sooner=sooner,
        lines=(*(each.line(days) for each in earlier), *(each.line() for each in sooner)),
        unplayed=UNPLAYED,
    )
    told = strict.canonical(msgspec.to_builtins(answer))
    return msgspec.structs.replace(answer, digest=hashlib.sha256(told).hexdigest())


def _early(asked: Question, related: _Related) -> tuple[list[Earlier], int]:
    """What fires before the detection, and how many rows were played."""
    detected, began = asked.incident.detected_at, asked.incident.estimated_start
    start = min(detected, detected if began is None else began) - BEFORE
    found: list[Earlier] = []
    most = 0
    for factor in FACTORS:
        tried = [rule for rule in rules().values() if factor == 1.0 or changed(rule, factor)]
        hits, _, count = _hits(asked, tried, factor, since=start)
        most = max(most, count)
        early = {hit.finding.rule: hit for hit in reversed(hits) if hit.first < detected and related(hit)}
        found += [_line(hit, factor, detected) for hit in early.values() if _better(hit, found)]
    return found, most


def _priced(
    asked: Question, related: _Related, found: Sequence[Earlier]
) -> tuple[tuple[Earlier, ...], float]:
    """The same with their price, the earliest first, and of how many days that is."""
    detected = asked.incident.detected_at
    wide = began = detected - asked.days * DAY
    priced: list[Earlier] = []
    for factor in sorted({each.factor for each in found}):
        mine = [each for each in found if each.factor == factor]
        hits, since, _ = _hits(asked, [rules()[each.rule] for each in mine], factor, since=wide)
        began = max(began, since)
        others = [hit.finding.rule for hit in hits if not related(hit)]
        priced += [msgspec.structs.replace(each, others=others.count(each.rule)) for each in mine]
    priced.sort(key=lambda each: (-each.earlier, each.rule))
    return tuple(priced), round((detected - began) / DAY, 2)


def scaled(rule: Rule, factor: float) -> dict[str, float]:
    """The thresholds of a rule at this share of them: whole numbers stay whole, and at least one."""
    return {
        name: max(1.0, round(value * factor)) if value >= 1 else value * factor
        for name, value in rule.thresholds.items()
    }


def changed(rule: Rule, factor: float) -> dict[str, float]:
    """Those of its thresholds that are others at this share."""
    return {name: value for name, value in scaled(rule, factor).items() if value != rule.thresholds[name]}


class _Related:
    """Whether a hit is about a party of the incident; where it has none, about one of its rules."""

    def __init__(self, incident: Incident, alerts: Sequence[Alert], leases: Sequence[Lease]) -> None:
        self._rules = frozenset(incident.rules)
        parties = {
            (name, alert.finding.group[name])
            for alert in alerts
            for name in PARTIES
            if alert.finding.group.get(name)
        }
        for lease in leases:
            chosen = lease.selector
            named = {"subject": chosen.subject, "session": chosen.session, "token": chosen.token}
            named["source_ip"] = chosen.cidr.removesuffix("/32").removesuffix("/128")
            parties |= {(name, value) for name, value in named.items() if value}
        self._parties = parties

    def __call__(self, hit: Hit) -> bool:
        if not self._parties:
            return hit.finding.rule in self._rules
        return any(each in self._parties for each in hit.finding.group.items())


def _hits(
    asked: Question, tried: Sequence[Rule], factor: float, *, since: float
) -> tuple[list[Hit], float, int]:
    """What would have been alerts until the detection, the oldest first; from when on there are rows, and how
    many were played."""
    if not tried:
        return [], since, 0
    settings = {(rule.id, ""): played.setting(scaled(rule, factor)) for rule in tried}
    counted = _Counted(asked.incident.detected_at)
    with closing(database.open_reader(Path(asked.audit))) as db, closing(Memory()) as memory:
        db.text_factory = links.tolerant
        after, _ = backtest.beginning(db, since, asked.most)
        player = played.Replay(memory, tried, settings)
        findings = list(player.play(counted.of(backtest.rows_after(db, after)), since=since))
    folded = [
        hit
        for rule in tried
        for hit in played.hits((each for each in findings if each.rule == rule.id), rule.window)
    ]
    return sorted(folded, key=lambda hit: hit.first), max(since, counted.first), counted.rows


class _Counted:
    """Counts the rows before a moment on their way, and ends there."""

    def __init__(self, until: float) -> None:
        self._until = until
        self.rows = 0
        self.first = 0.0

    def of(self, found: Iterator[Seen]) -> Iterator[Seen]:
        for row in found:
            if row.at >= self._until:
                return
            self.first = self.first or row.at
            self.rows += 1
            yield row


def _better(hit: Hit, found: Sequence[Earlier]) -> bool:
    """Whether no higher threshold of this rule fires as early."""
    return all(each.rule != hit.finding.rule or hit.first < each.fires_at for each in found)


def _line(hit: Hit, factor: float, detected: float) -> Earlier:
    rule = rules()[hit.finding.rule]
    return Earlier(
        rule=rule.id,
        factor=factor,
        thresholds=changed(rule, factor),
        fires_at=hit.first,
        earlier=round(detected - hit.first, 3),
        others=0,
        event_ids=hit.finding.event_ids[: backtest.SHOWN_IDS],
    )


def _sooner(asked: Question, earlier: Sequence[Earlier]) -> Iterator[Sooner]:
    audit = Path(asked.audit)
    moments: Mapping[str, float] = {"detection": asked.incident.detected_at}
    if earlier:
        moments = {**moments, earlier[0].rule: earlier[0].fires_at}
    for lease in asked.leases:
        for at, since in moments.items():
            if since >= lease.created_at:
                continue
            calls, truncated = past.calls(audit, since=since, until=lease.created_at, most=asked.most)
            seen = replay.predict(
                calls, action=lease.action, selector=lease.selector, since=since, until=lease.created_at,
                truncated=truncated,
            )  # fmt: skip
            if seen.flipped or seen.unknown:
                yield Sooner(
                    lease=lease.id, action=lease.action, at=at, since=since, until=lease.created_at,
                    stopped=seen.flipped, calls=seen.requests, unknown=seen.unknown,
                )  # fmt: skip


def _at(at: str) -> str:
    return "the detection" if at == "detection" else f"the moment of {at}"
