"""CACAO 2.0: a plan as the JSON that other systems exchange.

What CACAO has no words for stands in an extension of the playbook and of each step: the typed call, the time
to live, the people it needs, how it is kept from being done twice. A system that does not know the extension
sees manual commands, which is what they are for it.
"""

from __future__ import annotations

import uuid
from typing import Any

from airlock.incident.playbooks.calls import show
from airlock.model.incident import IncidentSeverity
from airlock.model.playbook import END, STOP, Call, Plan, PlannedStep

_SPACE = uuid.UUID("3c1dd1d6-6a0b-5c09-9a3f-6f0a6c1f0e0b")
"""Namespace of our identifiers: the same plan has the same ones everywhere."""

SEVERITY: dict[IncidentSeverity, int] = {"P0": 100, "P1": 75, "P2": 50, "P3": 25}

KEPT_ONCE = "sha256(incident, step, parameters)"
"""How the idempotency key of a step is made."""


def identifier(kind: str, *of: str) -> str:
    """A CACAO identifier, `kind--UUID`, the same each time."""
    return f"{kind}--{uuid.uuid5(_SPACE, chr(0).join((kind, *of)))}"


IDENTITY = identifier("identity", "airlock")
EXTENSION = identifier("extension-definition", "airlock-step")
OPERATOR = identifier("individual", "operator")
ENGINE = identifier("group", "airlock")


def export(plan: Plan) -> dict[str, Any]:
    """The playbook as a CACAO document."""
    written = f"{plan.reviewed_on or '1970-01-01'}T00:00:00.000Z"
    start = identifier("start", plan.id)
    workflow: dict[str, Any] = {start: {"type": "start", "on_completion": _place(plan, plan.start)}}
    for position, step in enumerate(plan.steps):
        workflow[_place(plan, step.id)] = _step(plan, step, position)
    for end in (END, STOP):
        workflow[_place(plan, end)] = {"type": "end", "name": end}
    labels = [*plan.types, *plan.triggers]
    return {
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": identifier("playbook", plan.id),
        "name": plan.title,
        **({"description": plan.impact} if plan.impact else {}),
        "playbook_types": ["mitigation"],
        "created_by": IDENTITY,
        "created": written,
        "modified": written,
        "revoked": False,
        "severity": SEVERITY[plan.severity_floor],
        "labels": labels,
        "workflow_start": start,
        "workflow": workflow,
        "agent_definitions": {
            OPERATOR: {"type": "individual", "name": "operator"},
            ENGINE: {"type": "group", "name": "Airlock"},
        },
        "extension_definitions": {
            EXTENSION: {
                "type": "extension-definition",
                "name": "Airlock step",
                "description": "Typed calls, leases, approvals and idempotency of playbook steps.",
                "created_by": IDENTITY,
                "schema": "docs/playbooks.md",
                "version": "1.0.0",
            }
        },
        "playbook_extensions": {EXTENSION: _front(plan)},
    }


def _front(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "types": list(plan.types),
        "severity_floor": plan.severity_floor,
        "triggers": list(plan.triggers),
        "impact": plan.impact,
        "owner": plan.owner,
        "reviewed_on": plan.reviewed_on,
        "last_drill": plan.last_drill,
        "pre_approved": list(plan.pre_approved),
    }


def _step(plan: Plan, step: PlannedStep, position: int) -> dict[str, Any]:
    calls = isinstance(step.do, Call)
    text = show(step.do) if isinstance(step.do, Call) else step.do.text
    own: dict[str, Any] = {"id": step.id, "position": position, "title": step.title}
    if isinstance(step.do, Call):
        own |= {
            "call": text,
            "approvals": step.approvals,
            "idempotency": KEPT_ONCE,
            **({"ttl": step.ttl} if step.ttl is not None else {}),
        }
    else:
        own |= {"language": step.do.language}
    if step.when:
        own |= {"when": step.when}
    return {
        "type": "action",
        "name": step.title or step.id,
        "commands": [{"type": "manual", "command": text}],
        "agent": ENGINE if calls else OPERATOR,
        "timeout": round(step.timeout * 1000),
        **({"delay": round(step.delay * 1000)} if step.delay else {}),
        "on_success": _place(plan, step.on_success),
        "on_failure": _place(plan, step.on_failure),
        "step_extensions": {EXTENSION: own},
    }


def _place(plan: Plan, id: str) -> str:
    return identifier("end" if id in (END, STOP) else "action", plan.id, id)
