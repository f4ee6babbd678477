"""Playbooks: the plan that one is compiled to, a run of it, and the journal of its steps. Times are Unix
seconds, texts plain.

A plan holds no line numbers: two texts that say the same give the same plan, whatever they look like. A run
carries its plan, so that a playbook that changes meanwhile changes no run.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from airlock.model.incident import IncidentSeverity, IncidentType
from airlock.model.proposal import Class

END = "end"
"""In the place of a step: the run has succeeded."""

STOP = "stop"
"""In the place of a step: the run has failed."""


class Call(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One call of a typed action. Texts in `params` may hold `${variable}`; durations stay as written."""

    action: str
    params: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Manual(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a person does, and says what came of it. Never carried out by the program."""

    language: str
    """Of the fence: `bash`, `sql`, `text`."""
    text: str


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step. Durations in seconds."""

    id: str
    title: str
    """The heading that it stands under."""
    do: Call | Manual
    when: str = ""
    """A condition; empty: always."""
    ttl: float | None = None
    """How long its lease lasts; None: as long as is usual."""
    approvals: int = 0
    """People that it needs, where its action does not need more."""
    on_success: str
    """The step that follows, or `END`."""
    on_failure: str = STOP
    timeout: float
    delay: float = 0.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled playbook. Steps are in the order of the document; the first that runs is `start`."""

    id: str
    title: str
    types: tuple[IncidentType, ...]
    severity_floor: IncidentSeverity
    triggers: tuple[str, ...] = ()
    """Ids of rules, names of alerts."""
    impact: str = ""
    owner: str = ""
    reviewed_on: str = ""
    """`YYYY-MM-DD`, or empty."""
    last_drill: str = ""
    """`YYYY-MM-DD`, or `pending`."""
    pre_approved: tuple[str, ...] = ()
    """Ids of steps that need nobody where the class of their action allows that."""
    active: bool = True
    """Whether it may run. An imported one may not until somebody has read it."""
    start: str
    steps: tuple[PlannedStep, ...]

    def step(self, id: str) -> PlannedStep:
        """One step. Raises `KeyError`."""
        for step in self.steps:
            if step.id == id:
                return step
        raise KeyError(id)

    @property
    def digest(self) -> str:
        """SHA-256 of all that it says, whether it is active apart."""
        said = msgspec.structs.replace(self, active=True)
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()


RunState = Literal["running", "waiting", "succeeded", "failed", "cancelled", "rolled_back"]
ENDED: tuple[RunState, ...] = ("succeeded", "failed", "cancelled", "rolled_back")

Mode = Literal["attended", "unattended"]
"""Attended: a person lets each step go. Unattended: steps go by themselves where their class allows it."""

StepState = Literal["waiting", "approved", "started", "succeeded", "failed", "skipped", "unknown"]
"""`waiting`: for people. `approved`: the engine may begin. `unknown`: nobody knows what came of it."""

DONE: tuple[StepState, ...] = ("succeeded", "failed", "skipped")
"""States that a step stays in."""


class StepApproval(msgspec.Struct, frozen=True, kw_only=True):
    """A person who let a step go. `by` as `issuer|subject`."""

    by: str
    at: float


class StepRun(msgspec.Struct, frozen=True, kw_only=True):
    """The journal of one step of a run."""

    step: str
    state: StepState
    key: str = ""
    """Idempotency key: SHA-256 of incident, step and parameters."""
    params: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """As they are carried out: with the values of the variables."""
    people: int = 0
    """How many people it needs."""
    needs: Class = "A"
    """Its class, by the dry run where there is one."""
    dry_run: str = ""
    """Digest of the order and what it was predicted to do: what an approval covers."""
    asked_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    approvals: tuple[StepApproval, ...] = ()
    before: str = ""
    after: str = ""
    """Digests of the effective settings."""
    lease: str = ""
    output: str = ""
    output_digest: str = ""
    detail: str = ""
    """Why it failed, is unknown, or was skipped."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a playbook."""

    id: str
    plan: Plan
    incident: str = ""
    mode: Mode
    variables: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    state: RunState = "running"
    current: str
    """The step that it is at; `END` or `STOP` where it is over."""
    due_at: float | None = None
    """When the step may begin, where it waits for that."""
    confident: bool = False
    """Whether what is approved before needs nobody: an approver started it, or an alert of high confidence
    is behind it."""
    started_by: str
    started_at: float
    ended_at: float | None = None
    detail: str = ""
