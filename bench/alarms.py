"""What the detection rules make of honest days: false alarms, and containment that would have been wrong.

`python -m bench.alarms --days 30 --people 200` prints false alarms a day by rule, and what would have been
contained without a person if every rule had been approved for that in advance; `--window 100000` measures one
pass of the rules that look at a window.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Iterator

import msgspec

from airlock.incident.detect import answers, replay, windows
from airlock.incident.detect.catalogue import rules
from airlock.incident.detect.facts import Fact
from airlock.incident.detect.inline import Detectors
from airlock.incident.detect.memory import Memory
from airlock.incident.detect.seen import Seen
from airlock.model.incident import Finding
from bench.days import DAY, HOUR, ISSUER, START, Days


class Outcome(msgspec.Struct, kw_only=True):
    """What the rules made of it."""

    days: int
    rows: int = 0
    seconds: float = 0.0
    alarms: Counter[str] = msgspec.field(default_factory=Counter[str])
    """Alerts by rule."""
    proposed: Counter[str] = msgspec.field(default_factory=Counter[str])
    contained: list[str] = msgspec.field(default_factory=list[str])
    """Containment without a person of somebody or something that honest people used within a day."""
    harmless: Counter[str] = msgspec.field(default_factory=Counter[str])
    """Containment without a person of what nobody used."""


class _Judge:
    """Decides as the engine would, with every rule approved in advance."""

    def __init__(self, outcome: Outcome, detectors: Detectors) -> None:
        self._outcome = outcome
        self._detectors = detectors
        self._behind: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
        self._used: dict[str, float] = {}
        self._open: dict[tuple[str, ...], float] = {}

    def note(self, row: Seen) -> None:
        if row.event_type == "call" and row.subject:
            self._behind[row.source_ip][row.tenant, row.subject] = row.at
            self._used[row.target] = row.at

    def judge(self, finding: Finding, at: float) -> None:
        rule = rules()[finding.rule]
        key = (finding.rule, finding.tenant, *(f"{k}={v}" for k, v in sorted(finding.group.items())))
        last = self._open.get(key)
        self._open[key] = at
        if last is None or at - last > max(rule.window, HOUR):
            self._outcome.alarms[finding.rule] += 1
        for order, automatic in answers.orders(rule, finding):
            here = self._behind[finding.group.get("source_ip", "")]
            footing = answers.Footing(
                mode="active",
                approved=True,
                keyless=self._detectors.keyless.holds([ISSUER]),
                people=sum(at - seen <= DAY for seen in here.values()),
                active=10_000,
            )
            if answers.doubts(order, finding, automatic=automatic, footing=footing):
                self._outcome.proposed[finding.rule] += 1
                continue
            used = self._used.get(f"{finding.group.get('server')}/{finding.group.get('tool')}", 0.0)
            if order.action == "tool.quarantine" and at - used > DAY:
                self._outcome.harmless[finding.rule] += 1
            else:
                self._outcome.contained.append(f"{finding.rule} {order.action} {finding.group}")


def _fact(row: Seen) -> Fact:
    """The row as rules see it that act at once: different strangers leave different marks."""
    first = sum(row.source_ip.encode()) % 2048
    return Fact(
        seen=row,
        issuer=row.issuer if row.action == "discovery" else "",
        subject_marks=tuple(range(first, first + row.subjects)),
        token_marks=tuple(range(first, first + row.tokens)),
    )


def judge(traffic: Days, days: int) -> Outcome:
    """Play days of traffic to all rules: those that act at once and those of windows."""
    outcome = Outcome(days=days)
    began = time.perf_counter()
    catalogue = rules()
    detectors = Detectors(catalogue, lambda rule, _: catalogue[rule].thresholds)
    judged = _Judge(outcome, detectors)
    memory = Memory()
    player = replay.Replay(memory, [rule for rule in catalogue.values() if rule.tier == "T2"])

    def seen() -> Iterator[Seen]:
        for number in range(days):
            for row in traffic.day(number):
                outcome.rows += 1
                judged.note(row)
                for finding in detectors.see(_fact(row)):
                    judged.judge(finding, row.at)
                yield row

    for finding in player.play(seen()):
        judged.judge(finding, finding.until)
    memory.close()
    outcome.seconds = time.perf_counter() - began
    return outcome


def report(outcome: Outcome) -> str:
    """The result in a few lines."""
    lines = [
        f"{outcome.rows} rows of {outcome.days} days in {outcome.seconds:.1f} s",
        f"false alarms a day: {outcome.alarms.total() / outcome.days:.2f}",
        *(f"  {rule}: {count / outcome.days:.2f}" for rule, count in sorted(outcome.alarms.items())),
        f"contained without a person what nobody used: {dict(outcome.harmless)}",
        f"wrongly contained without a person: {len(outcome.contained)}",
        *(f"  {each}" for each in outcome.contained[:20]),
    ]
    return "\n".join(lines)


def one_pass(count: int) -> str:
    """How long it takes to take in so many rows of one hour, and to ask every rule of windows once."""
    traffic = Days(seed=1, people=max(10, count // 50))
    rows = [row for row, _ in zip(traffic.day(1), range(count), strict=False)]
    for i, row in enumerate(rows):
        row.at = START + DAY + i * HOUR / len(rows)
    memory = Memory()
    begun = time.perf_counter()
    for i in range(0, len(rows), replay.AT_ONCE):
        memory.feed(rows[i : i + replay.AT_ONCE])
    fed = time.perf_counter()
    found = windows.run(
        memory.db, [rule for rule in rules().values() if rule.tier == "T2"], START + DAY + HOUR, {}
    )
    asked = time.perf_counter()
    memory.close()
    return f"{len(rows)} rows: taken in {fed - begun:.2f} s, pass {asked - fed:.2f} s, {len(found)} findings"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="bench.alarms", description="False alarms on honest days.")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--calls", type=float, default=60.0, help="of a person in a day")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--window", type=int, help="rows of an hour: only measure one pass over them")
    given = parser.parse_args()
    if given.window:
        print(one_pass(given.window))
        return
    traffic = Days(seed=given.seed, people=given.people, calls=given.calls)
    print(report(judge(traffic, given.days)))


if __name__ == "__main__":
    main()
