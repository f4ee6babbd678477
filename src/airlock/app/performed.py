"""A step that is to be carried out, and what came of it."""

from __future__ import annotations

import msgspec

from airlock.model.incident import Actor
from airlock.model.lease import Unfit
from airlock.model.playbook import Call, PlannedStep, Run, StepRun


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One step that is to be carried out. `fresh`: nobody can have begun its effect."""

    run: Run
    step: PlannedStep
    entry: StepRun
    fresh: bool

    @property
    def actor(self) -> str:
        """Who does it, as a lease names it."""
        return f"playbook|{self.run.plan.id}"

    @property
    def mark(self) -> str:
        """Says that something is of this step."""
        return f"playbook {self.run.plan.id}, step {self.step.id}, run {self.run.id}"

    @property
    def by(self) -> Actor:
        """The same, as a timeline names it."""
        return Actor(type="playbook", id=self.run.plan.id)

    @property
    def action(self) -> str:
        """The action of its call. Raises `TypeError` for a manual step, which is not carried out."""
        if not isinstance(self.step.do, Call):
            raise TypeError(f"{self.step.id} is a manual step")
        return self.step.do.action

    @property
    def incident(self) -> str:
        """The incident that it is for. Raises `Unfit` `incident_required`."""
        if not self.run.incident:
            raise Unfit("incident_required", f"{self.step.id} is about an incident: run it for one.")
        return self.run.incident


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a step. `detail`: why it failed."""

    ok: bool
    output: str = ""
    detail: str = ""
    lease: str = ""


class Unfinished(msgspec.Struct, frozen=True):
    """Nobody knows what came of it."""

    why: str
