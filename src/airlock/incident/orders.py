"""What people and programs ask of an incident: each order is one Struct."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from airlock.model.incident import (
    ActionItem,
    Basis,
    DetectionSource,
    IncidentSeverity,
    IncidentType,
    RoleName,
    Subtype,
    Verdict,
    Visibility,
)

Level = Literal["L1", "L2", "L3", "L4", "L5"]
Trigger = Literal["awareness", "classification", "materiality"]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody wants done."""


class Open(Order, frozen=True, kw_only=True):
    """Begin a record. Without `severity` the proposed one is taken, see `severity.propose`."""

    id: str = ""
    """`INC-YYYYMMDD-HHMMSS` of the operator's own; empty: made of the time."""
    title: str = ""
    type: IncidentType = "security_incident"
    subtype: Subtype = ""
    severity: IncidentSeverity | None = None
    detection_source: DetectionSource = "user_report"
    rules: tuple[str, ...] = ()
    alerted: IncidentSeverity | None = None
    """The gravest severity among the alerts behind it."""
    symptoms: tuple[str, ...] = ()
    is_suspected_breach: bool | None = None
    flags: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    affected_users: str = ""
    affected_services: tuple[str, ...] = ()
    business_impact: str = ""
    security_implications: str = ""
    commander: str = ""
    ticket_url: str = ""
    war_room: str = ""
    bridge: str = ""
    status_page_url: str = ""
    policy_revision: str = ""
    detected_at: float | None = None
    estimated_start: float | None = None
    refs: tuple[str, ...] = ()
    """Alerts and rows that showed it."""


class Edit(Order, frozen=True, kw_only=True):
    """Facts of the record as they are known by now. What is left out stays."""

    title: str | UnsetType = UNSET
    subtype: Subtype | UnsetType = UNSET
    is_suspected_breach: bool | UnsetType = UNSET
    tenants: tuple[str, ...] | UnsetType = UNSET
    affected_users: str | UnsetType = UNSET
    affected_services: tuple[str, ...] | UnsetType = UNSET
    business_impact: str | UnsetType = UNSET
    security_implications: str | UnsetType = UNSET
    symptoms: tuple[str, ...] | UnsetType = UNSET
    root_cause: str | UnsetType = UNSET
    eta: str | UnsetType = UNSET
    rules: tuple[str, ...] | UnsetType = UNSET
    ticket_url: str | UnsetType = UNSET
    war_room: str | UnsetType = UNSET
    bridge: str | UnsetType = UNSET
    status_page_url: str | UnsetType = UNSET
    policy_revision: str | UnsetType = UNSET
    tlp: Literal["CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"] | UnsetType = UNSET
    estimated_start: float | UnsetType = UNSET


class Acknowledge(Order, frozen=True, kw_only=True):
    """Somebody of this level has seen it."""

    level: Level = "L1"


class Declare(Order, frozen=True, kw_only=True):
    commander: str = ""
    """Who takes command, where nobody has it yet."""


class Identify(Order, frozen=True, kw_only=True):
    hypothesis: str = ""
    """Of the cause; empty: the one that the record has."""
    evidence: tuple[str, ...] = ()


class Mitigate(Order, frozen=True, kw_only=True):
    action: str = ""
    """What ended the harm; may stay empty where a lease did."""
    self_recovered: bool = False
    at: float | None = None
    """When; None: now."""


class Resolve(Order, frozen=True, kw_only=True):
    root_cause: str = ""
    resolution: str = ""
    watch: str = ""
    """How long to watch it from here on, `24h`; empty: it is watched already."""


class Watch(Order, frozen=True, kw_only=True):
    """Watch it; trouble opens it again."""

    lasting: str = "24h"


class Reopen(Order, frozen=True, kw_only=True):
    reason: str


class StartReview(Order, frozen=True, kw_only=True):
    scheduled_for: float | None = None
    link: str = ""


class Close(Order, frozen=True, kw_only=True):
    summary: str = ""


class Cancel(Order, frozen=True, kw_only=True):
    verdict: Verdict
    reason: str = ""


class Merge(Order, frozen=True, kw_only=True):
    into: str
    """Id of the incident that goes on. The caller has seen that it exists and is open."""
    reason: str = ""


class SetSeverity(Order, frozen=True, kw_only=True):
    severity: IncidentSeverity
    reason: str


class Escalate(Order, frozen=True, kw_only=True):
    level: Level
    reason: str


class RaiseFlags(Order, frozen=True, kw_only=True):
    """Words of `severity.FLAGS`; a flag is never taken back, a later note may say that it was wrong."""

    flags: tuple[str, ...]
    reason: str = ""


class Assume(Order, frozen=True, kw_only=True):
    role: RoleName
    person: str


class Renounce(Order, frozen=True, kw_only=True):
    role: RoleName
    person: str = ""
    """Empty: whoever has it."""


class FinishTask(Order, frozen=True, kw_only=True):
    key: str
    note: str = ""


class AddTask(Order, frozen=True, kw_only=True):
    key: str
    text: str
    due_at: float | None = None


class Write(Order, frozen=True, kw_only=True):
    """A note, a hypothesis or a decision, in somebody's own words."""

    kind: Literal["note", "hypothesis", "decision"] = "note"
    text: str
    refs: tuple[str, ...] = ()
    basis: Basis = "reported"
    visibility: Visibility = "internal"
    occurred_at: float | None = None
    supersedes: int | None = None


class HandOver(Order, frozen=True, kw_only=True):
    """A person who answers for a lease from here on."""

    lease: str
    person: str


class UpdateSent(Order, frozen=True, kw_only=True):
    """An update reached somebody: there is a receipt."""

    message: str
    """Id of the message."""
    template: str
    audience: str = ""
    receipt: str = ""
    sha256: str = ""


class EvidenceSafe(Order, frozen=True, kw_only=True):
    """Evidence was collected and is complete."""

    bundle: str
    digest: str = ""
    summary: str = ""


class WriteReview(Order, frozen=True, kw_only=True):
    """What people say of it afterwards. What is left out stays."""

    scheduled_for: float | UnsetType = UNSET
    link: str | UnsetType = UNSET
    contributing_factors: tuple[str, ...] | UnsetType = UNSET
    occurrence: str | UnsetType = UNSET
    prevention: str | UnsetType = UNSET
    detection_delay: str | UnsetType = UNSET
    resolution_time: str | UnsetType = UNSET
    monitoring: str | UnsetType = UNSET
    went_well: tuple[str, ...] | UnsetType = UNSET
    improve: tuple[str, ...] | UnsetType = UNSET
    resolution: str | UnsetType = UNSET
    preventive_measures: str | UnsetType = UNSET
    breach_answered: bool | UnsetType = UNSET


class AddAction(Order, frozen=True, kw_only=True):
    """An action item; its `id` is given by the record."""

    item: ActionItem


class CloseAction(Order, frozen=True, kw_only=True):
    id: str
    note: str = ""


class StartRegulatory(Order, frozen=True, kw_only=True):
    """A duty to notify began to run, or does not apply and why."""

    id: str
    trigger: Trigger | Literal[""] = ""
    at: float | None = None
    not_applicable: str = ""


class MeetRegulatory(Order, frozen=True, kw_only=True):
    """A stage of such a duty was done."""

    id: str
    stage: str
    at: float | None = None
