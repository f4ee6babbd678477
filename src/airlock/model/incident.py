"""Incidents: their record, the words in it, and what an alert is. Times are Unix seconds, texts plain.

A record never holds what is computed from it: clocks, durations, public status and containment state are
asked of `airlock.incident` on each read. Everything that happened is an `IncidentEvent`, which stands in the
audit log; nobody edits one, a later one may supersede it.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

IncidentSeverity = Literal["P0", "P1", "P2", "P3"]
SEVERITIES: tuple[IncidentSeverity, ...] = get_args(IncidentSeverity)
"""The gravest first."""

Status = Literal[
    "TRIAGE",
    "INVESTIGATING",
    "IDENTIFIED",
    "MONITORING",
    "RESOLVED",
    "IN_REVIEW",
    "CLOSED",
    "CANCELLED",
    "MERGED",
]

IncidentType = Literal[
    "service_outage",
    "security_incident",
    "performance_degradation",
    "authentication_issue",
    "policy_failure",
    "data_issue",
]
TYPES: tuple[IncidentType, ...] = get_args(IncidentType)

Subtype = Literal[
    "",
    "policy_evaluation_failure",
    "database_connection_failure",
    "high_api_latency",
    "audit_events_not_recording",
    "data_breach",
]

DetectionSource = Literal[
    "monitoring_alert",
    "user_report",
    "health_check_failure",
    "security_alert",
    "gateway_detection",
    "witness",
]

Verdict = Literal["", "true_positive", "false_positive", "benign", "test", "duplicate", "insufficient_data"]

RoleName = Literal[
    "incident_commander",
    "deputy",
    "scribe",
    "communications_lead",
    "operations_lead",
    "security_lead",
    "legal_liaison",
    "approver",
    "observer",
    "reporter",
]

Kind = Literal[
    "detected",
    "acknowledged",
    "declared",
    "status_changed",
    "severity_changed",
    "role_assumed",
    "role_renounced",
    "note",
    "hypothesis",
    "decision",
    "comm_drafted",
    "comm_sent",
    "clock_started",
    "clock_warned",
    "clock_breached",
    "clock_met",
    "escalated",
    "containment_proposed",
    "containment_approved",
    "containment_started",
    "containment_succeeded",
    "containment_failed",
    "containment_extended",
    "containment_released",
    "containment_expired",
    "playbook_step",
    "evidence_collected",
    "evidence_accessed",
    "evidence_transferred",
    "query_run",
    "verification_run",
    "checkpoint_published",
    "action_item_created",
    "action_item_closed",
    "review_started",
    "closed",
]

ActorType = Literal["human", "detector", "playbook", "system", "agent"]
Basis = Literal["observed", "reported", "inferred"]
Visibility = Literal["internal", "customer", "legal"]


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who did something. `id`: `issuer|subject` of a person, the id of a rule or playbook, `airlock`."""

    type: ActorType
    id: str


SYSTEM_ACTOR = Actor(type="system", id="airlock")


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has, or had, a role. `person` is a name that the team knows, or `issuer|subject`."""

    role: RoleName
    person: str
    assumed_at: float
    renounced_at: float | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must be done while the incident lasts, such as a question of the triage list."""

    key: str
    text: str
    due_at: float | None
    done_at: float | None = None


class ActionItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must be done after it."""

    id: str
    kind: Literal["fix", "rule", "alert", "policy", "process", "threshold", "documentation"] = "fix"
    text: str
    owner: str = ""
    due: str = ""
    """`YYYY-MM-DD`, or empty."""
    priority: Literal["high", "medium", "low"] = "medium"
    external_key: str = ""
    details: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """For `threshold`: `old`, `new`, `rule`."""
    closed_at: float | None = None


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The five questions of the root cause, each empty until it is answered."""

    occurrence: str = ""
    prevention: str = ""
    detection_delay: str = ""
    resolution_time: str = ""
    monitoring: str = ""


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What people say of it afterwards."""

    scheduled_for: float | None = None
    link: str = ""
    contributing_factors: tuple[str, ...] = ()
    whys: Why = Why()
    went_well: tuple[str, ...] = ()
    improve: tuple[str, ...] = ()
    resolution: str = ""
    prevention: str = ""
    breach_answered: bool | None = None
    """Whether there was a breach; None: nobody has answered."""


class RegulatoryClock(msgspec.Struct, frozen=True, kw_only=True):
    """A duty to notify that somebody started, or decided not to apply."""

    id: str
    trigger: Literal["awareness", "classification", "materiality", ""] = ""
    started_at: float | None = None
    not_applicable: str = ""
    """Why it does not apply, and by whom that was decided."""
    met: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """When each stage was met, by its name."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one incident. Empty texts and None: not known yet."""

    id: str
    title: str
    type: IncidentType
    subtype: Subtype = ""
    severity: IncidentSeverity
    status: Status
    verdict: Verdict = ""
    merged_into: str = ""
    is_suspected_breach: bool | None = None
    """None: the question was not answered."""
    flags: tuple[str, ...] = ()
    """What raises the severity or the level; the words stand in `airlock.incident.severity.FLAGS`."""
    tenants: tuple[str, ...] = ()
    affected_users: str = ""
    affected_services: tuple[str, ...] = ()
    business_impact: str = ""
    security_implications: str = ""
    symptoms: tuple[str, ...] = ()
    hypothesis: str = ""
    root_cause: str = ""
    eta: str = ""
    detection_source: DetectionSource
    rules: tuple[str, ...] = ()
    """Ids of the detection rules behind it."""
    ticket_url: str = ""
    war_room: str = ""
    bridge: str = ""
    status_page_url: str = ""
    tlp: Literal["CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"] = "AMBER"
    policy_revision: str = ""
    roles: tuple[Role, ...] = ()
    tasks: tuple[Task, ...] = ()
    actions: tuple[ActionItem, ...] = ()
    regulatory: tuple[RegulatoryClock, ...] = ()
    review: Review = Review()
    opened_at: float
    estimated_start: float | None = None
    detected_at: float
    acknowledged_at: float | None = None
    engaged_at: float | None = None
    declared_at: float | None = None
    contained_at: float | None = None
    identified_at: float | None = None
    mitigated_at: float | None = None
    resolved_at: float | None = None
    closed_at: float | None = None
    clocks_from: float
    """When the clocks of the severity last began: at the opening, and again when it was reopened."""
    deadlines: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """Due times that an upgrade of the severity fixed, by clock: of two the earlier counts."""
    last_update_at: float | None = None
    """When an update was last sent, with a receipt."""
    evidence_at: float | None = None
    """When the first evidence was safe."""
    mitigation: str = ""
    """What ended the harm, or that it ended by itself."""
    review_at: float | None = None
    """When the review began."""
    repeated: bool = False
    """There was another incident of this type in the 30 days before."""
    escalated: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """When each level (`L1` to `L5`) and each party outside was called in this round of the clocks."""
    answered: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """When each level answered."""
    owners: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Who took over a lease, by its id."""
    noticed: tuple[str, ...] = ()
    """`once` keys of the clocks that were warned of, or seen breached, in this round."""
    version: int = 1
    """Rises with every change; the ETag."""

    def person(self, role: RoleName) -> str:
        """Who has this role now; empty: nobody."""
        held = [each.person for each in self.roles if each.role == role and each.renounced_at is None]
        return held[-1] if held else ""


class IncidentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a timeline, as it is written. `seq`, and where it stands in the audit log, come with it."""

    kind: Kind
    at: float
    """When it was recorded."""
    occurred_at: float
    """When it happened."""
    actor: Actor
    summary: str
    details: dict[str, object] = msgspec.field(default_factory=dict[str, object])
    refs: tuple[str, ...] = ()
    """Ids of rows, leases, alerts, messages, files."""
    basis: Basis = "observed"
    visibility: Visibility = "internal"
    supersedes: int | None = None
    csf: str = ""
    """Function of NIST CSF 2.0: `DE RS RC ID PR GV`."""
    once: str = ""
    """An incident has one event with this key, whoever is first; empty: any number."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a timeline with its place."""

    incident: str
    seq: int
    """Counts from 1 in each incident."""
    event: IncidentEvent
    digest: str
    """SHA-256 of the canonical form that the audit row commits to."""
    chain_uid: str = ""
    audit_seq: int | None = None
    """None: not in the audit log yet."""


AlertState = Literal["NEW", "ACKNOWLEDGED", "DECLARED", "ATTACHED", "DISMISSED", "SUPPRESSED", "RESOLVED"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule found. A finding becomes an alert, or is folded into one."""

    rule: str
    """`MCP-002`, or the name of an outside alert."""
    severity: IncidentSeverity
    tenant: str = ""
    group: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Key by name: `subject`, `source_ip`, `server`, `tool`, `session`, `component`..."""
    summary: str
    metric: float = 0.0
    since: float
    until: float
    """The window that it is about."""
    event_ids: tuple[str, ...] = ()
    """Ids of audit rows; at most 1,000."""
    confidence: Literal["low", "medium", "high"] = "high"
    source: DetectionSource = "gateway_detection"
    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Findings of one fingerprint, folded."""

    id: str
    fingerprint: str
    """SHA-256 of rule, sorted group keys and tenant."""
    finding: Finding
    """The newest."""
    state: AlertState = "NEW"
    incident: str = ""
    verdict: Verdict = ""
    suppressed_until: float | None = None
    count: int = 1
    first_seen: float
    last_seen: float
    event_ids: tuple[str, ...] = ()
    """At most 1,000; `query` finds the others."""
    query: str = ""
    acknowledged_at: float | None = None
    acknowledged_by: str = ""
    version: int = 1


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision makes of a record, and what it writes on the timeline."""

    incident: Incident
    events: tuple[IncidentEvent, ...] = ()
