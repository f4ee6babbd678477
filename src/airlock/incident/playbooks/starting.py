"""A run to be: its variables, from the incident, from the alerts behind it and from whoever starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airlock.core import ids
from airlock.incident.approval import Person
from airlock.incident.playbooks.compile import VARIABLES
from airlock.incident.playbooks.rehearse import missing
from airlock.model.incident import Alert, Incident
from airlock.model.lease import LONGEST_TEXT, Unfit
from airlock.model.playbook import Mode, Plan, Run

GROUPS: Mapping[str, str] = {
    "subject": "subject",
    "issuer": "issuer",
    "source_ip": "source_ip",
    "session": "session",
    "token": "token_id",
    "token_id": "token_id",
    "server": "server_id",
    "tool": "tool",
    "component": "component",
    "digest": "new_digest",
    "new_digest": "new_digest",
    "old_digest": "old_digest",
}
"""Variables by the group keys of findings."""


def prepare(
    plan: Plan,
    *,
    incident: Incident | None,
    alerts: Sequence[Alert],
    given: Mapping[str, str],
    mode: Mode,
    by: Person,
    now: float,
) -> Run:
    """The run, before anything of it is done. Raises `Unfit` `variable_unfit`."""
    high = any(alert.finding.confidence == "high" for alert in alerts)
    return Run(
        id=ids.uuid7(),
        plan=plan,
        incident=incident.id if incident is not None else "",
        mode=mode,
        variables=_variables(incident, alerts) | _given(given),
        current=plan.start,
        confident=high or (by.approver and not by.machine),
        started_by=by.id,
        started_at=now,
    )


def check(run: Run) -> None:
    """Raise `Unfit` for a run that may not begin: `playbook_inactive`, `variables_missing`."""
    if not run.plan.active:
        text = f"{run.plan.id} is not active: read it, then set `active: true` in its file."
        raise Unfit("playbook_inactive", text)
    lacking = missing(run)
    if lacking:
        said = "; ".join(f"{name} ({VARIABLES[name]})" for name in lacking)
        raise Unfit("variables_missing", f"It needs more: {said}. Give them as NAME=VALUE.")


def _variables(incident: Incident | None, alerts: Sequence[Alert]) -> dict[str, str]:
    """What is known. Of several alerts the newest counts."""
    known: dict[str, str] = {}
    for alert in sorted(alerts, key=lambda each: each.last_seen):
        found = {GROUPS[key]: value for key, value in alert.finding.group.items() if key in GROUPS}
        found |= {"tenant": alert.finding.tenant} if alert.finding.tenant else {}
        known |= {name: value for name, value in found.items() if _fits(value)}
    if incident is not None:
        known |= {"incident": incident.id, "severity": incident.severity, "type": incident.type}
        known |= {"tenant": incident.tenants[0]} if len(incident.tenants) == 1 else {}
    return known


def _given(given: Mapping[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if name not in VARIABLES or name == "incident":
            raise Unfit("variable_unfit", f"There is no variable {name[:64]!r}: {', '.join(VARIABLES)}.")
        if not _fits(value):
            text = f"{name} takes 1 to {LONGEST_TEXT} printable characters."
            raise Unfit("variable_unfit", text)
    return dict(given)


def _fits(value: str) -> bool:
    return 0 < len(value) <= LONGEST_TEXT and value.isprintable()
