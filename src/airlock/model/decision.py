"""The question to policy and its answer: one source for Rego, docs and tests."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class SubjectInput(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks; always from the verified credential."""

    id: str
    issuer: str
    tenant: str
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    scopes: tuple[str, ...]
    client_id: str
    auth: str
    auth_age_s: int | None
    actor: tuple[str, ...]


class TargetInput(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, as an operator approved it; never as an untrusted server describes itself."""

    kind: str
    server: str
    name: str
    uri: str
    tenant: str
    sensitivity: Literal["low", "medium", "high", "critical"]
    read_only: bool
    definition_digest: str
    approved: bool
    tags: tuple[str, ...]
    owner: str


class TimeInput(msgspec.Struct, frozen=True, kw_only=True):
    """The moment of the question, in parts, so that a policy reads only the unit it needs."""

    hour: int
    minute: int
    weekday: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    date: str
    zone: str


class ContextInput(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances."""

    source_ip: str
    era: str
    route: str
    time: TimeInput
    session_labels: tuple[str, ...]
    risk: tuple[str, ...]


class PolicyInput(msgspec.Struct, frozen=True, kw_only=True):
    """The whole `input`. Every key is always present, so a rule never fails open on a missing one."""

    v: int = 1
    phase: Literal["list", "call"]
    subject: SubjectInput
    action: str
    target: TargetInput
    arguments: dict[str, Any]
    context: ContextInput


class Obligations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an allow demands. They can only tighten what the configuration already demands."""

    redact: tuple[str, ...] = ()
    max_result_bytes: int | None = None
    mask_arguments: tuple[str, ...] = ()
    audit: Literal["intent"] | None = None


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An allow that waits for a person."""

    by: tuple[str, ...]
    within_s: int = 600


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What policy answered. `reason` may be shown to the caller, `rule` only to administrators and audit."""

    allow: bool
    reason: str
    rule: str = ""
    approval: Approval | None = None
    obligations: Obligations = Obligations()
    revision: str = ""
    """SHA-256 of the bundle that decided, hex."""
