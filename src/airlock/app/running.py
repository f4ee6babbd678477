"""The engine's loop that carries out playbooks, one step at a time for each run.

1 what comes next is decided by the run and its journal alone
2 `started` is written, with the row that says so, and the row is in the audit log
3 the effect; a step that was started before this process was is looked for first, never simply repeated
4 what came of it is written, and the run goes on

If this process ends between 2 and 4, the next one finds the step started and goes on at 3.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from airlock.app.performed import Order, Outcome, Unfinished
from airlock.app.performing import Performer
from airlock.core.clock import Clock
from airlock.core.errors import Fault
from airlock.incident.playbooks import journal, progress
from airlock.incident.playbooks.progress import Begin, Go, Note, Pause, Resume
from airlock.incident.playbooks.weighing import weigh
from airlock.model.deltas import delta
from airlock.model.incident import Actor
from airlock.model.lattice import join_all
from airlock.model.lease import Unfit
from airlock.model.playbook import PlannedStep, Run, StepRun
from airlock.store import leases, outbox, runs
from airlock.store.database import Store
from airlock.store.runs import Journal, Stored

EVERY = 0.25
"""Seconds between two looks at the runs."""

LATE = 5.0
"""Seconds between two looks at those that wait for a person, who may be late."""

SEALED = 30.0
"""Seconds for the row of a step to be in the audit log; without it nothing happens, and it is tried again."""

BROKEN = 30.0
"""Seconds until a run that broke is tried again."""

EVIDENCE = 2.0
"""The same for evidence, which is kept without it then: what is to be proven may be that the log takes none.
The row waits in the store, and is in the log once that takes it."""

KEEPING = frozenset(("evidence.snapshot", "evidence.bundle"))

STEP = 0.05
"""Seconds between two looks for that row."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


class Running:
    """One for each engine. `log_file` is `audit.db`."""

    def __init__(
        self, *, store: Store, performer: Performer, log_file: Path, clock: Clock, log: Logger
    ) -> None:
        self._store = store
        self._performer = performer
        self._log_file = log_file
        self._clock = clock
        self._log = log
        self._busy: set[str] = set()
        self._late_at = clock.monotonic()
        self._begun: set[tuple[str, str, float]] = set()
        """Steps that this process started: run, step, and when."""

    async def run(self) -> None:
        """Carry on every run that is not over, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                for id in await self._active():
                    if id not in self._busy:
                        self._busy.add(id)
                        group.create_task(self._alone(id))
                await asyncio.sleep(EVERY)

    async def _active(self) -> list[str]:
        waiting = self._clock.monotonic() >= self._late_at
        if waiting:
            self._late_at = self._clock.monotonic() + LATE
        try:
            return await asyncio.to_thread(runs.active, self._store, waiting=waiting)
        except Fault as failed:
            self._log.warning("playbook", what="store_unavailable", error=failed.detail)
            return []

    async def _alone(self, id: str) -> None:
        try:
            await self.carry(id)
        except Fault as failed:
            self._log.warning("playbook", what="store_unavailable", run=id, error=failed.detail)
        except Unfit as unfit:
            self._log.warning("playbook", what="changed_meanwhile", run=id, error=unfit.text)
        except Exception as error:  # noqa: BLE001 - a run that breaks keeps no other from going on
            self._log.warning("playbook", what="run_broke", run=id, error=repr(error))
            await asyncio.sleep(BROKEN)
        finally:
            self._busy.discard(id)

    async def carry(self, id: str) -> None:
        """Carry a run on until somebody has to answer, it has to wait, or it is over.

        Raises `Fault` where the store fails, `Unfit` where somebody changed the run meanwhile.
        """
        while (stored := await asyncio.to_thread(runs.get, self._store, id)) is not None:
            if not await self._move(stored):
                return

    async def _move(self, stored: Stored) -> bool:
        """One move; whether there may be another at once."""
        run, now = stored.run, self._clock.wall()
        move = progress.next_move(run, stored.journal, now)
        call = progress.to_weigh(run, stored.journal)
        if isinstance(move, Note | Begin) and call is not None:
            step = run.plan.step(run.current)
            weighed = await asyncio.to_thread(weigh, self._store, self._log_file, run, step, call, now=now)
            move = progress.next_move(run, stored.journal, now, weighed)
        match move:
            case Go(to):
                await self._write(run, progress.gone_to(run, to, now))
            case Note(entry):
                await self._write(run, progress.noted(run, entry), entry)
            case Pause(until):
                if run.due_at is None:
                    await self._write(run, msgspec.structs.replace(run, due_at=until))
                return False
            case Begin(_, entry):
                await self._begin(run, entry)
            case Resume(step, entry):
                return await self._carry_out(stored, step, entry)
            case _:
                return False
        return True

    async def _begin(self, run: Run, entry: StepRun) -> None:
        before = await asyncio.to_thread(settings_digest, self._store, self._clock.wall())
        entry = msgspec.structs.replace(entry, before=before)
        await self._write(run, msgspec.structs.replace(run, state="running"), entry)
        self._begun.add((run.id, entry.step, entry.started_at or 0.0))
        self._log.info("playbook", what="step_started", run=run.id, playbook=run.plan.id, step=entry.step)

    async def _carry_out(self, stored: Stored, step: PlannedStep, entry: StepRun) -> bool:
        begun = (stored.run.id, step.id, entry.started_at or 0.0)
        order = Order(run=stored.run, step=step, entry=entry, fresh=begun in self._begun)
        keeps = order.action in KEEPING
        if not await self._recorded(stored.outbox[step.id], within=EVIDENCE if keeps else SEALED):
            self._log.warning("playbook", what="step_not_recorded", run=stored.run.id, step=step.id)
            if not keeps:
                return False
        outcome = await self._performed(order)
        self._begun.discard(begun)
        await self._write_result(stored.run, entry, outcome)
        return True

    async def _recorded(self, number: int, *, within: float) -> bool:
        """Whether the row is in the audit log, once it is or `within` seconds are over."""
        end = self._clock.monotonic() + within
        while await asyncio.to_thread(outbox.place, self._store, number) is None:
            if self._clock.monotonic() >= end:
                return False
            await asyncio.sleep(STEP)
        return True

    async def _performed(self, order: Order) -> Outcome | Unfinished:
        try:
            async with asyncio.timeout(order.step.timeout):
                return await self._performer.perform(order)
        except TimeoutError:
            return Unfinished(f"it took longer than {order.step.timeout:g} s")
        except Exception as error:  # noqa: BLE001 - whatever a step raises, its run stops and the engine goes on
            self._log.warning("playbook", what="step_broke", run=order.run.id, error=repr(error))
            return Unfinished(f"it broke: {type(error).__name__}")

    async def _write_result(self, run: Run, entry: StepRun, outcome: Outcome | Unfinished) -> None:
        now = self._clock.wall()
        after = await asyncio.to_thread(settings_digest, self._store, now)
        if isinstance(outcome, Unfinished):
            known = msgspec.structs.replace(entry, state="unknown", detail=outcome.why, after=after)
        else:
            known = progress.ended(
                entry, ok=outcome.ok, output=outcome.output, detail=outcome.detail, now=now
            )
            known = msgspec.structs.replace(known, after=after, lease=outcome.lease)
        by = Actor(type="playbook", id=run.plan.id)
        await asyncio.to_thread(
            journal.write,
            self._store,
            run.id,
            lambda now_run, _: (_standing(now_run, known), [known]),
            by=by,
            now=now,
        )
        self._log.info("playbook", what=f"step_{known.state}", run=run.id, step=entry.step)

    async def _write(self, before: Run, after: Run, *entries: StepRun) -> None:
        """Write a move, unless somebody changed the run since it was decided on."""
        now = self._clock.wall()
        by = Actor(type="playbook", id=before.plan.id)

        def decide(run: Run, known: Journal) -> tuple[Run, Sequence[StepRun]]:
            return after, entries

        await asyncio.to_thread(
            journal.write, self._store, before.id, decide, by=by, now=now, expected=before
        )


def _standing(run: Run, entry: StepRun) -> Run:
    """The run after a result; one that somebody ended meanwhile stays so."""
    if run.state != "running":
        return run
    return progress.noted(run, entry)


def settings_digest(store: Store, now: float) -> str:
    """SHA-256 of the settings that the leases in force make together, hex. Blocks. Raises `Fault`."""
    held = leases.listing(store, now=now)
    joined = join_all(delta(each.action, each.selector) for each in held)
    return hashlib.sha256(msgspec.json.encode(joined, order="deterministic")).hexdigest()
