"""A notice or page on its way to somebody, and what came back. Times are Unix seconds."""

from __future__ import annotations

from typing import Literal

import msgspec

from airlock.model.incident import IncidentSeverity

Audience = Literal["war_room", "status_updates", "executive", "customer", "legal", "page", "ticket"]
"""For whom a text is. `page`: whoever has to answer at this level; `ticket`: the tracker."""

Template = Literal[
    "notification",
    "team",
    "update",
    "internal",
    "customer",
    "resolved",
    "executive",
    "breach",
    "page",
    "reminder",
    "ticket",
    "test",
]

MessageState = Literal["waiting", "queued", "sent", "failed", "withdrawn"]
"""`waiting`: for people who approve it. `queued`: until `due_at`. `failed`: given up, and said."""

GATES: dict[Template, tuple[str, ...]] = {
    "customer": ("communications_lead",),
    "resolved": ("communications_lead",),
    "breach": ("communications_lead", "legal_liaison"),
}
"""Roles of the incident that approve a text before it leaves the house; those of no other template do."""

USUAL: dict[Template, Audience] = {
    "notification": "status_updates",
    "team": "war_room",
    "update": "status_updates",
    "internal": "status_updates",
    "customer": "customer",
    "resolved": "customer",
    "executive": "executive",
    "breach": "legal",
    "page": "page",
    "reminder": "page",
    "ticket": "ticket",
    "test": "page",
}
"""For whom a template is, where nobody says otherwise."""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """One role's yes to exactly this text."""

    role: str
    by: str
    at: float
    sha256: str


class ReceiptOf(msgspec.Struct, frozen=True, kw_only=True):
    """One try to deliver."""

    at: float
    delivered: bool
    detail: str
    """What the other side said, or why there is no answer; at most 256 characters."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One text for one target."""

    id: str
    incident: str
    template: Template
    audience: Audience
    target: str
    """Name of the target in the configuration."""
    channel: str
    """Where people read it: `#incident-response-INC-...`, `L2`, a page's address."""
    subject: str
    body: str
    sha256: str
    """Of subject, a newline and body."""
    severity: IncidentSeverity
    action: Literal["trigger", "resolve"] = "trigger"
    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Further labels for machines: `rule`, `tenant`."""
    state: MessageState
    needs: tuple[str, ...] = ()
    """Roles that have not approved yet."""
    approvals: tuple[Approval, ...] = ()
    created_at: float
    created_by: str
    due_at: float
    sent_at: float | None = None
    receipts: tuple[ReceiptOf, ...] = ()
    next_update_at: float | None = None
