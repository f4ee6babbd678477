"""What a call would do, before anybody has to agree to it: its class by a replay of recent calls."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from airlock.incident import actions, approval, proposals
from airlock.incident.playbooks.progress import Weighed
from airlock.model.lease import Unfit
from airlock.model.playbook import Call, PlannedStep, Run
from airlock.model.proposal import Order
from airlock.store.database import Store


def weigh(store: Store, log_file: Path, run: Run, step: PlannedStep, call: Call, *, now: float) -> Weighed:
    """What a call would do, by a replay of recent calls where it is about a lease. Blocks. Raises `Fault`."""
    spec = actions.catalogue()[call.action]
    if spec.lease is None:
        return Weighed(needs=spec.needs)
    try:
        order = approval.checked(lease_order(run, step, call))
    except Unfit as unfit:
        return Weighed(needs=spec.needs, unfit=unfit.text)
    try:
        prediction = proposals.predict(store, log_file, order, now=now)
    except sqlite3.Error as error:
        return Weighed(needs="C", why=(f"no replay: {error}",), dry_run=approval.digest(order, None))
    judged = approval.judge(order, prediction)
    return Weighed(needs=judged.needs, why=judged.why, dry_run=approval.digest(order, prediction))


def lease_order(run: Run, step: PlannedStep, call: Call) -> Order:
    """The lease that a call asks for."""
    said = actions.text(call.params["reason"]) if "reason" in call.params else ""
    return Order(
        action=call.action,
        selector=actions.selector(call.params),
        ttl=step.ttl,
        reason=f"playbook {run.plan.id}, step {step.id}{f': {said}' if said else ''}",
        incident=run.incident,
    )
