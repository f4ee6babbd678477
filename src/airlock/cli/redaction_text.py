"""What `airlock redaction` prints for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from airlock.audit.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airlock.cli.canaries import Trial
    from airlock.cli.redaction import Counted, Place


def counts(counted: Sequence[Counted], since: str) -> list[str]:
    """A line for each detector and tool."""
    if not counted:
        return [f"nothing was redacted since {since}"]
    lines = [f"{'REDACTIONS':>10}  {'EVENTS':>6}  {'DETECTOR':14} TOOL"]
    for row in counted:
        where = "/".join(visible(part) for part in (row.server, row.tool) if part) or "-"
        lines.append(f"{row.redactions:>10}  {row.events:>6}  {visible(row.detector):14} {where}")
    return lines


def places(found: Sequence[Place], files: int, detectors: Sequence[str]) -> list[str]:
    """A line for each hit, and how many by detector."""
    lines = [f"{visible(place.file)}:{place.line}:{place.column}: {place.detector}" for place in found]
    kinds = ", ".join(f"{number} {name}" for name, number in Counter(p.detector for p in found).most_common())
    looked = f"{files} file{'' if files == 1 else 's'}, {len(detectors)} detectors"
    return [*lines, f"{looked}: {kinds or 'nothing found'}"]


def trials(tried: Sequence[Trial]) -> list[str]:
    """A line for each detector and way, with the forms that failed."""
    lines: list[str] = []
    for trial in tried:
        forms = f"{trial.forms} forms" if trial.forms else ""
        lines.append(f"{trial.result:9}  {trial.detector:14} {trial.way:8} {forms}{_missed(trial)}".rstrip())
    return lines or ["no detector is on: nothing is redacted"]


def _missed(trial: Trial) -> str:
    return f"; came out: {', '.join(trial.missed)}" if trial.missed else ""
