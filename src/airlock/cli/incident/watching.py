"""The watch over an incident that is mitigated or resolved, as `airlock incident watch` begins it."""

from __future__ import annotations

from pathlib import Path

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE
from airlock.cli.incident.asking import Asking, path
from airlock.cli.incident.reading import Reading

BEFORE = ("TRIAGE", "INVESTIGATING", "IDENTIFIED")
"""Statuses in which there is nothing to watch yet: people work on it."""

OVER = ("RESOLVED", "IN_REVIEW")


def begin_watch(id: str, lasting: str, token: str, config: Path | None) -> bool:
    """Watch an incident for so long (`24h`), where there is something to watch. Whether it is over, so that
    opening it again would be news. Ends the program where it cannot be watched."""
    asking = Asking(config, token)
    status = str(asking.of(id)["incident"]["status"])
    if status in BEFORE:
        return False
    if status not in ("MONITORING", *OVER):
        raise asking.stop(f"{visible(id)} is {status}: nothing opens it again", UNUSABLE)
    told = asking.ask("POST", path(id, "watch"), {"lasting": lasting}).document
    until, lease = visible(told["expires_at"]), visible(told["lease"])
    typer.echo(f"airlock incident: {visible(id)} is watched until {until} (lease {lease})", err=True)
    return status in OVER


def is_over(files: Reading, id: str) -> bool:
    """Whether nobody works on an incident."""
    from airlock.store import incidents

    record = incidents.get(files.where.store, id)
    return record is not None and record.status in OVER
