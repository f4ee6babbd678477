"""Evidence bundles: what was asked for, what became of it, and who had it. Times are Unix seconds."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from airlock.model.lease import Unfit

INCIDENT_ID = re.compile(r"INC-[0-9]{8}-[0-9]{6}(-[0-9]{1,4})?", re.ASCII)
"""An incident id names folders and files: nothing else is taken for one."""

BUNDLE_ID = re.compile(r"evidence-INC-[0-9]{8}-[0-9]{6}(-[0-9]{1,4})?(\.[0-9]{1,4})?", re.ASCII)

LONGEST_WINDOW = 90 * 86400.0
"""Seconds that a bundle looks back at most."""

Wanted = Literal["", "quick", "complete", "seal"]
State = Literal["requested", "quick", "complete", "sealed", "failed"]
CustodyEvent = Literal["acquired", "completed", "sealed", "viewed", "copied", "transferred", "released"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants evidence, and how much of it."""

    window: float = 7200.0
    """Seconds of the audit log before the moment of the copy."""
    logs: float = 7200.0
    """Seconds of log lines before it."""
    tenant: str = ""
    """Only rows of this tenant are disclosed; empty: all."""
    who: str
    role: str = ""
    reason: str = ""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle. Its folder in `data_dir/evidence` has its id for a name."""

    id: str
    incident: str
    created_at: float
    asked: Asked
    wanted: Wanted
    """What somebody still has to do; empty: nothing."""
    state: State = "requested"
    digest: str = ""
    """SHA-256 of its `tagmanifest-sha256.txt`: stands for all of it."""
    key: str = ""
    """SHA-256 of the public key that signed it."""
    files: int = 0
    size: int = 0
    """Bytes of its payload."""
    collected_at: float | None = None
    sealed_at: float | None = None
    verified_at: float | None = None
    verified_exit: int | None = None
    """Exit code of the last verification."""
    whole: bool = False
    """It was as it was closed then, whatever the log in it looks like."""
    not_proven: tuple[str, ...] = ()
    problem: str = ""
    """Why the last work on it failed."""


def check_asked(incident: str, asked: Asked) -> None:
    """Raise `Unfit` `incident_id_invalid` or `window_invalid` for what cannot be collected."""
    if not INCIDENT_ID.fullmatch(incident):
        raise Unfit(
            "incident_id_invalid", "An incident id is INC-YYYYMMDD-HHMMSS, with -2 where it is taken."
        )
    for name, seconds in (("window", asked.window), ("logs", asked.logs)):
        if not 1 <= seconds <= LONGEST_WINDOW:
            raise Unfit("window_invalid", f"{name} is between 1 second and {LONGEST_WINDOW / 86400:g} days.")
