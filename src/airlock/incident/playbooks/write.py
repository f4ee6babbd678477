"""A plan as the text of a playbook: what is imported becomes a file that a person can read and change."""

from __future__ import annotations

import json
import re
from string import punctuation
from typing import Any

import yaml

from airlock.core import units
from airlock.incident.playbooks.calls import show
from airlock.incident.playbooks.compile import usual_timeout
from airlock.model.playbook import STOP, Call, Plan, PlannedStep


def write(plan: Plan) -> str:
    """The Markdown of a plan; `compile_playbook` gives the same plan for it."""
    front: dict[str, Any] = {
        "id": plan.id,
        "title": plan.title,
        "types": list(plan.types),
        "severity_floor": plan.severity_floor,
        "triggers": list(plan.triggers),
        "impact": plan.impact,
        "owner": plan.owner,
        "reviewed_on": plan.reviewed_on,
        "last_drill": plan.last_drill,
        "pre_approved": list(plan.pre_approved),
        "active": plan.active,
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)
    above = ("", *(step.title for step in plan.steps))
    steps = "".join(
        f"{_heading(plan, step, last)}{_step(step)}" for step, last in zip(plan.steps, above, strict=False)
    )
    return f"---\n{head}---\n\n# {_line(plan.title)}\n{steps}"


def _heading(plan: Plan, step: PlannedStep, last: str) -> str:
    if step.title == last:
        return ""
    return f"\n## {_line(step.title)}\n" if step.title else f"\n# {_line(plan.title)}\n"


def _step(step: PlannedStep) -> str:
    if isinstance(step.do, Call):
        language, text = "action", show(step.do)
    else:
        language, text = step.do.language, step.do.text
    fence = "~" * max([4, *(len(run) + 1 for run in re.findall("~+", text))])
    return f"\n{fence}{language} {json.dumps(_options(step), ensure_ascii=False)}\n{text}\n{fence}\n"


def _options(step: PlannedStep) -> dict[str, Any]:
    options: dict[str, Any] = {"id": step.id}
    if step.when:
        options["when"] = step.when
    if step.approvals:
        options["approvals"] = step.approvals
    if step.ttl is not None:
        options["ttl"] = units.show_duration(step.ttl)
    options["on_success"] = step.on_success
    if step.on_failure != STOP:
        options["on_failure"] = step.on_failure
    if step.timeout != usual_timeout(step.do):
        options["timeout"] = units.show_duration(step.timeout)
    if step.delay:
        options["delay"] = units.show_duration(step.delay)
    return options


def _line(text: str) -> str:
    """Text that no Markdown takes for something else."""
    return "".join(f"\\{letter}" if letter in punctuation else letter for letter in text)
