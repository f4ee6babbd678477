"""The drill of one playbook: it is run in a shadow, over the incident that the attack of its rule begins.

Each typed action is let go by people who exist only here, weighed, journaled and carried out on the shadow by
the code that carries out playbooks. Not drilled are manual steps, and steps that would reach the gateway
itself or somebody outside: they are skipped, and told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from airlock.app.drilling_rules import RESPONDER, Course, Failed, declare, detect, drilled, within
from airlock.app.notices import writer
from airlock.app.performing import Performer
from airlock.app.posting import Posting
from airlock.app.record import sources
from airlock.app.running import Running
from airlock.app.shadow import LOOK_EVERY, Shadow, beside
from airlock.core.clock import Clock
from airlock.incident import declaring
from airlock.incident.detect import catalogue
from airlock.incident.occasion import Occasion
from airlock.incident.orders import Open
from airlock.incident.playbooks import journal, starting
from airlock.incident.playbooks.answers import Answer, answered
from airlock.incident.playbooks.compile import VARIABLES
from airlock.incident.shadow import ISSUER, digest, named, names, tenant
from airlock.model.drill import Drill, Step
from airlock.model.health import Service
from airlock.model.incident import Actor
from airlock.model.lease import Unfit
from airlock.model.playbook import ENDED, Manual, Plan, PlannedStep, Run, StepRun
from airlock.store import alerts, bundles, incidents, leases, runs
from airlock.store.changes import INCIDENTS
from airlock.store.runs import Journal, Stored

OUTSIDE = ("verify.run", "webhook.call", "policy.rollback", "failmode.set")
"""Actions that would reach the gateway itself, or somebody outside."""

SHOWN = 200
"""Characters of the output of a step."""

PATIENCE = 60.0
"""Seconds that a playbook has for its drill."""

PEOPLE = tuple(f"{ISSUER}|responder-{number}" for number in range(1, 4))
"""Who lets steps go."""

GIVEN: Mapping[str, str] = {
    "tenant": tenant("acme"),
    "subject": named("ada"),
    "issuer": ISSUER,
    "source_ip": "203.0.113.7",
    "token_id": named("t-1"),
    "session": digest("session"),
    "server_id": named("notes"),
    "tool": "read",
    "old_digest": digest("old"),
    "new_digest": digest("new"),
    "component": "policy",
    "severity": "P1",
    "type": "security_incident",
}
"""What the incident does not say."""


async def drill_playbook(drill: Drill, plan: Plan, parent: Path, *, clock: Clock) -> Drill:
    """Drill a playbook in a shadow below `parent`; the drill with what came of it."""
    if not typed(plan):
        text = "every step is manual, or reaches beyond a shadow: nothing of it can be drilled here"
        skipped = tuple(_skipped(step) for step in plan.steps)
        return msgspec.structs.replace(
            drill, state="pending", ended_at=clock.wall(), steps=skipped, problem=text
        )
    rule = next((each for each in plan.triggers if each in catalogue.rules()), "")
    first = (("detect", detect), ("declare", declare)) if rule else (("declare", partial(opened, plan)),)
    steps = (*first, ("playbook", partial(played, plan)))
    return await drilled(Course(drill=drill, rule=rule, steps=[]), steps, parent, clock=clock)


def typed(plan: Plan) -> list[str]:
    """The steps that a drill carries out."""
    return [step.id for step in plan.steps if not _reaches(step)]


async def opened(plan: Plan, course: Course, world: Shadow) -> None:
    """The incident that a person opens: no rule calls for the playbook."""
    asked = Open(
        title=plan.title, type=plan.types[0], severity=plan.severity_floor, detection_source="user_report"
    )
    occasion = Occasion(actor=Actor(type="human", id=RESPONDER.id), now=world.clock.wall())
    with world.store.change(INCIDENTS) as change:
        course.incident = declaring.begun(change, asked, occasion).id
    course.did("declare", f"{course.incident}, by a person")


async def played(plan: Plan, course: Course, world: Shadow) -> None:
    """Run the playbook to its end."""
    store, now = world.store, world.clock.wall()
    record = incidents.get(store, course.incident)
    behind = alerts.listing(store, incident=course.incident)
    run = starting.prepare(
        plan, incident=record, alerts=behind, given={}, mode="attended", by=RESPONDER, now=now
    )
    unknown = {name: GIVEN[name] for name in VARIABLES if name not in run.variables}
    run = msgspec.structs.replace(run, variables=run.variables | unknown)
    starting.check(msgspec.structs.replace(run, plan=msgspec.structs.replace(plan, active=True)))
    journal.begin(store, run, Actor(type="human", id=RESPONDER.id))
    await world.caught_up()
    over = await beside(_in_time(world, run.id), world.recording, partial(_collecting, world))
    held = leases.listing(store, now=world.clock.wall())
    within(held, names(course.rows) | frozenset(GIVEN.values()))
    course.steps += [_told(step, over) for step in plan.steps]
    wrong = [each for each in over.journal.values() if each.state in ("failed", "unknown")]
    if wrong:
        raise Failed("; ".join(f"{each.step} {each.state}: {each.detail}" for each in wrong))
    if over.run.state != "succeeded":
        raise Failed(f"the run is {over.run.state}: {over.run.detail}")


async def _in_time(world: Shadow, id: str) -> Stored:
    try:
        async with asyncio.timeout(PATIENCE):
            return await _carried(world, id)
    except TimeoutError as late:
        raise Failed(f"it is not over after {PATIENCE:g} s") from late


async def _carried(world: Shadow, id: str) -> Stored:
    """The run once it is over: what waits for people is answered."""
    running = Running(
        store=world.store,
        performer=_performer(world),
        log_file=world.data / "audit.db",
        clock=world.clock,
        log=world.log,
    )
    while True:
        await running.carry(id)
        stored = await asyncio.to_thread(runs.get, world.store, id)
        if stored is None:
            raise Failed("the run is gone")
        if stored.run.state in ENDED:
            return stored
        if stored.run.due_at is not None and stored.run.current not in stored.journal:
            world.clock.to(max(stored.run.due_at, world.clock.wall()))  # it waits for its time, and nobody
        else:
            await asyncio.to_thread(_answer, world, stored)


def _answer(world: Shadow, stored: Stored) -> None:
    """What people say to the step that a run waits at. Raises `Failed` where it waits for nobody."""
    run = stored.run
    step, entry = run.plan.step(run.current), stored.journal.get(run.current)
    if entry is None or entry.state != "waiting":
        raise Failed(f"{step.id} is {entry.state if entry is not None else 'not reached'}")
    if isinstance(step.do, Manual):
        answers = [Answer(decision="done", by=PEOPLE[0], output="not drilled")]
    elif _reaches(step):
        answers = [Answer(decision="skip", by=PEOPLE[0], reason="not drilled")]
    else:
        answers = [Answer(decision="go", by=by) for by in PEOPLE[: entry.people]]
    for each in answers:
        _say(world, run.id, step.id, each)


def _say(world: Shadow, run: str, step: str, answer: Answer) -> None:
    now = world.clock.wall()

    def decide(before: Run, known: Journal) -> tuple[Run, list[StepRun]]:
        after, written = answered(before, known, step, answer, now)
        return after, [written]

    journal.write(world.store, run, decide, by=Actor(type="human", id=answer.by), now=now)


async def _collecting(world: Shadow) -> None:
    """What a playbook wants of evidence is done meanwhile."""
    while True:
        for bundle in await asyncio.to_thread(bundles.wanted, world.store):
            with suppress(Unfit):  # the step that wants it finds out
                await asyncio.to_thread(world.fulfilled, bundle.id)
        await asyncio.sleep(LOOK_EVERY)


def _performer(world: Shadow) -> Performer:
    """What carries steps out: nothing in the configuration of a shadow leads to anybody."""
    where = sources(world.config, world.store)
    return Performer(
        store=world.store,
        config=world.config,
        write=writer(where, service=Service, clock=world.clock),
        posting=Posting(clock=world.clock),
        look=lambda: None,
        clock=world.clock,
    )


def _reaches(step: PlannedStep) -> bool:
    """Whether a step needs a person, the gateway itself, or somebody outside."""
    return isinstance(step.do, Manual) or step.do.action in OUTSIDE


def _skipped(step: PlannedStep) -> Step:
    why = "it is manual" if isinstance(step.do, Manual) else f"{step.do.action} reaches beyond a shadow"
    return Step(name=step.id, result="not drilled", detail=why)


def _told(step: PlannedStep, over: Stored) -> Step:
    entry = over.journal.get(step.id)
    if entry is None:
        return Step(name=step.id, result="not drilled", detail="the run did not come to it")
    if _reaches(step):
        return _skipped(step)
    if entry.state == "skipped":
        return Step(name=step.id, result="not drilled", detail=entry.detail)
    if entry.state == "succeeded":
        return Step(name=step.id, result="done", detail=entry.output.partition("\n")[0][:SHOWN])
    return Step(name=step.id, result="failed", detail=entry.detail)
