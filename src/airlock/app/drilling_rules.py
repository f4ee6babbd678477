"""The drill of one rule: its attack is played in a shadow, from the detection to the verified evidence.

1 detect: the rows of the attack go through the rule; the findings become an alert
2 declare: an incident begins by itself, or as a person would begin it
3 contain: leases that the rule gives, or a person approves what it proposes; they are about the shadow only
4 expire: the time of each lease is over, and the store says so
5 bundle, verify: evidence of the incident is collected, and checked by its own program
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import msgspec

from airlock.app.alerting import title_of
from airlock.app.shadow import Shadow, beside, shadow
from airlock.core.clock import Clock
from airlock.incident import declaring, proposals
from airlock.incident.approval import Person
from airlock.incident.detect import answers, catalogue, replay, traces
from airlock.incident.detect.catalogue import Rule
from airlock.incident.detect.facts import Fact
from airlock.incident.detect.inline import Detectors
from airlock.incident.detect.memory import Memory
from airlock.incident.detect.seen import Seen
from airlock.incident.guard import GuardFailed
from airlock.incident.shadow import ISSUER, fact, names, strays
from airlock.model.drill import Drill, Step
from airlock.model.incident import Actor, Alert, Finding
from airlock.model.lease import Lease, Unfit
from airlock.store import alerts, leases
from airlock.store import proposals as kept

RESPONDER = Person(issuer=ISSUER, subject="responder", approver=True)
"""Who declares and approves in a shadow."""

HOUR_OF_ATTACK = 8
"""Attacks begin on a Monday at 8:00 UTC, where rules know what is usual."""

MARGIN = 1.0
"""Seconds behind the end of a lease at which it is looked at."""

WAITS = ("PROPOSED", "DRY_RUN")


class Failed(Exception):
    """A step of a drill did not do what it is for. The text says why."""


class Course(msgspec.Struct, kw_only=True):
    """A drill on its way: the incident, and what was measured and done."""

    drill: Drill
    rule: str
    """Whose attack is played; empty: none."""
    steps: list[Step]
    rows: list[Seen] = []
    """Of the attack, as they were played."""
    incident: str = ""
    detect: float | None = None
    contain: float | None = None
    evidence: float | None = None

    def did(self, name: str, detail: str) -> None:
        self.steps.append(Step(name=name, result="done", detail=detail))

    def over(self, now: float, *, failed: str = "", at: str = "") -> Drill:
        """The drill with what came of it. `at`: the step that failed."""
        steps = [*self.steps, *([Step(name=at, result="failed", detail=failed)] if failed else [])]
        return msgspec.structs.replace(
            self.drill,
            state="failed" if failed else "passed",
            ended_at=now,
            detect=self.detect,
            contain=self.contain,
            evidence=self.evidence,
            steps=tuple(steps),
            problem=f"{at}: {failed}" if failed else "",
        )


async def drill_rule(drill: Drill, parent: Path, *, clock: Clock) -> Drill:
    """Drill a rule in a shadow below `parent`; the drill with what came of it."""
    steps = (
        ("detect", detect),
        ("declare", declare),
        ("contain", contain),
        ("expire", expire),
        ("bundle", prove),
    )
    return await drilled(Course(drill=drill, rule=drill.subject, steps=[]), steps, parent, clock=clock)


async def drilled(
    course: Course,
    steps: Sequence[tuple[str, Callable[[Course, Shadow], Awaitable[None]]]],
    parent: Path,
    *,
    clock: Clock,
) -> Drill:
    """Go through the steps in a shadow of their own; the first that fails ends it."""
    at = "shadow"
    try:
        async with shadow(parent, approved=course.rule, clock=clock, at=began(clock.wall())) as world:
            for name, work in steps:
                at = name
                await work(course, world)
    except (Failed, Unfit, GuardFailed) as failed:
        return course.over(clock.wall(), failed=str(failed), at=at)
    except Exception as broken:  # noqa: BLE001 - whatever breaks, the drill has failed, and says where
        return course.over(clock.wall(), failed=_told(broken), at=at)
    return course.over(clock.wall())


def _told(broken: Exception) -> str:
    """What broke; of several the first."""
    if isinstance(broken, ExceptionGroup):
        several: tuple[Exception, ...] = cast("ExceptionGroup[Exception]", broken).exceptions
        return _told(several[0])
    return f"{type(broken).__name__}: {broken}"


async def detect(course: Course, world: Shadow) -> None:
    """1. Findings come at the moments of the attack."""
    rule, start = catalogue.rules()[course.rule], world.clock.wall()
    lines = traces.lines(catalogue.trace(rule.id, "attack"), start)
    facts = [fact(line) for line in lines]
    course.rows = [each.seen for each in facts]
    callers = {each.subject for each in course.rows if each.subject}
    await world.known(sorted(callers))
    world.alerting.active = lambda: len(callers)
    findings = await asyncio.to_thread(findings_of, rule, facts)
    if not findings:
        raise Failed("the rule does not find its attack")
    first = next((each.at for each in course.rows if each.at >= start), start)
    course.detect = max(0.0, findings[0].until - first)
    for finding in findings:
        world.clock.to(max(finding.until, world.clock.wall()))
        begun = world.clock.monotonic()
        await world.alerting.found([finding])
        if course.contain is None and leases.listing(world.store, now=world.clock.wall()):
            course.contain = world.clock.monotonic() - begun
    alert = _alert(world, rule.id)
    course.did(
        "detect", f"{alert.finding.severity}, confidence {alert.finding.confidence}, {alert.count} times"
    )


def findings_of(rule: Rule, facts: Sequence[Fact]) -> list[Finding]:
    """What a rule finds in these rows, as the engine asks it: row by row, or in windows."""
    if rule.tier == "T1":
        return [each for each in _at_once(facts) if each.rule == rule.id]
    return list(_in_windows([each.seen for each in facts], rule))


def _at_once(facts: Sequence[Fact]) -> Iterator[Finding]:
    known = catalogue.rules()
    detectors = Detectors(known, lambda rule, _: known[rule].thresholds)
    for each in facts:
        yield from detectors.see(each)


def _in_windows(rows: Sequence[Seen], rule: Rule) -> Iterator[Finding]:
    memory = Memory()
    try:
        yield from replay.Replay(memory, (rule,), {(rule.id, ""): replay.setting({})}).play(rows)
    finally:
        memory.close()


def _alert(world: Shadow, rule: str) -> Alert:
    found = alerts.listing(world.store, rule=rule)
    if not found:
        raise Failed("; ".join(world.log.said) or "no alert was raised")
    return min(found, key=lambda each: each.finding.severity)


async def declare(course: Course, world: Shadow) -> None:
    """2. An alert that begins no incident by itself is declared by a person."""
    alert = _alert(world, course.rule)
    by = "by itself"
    if not alert.incident:
        actor = Actor(type="human", id=RESPONDER.id)
        now, title, by = world.clock.wall(), title_of(course.rule), "by a person"
        alert = await asyncio.to_thread(declaring.declare, world.store, alert.id, title, actor, now=now)
    course.incident = alert.incident
    course.did("declare", f"{alert.incident}, {by}")


async def contain(course: Course, world: Shadow) -> None:
    """3. What waits for a person is approved, unless something is contained already."""
    rule, now = catalogue.rules()[course.rule], world.clock.wall()
    by = "by itself"
    held = leases.listing(world.store, now=now)
    waiting = [each for each in kept.listing(world.store) if each.state in WAITS]
    if not held and waiting:
        by, begun = "proposed, and approved by a person", world.clock.monotonic()
        for each in waiting:
            await asyncio.to_thread(
                proposals.approve, world.store, each.id, each.digest, RESPONDER, now=world.clock.wall()
            )
        course.contain = world.clock.monotonic() - begun
        held = leases.listing(world.store, now=now + MARGIN)
    if not held:
        if answers.orders(rule, _alert(world, rule.id).finding):
            raise Failed("; ".join(world.log.said) or "nothing was contained, and nothing proposed")
        return course.did("contain", "no lease follows from what the rule found")
    within(held, names(course.rows))
    course.did("contain", f"{', '.join(sorted({each.action for each in held}))}, {by}")


def within(held: Sequence[Lease], known: Collection[str]) -> None:
    """Raise `Failed` where a lease names anybody who is not of the drill."""
    if stray := strays(held, known):
        raise Failed("; ".join(stray))


async def expire(course: Course, world: Shadow) -> None:
    """4. Every lease ends with its time; what is for good stays."""
    held = leases.listing(world.store, now=world.clock.wall())
    ends = [each.expires_at for each in held if each.expires_at is not None]
    if ends:
        await asyncio.to_thread(world.expire, max(ends) + MARGIN)
    now = world.clock.wall()
    left = [each for each in leases.load(world.store, now=now).held if each.expires_at is not None]
    if left:
        raise Failed(f"{', '.join(each.action for each in left)} holds although its time is over")
    for_good = len(held) - len(ends)
    course.did("expire", f"{len(ends)} leases ended" + (f", {for_good} for good" if for_good else ""))


async def prove(course: Course, world: Shadow) -> None:
    """5. The bundle is whole by its own program."""
    begun = world.clock.monotonic()
    await world.recorded()
    bundle = await beside(asyncio.to_thread(world.collect, course.incident), world.recording)
    wrong = await asyncio.to_thread(world.contradictions, bundle)
    course.evidence = world.clock.monotonic() - begun
    if wrong or not bundle.whole:
        raise Failed("; ".join(wrong) or "the bundle is not as it was closed")
    course.did("bundle", f"{bundle.files} files")
    course.did("verify", f"every step holds, SHA-256 {bundle.digest}")


def began(now: float) -> float:
    """When attacks begin: the last Monday that is over, at 8:00 UTC."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=HOUR_OF_ATTACK, minute=0, second=0, microsecond=0)
    return (today - timedelta(days=today.weekday() or 7)).timestamp()
