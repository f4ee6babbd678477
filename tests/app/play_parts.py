"""A run of a playbook over a real store: the worker that keeps the log, and an engine that can be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from airlock.app.performed import Order, Outcome, Unfinished
from airlock.app.performing import Performer
from airlock.app.posting import Posting
from airlock.app.running import Running
from airlock.audit.database import open_writer
from airlock.core.config import Config
from airlock.core.incident_config import IncidentSection, TargetEntry
from airlock.incident.approval import Person
from airlock.incident.comms.outgoing import Text
from airlock.incident.comms.payloads import Answered
from airlock.incident.playbooks import answers, journal, progress, starting
from airlock.incident.playbooks.answers import Answer, Decision
from airlock.incident.playbooks.compile import compile_playbook
from airlock.model.entry import Event
from airlock.model.incident import Actor, Incident
from airlock.model.message import Template
from airlock.model.playbook import ENDED, Mode, Run, StepRun
from airlock.store import bundles, incidents, outbox, runs
from airlock.store.database import FILE, Store, open_store
from airlock.store.runs import Stored
from tests.gateway.parts import NOW, HandClock

INCIDENT = "INC-20261122-180000"
ALICE = Person(issuer="i", subject="alice", approver=True)
BY = Actor(type="human", id="i|alice")

FRONT = """---
id: play
title: Play
types: [security_incident]
severity_floor: P2
pre_approved: [PRE]
---
"""


def playbook(*fences: str, pre: Sequence[str] = ()) -> str:
    """A playbook of these fences: the info of each, a line break, its content."""
    made = "\n".join("~~~" + fence + "\n~~~" for fence in fences)
    return FRONT.replace("PRE", ", ".join(pre)) + made


def opened(folder: Path) -> Store:
    """An empty store in a folder; its schema is made once and copied."""
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(_empty())
    return open_store(folder / FILE)


@cache
def _empty() -> bytes:
    with TemporaryDirectory() as folder:
        open_store(Path(folder) / FILE).close()
        return (Path(folder) / FILE).read_bytes()


def record(store: Store) -> Incident:
    incident = Incident(
        id=INCIDENT, title="Trouble", type="security_incident", severity="P1", status="INVESTIGATING",
        detection_source="gateway_detection", opened_at=NOW, detected_at=NOW, declared_at=NOW,
        clocks_from=NOW,
    )  # fmt: skip
    incidents.create(store, incident, ())
    return incident


def begin(
    store: Store,
    text: str,
    *,
    incident: Incident | None = None,
    mode: Mode = "unattended",
    given: Mapping[str, str] | None = None,
    by: Person = ALICE,
) -> Run:
    """A run that was just started."""
    plan = compile_playbook(text).plan
    run = starting.prepare(plan, incident=incident, alerts=[], given=given or {}, mode=mode, by=by, now=NOW)
    starting.check(run)
    return journal.begin(store, run, BY).run


def answer(store: Store, run: str, step: str, decision: Decision, by: str = "i|bob", **said: str) -> Stored:
    """What a person says of a step."""

    def decide(found: Run, known: runs.Journal) -> tuple[Run, Sequence[StepRun]]:
        after, entry = answers.answered(found, known, step, Answer(decision=decision, by=by, **said), NOW)
        onward, further = progress.onward(after, {**known, step: entry}, NOW)
        return onward, [entry, *further]

    return journal.write(store, run, decide, by=BY, now=NOW)


class Killed(BaseException):
    """The process ended here."""


class Webhook(Posting):
    """The other side of every webhook."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock=clock)
        self.calls: list[tuple[str, object, str]] = []
        self.status = 200

    async def call(self, target: TargetEntry, document: object, *, key: str) -> Answered:
        self.calls.append((target.name, document, key))
        return Answered(status=self.status, body=b"ok")


class Engine:
    """One life of the engine, and the worker and collector beside it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.clock = HandClock()
        self.webhook = Webhook(self.clock)
        self.targets = (
            TargetEntry(name="hook", kind="webhook", url="https://hook.example/x"),
            TargetEntry(
                name="team", kind="webhook", url="https://team.example/x", audiences=("war_room", "customer")
            ),
        )
        self.config = Config(data_dir=str(folder), incident=IncidentSection(targets=self.targets))
        self.rows: list[Event] = []
        self.looks = 0
        self.collects = self.records = True
        self.problem = ""
        self.folder = folder
        open_writer(folder / "audit.db").close()  # a log without calls: no lease would hit anybody

    def look(self) -> None:
        self.looks += 1

    def write(self, incident: str, template: Template) -> Text:
        return Text(subject=f"{template} of {incident}", body="what is known")

    @property
    def performer(self) -> Performer:
        return Performer(
            store=self.store,
            config=self.config,
            write=self.write,
            posting=self.webhook,
            look=self.look,
            clock=self.clock,
        )

    def running(self, performer: Performer) -> Running:
        """A life of the loop."""
        return Running(
            store=self.store,
            performer=performer,
            log_file=self.folder / "audit.db",
            clock=self.clock,
            log=Silent(),
        )

    def live(self, run: str) -> Stored:
        """Let the loop itself go until a run is over."""

        async def until_over() -> Stored:
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._work()),
                    group.create_task(self.running(self.performer).run()),
                ]
                while (found := runs.get(self.store, run)) is None or found.run.state not in ENDED:  # noqa: ASYNC110 - another thread writes it
                    await asyncio.sleep(0.02)
                for task in tasks:
                    task.cancel()
            return found

        return asyncio.run(until_over())

    def carry(self, run: str, *, die: str = "") -> Stored:
        """Carry a run on as far as it goes. `die`: `before` or `after` the effect of its next step."""
        performer = Mortal(self.performer, die) if die else self.performer
        running = self.running(performer)  # pyright: ignore[reportArgumentType] # one that may die
        try:
            asyncio.run(self._carried(running, run))
        except Killed:
            assert die
        found = runs.get(self.store, run)
        assert found is not None
        return found

    async def _carried(self, running: Running, run: str) -> None:
        others = [asyncio.ensure_future(self._work())]
        try:
            await running.carry(run)
        finally:
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _work(self) -> None:
        """The worker that records the rows, and the engine's collector."""
        while True:
            if self.records:
                outbox.record(self.store, self._record)
            if self.collects:
                for bundle in bundles.wanted(self.store):
                    done = msgspec.structs.replace(
                        bundle, wanted="", state="complete", digest="d" * 64, problem=self.problem
                    )
                    bundles.done(self.store, done, [], now=NOW)
            await asyncio.sleep(0.005)

    def _record(self, events: Sequence[Event]) -> list[tuple[str, int]]:
        self.rows += events
        return [("chain", len(self.rows) + number) for number, _ in enumerate(events)]

    def steps(self, step: str) -> list[str]:
        """The words of the rows of a step, in their order."""
        return [event.reason for event in self.rows if event.metadata.get("step") == step]


class Mortal:
    """A performer whose process ends before or after the effect."""

    def __init__(self, inner: Performer, when: str) -> None:
        self._inner = inner
        self._when = when

    async def perform(self, order: Order) -> Outcome | Unfinished:
        if self._when == "after":
            await self._inner.perform(order)
        raise Killed


class Silent:
    """A log that nobody reads."""

    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
