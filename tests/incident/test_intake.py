"""Reports that people wrote by hand at the beginning."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airlock.core.errors import ConfigError
from airlock.incident.intake import read

FULL = """\
# Incident Report: INC-20261128-210700

**Severity**: P0
**Type**: Service Outage
**Start Time**: Sat Nov 28 21:07:00 UTC 2026
**Incident Commander**: Ada Lovelace
**Status**: INVESTIGATING

## Initial Symptoms
- Every call fails
- The pager rang

## Impact Assessment
- Affected Users: all of acme
- Affected Services: gateway, files
- Business Impact: nobody works

## Timeline
- Sat Nov 28 21:07:00 UTC 2026: Incident detected
21:08 UTC [note] a line that a program wrote
"""
BLANK = """\
# Incident Report: INC-20261128-210700

**Severity**: [P0/P1/P2/P3]
**Type**: [Service Outage/Security/Performance/etc.]
**Incident Commander**: [Name]

## Initial Symptoms
- [Describe what was observed]

## Impact Assessment
- Affected Users: [Number/Groups]
- Anything else: 7
"""
BEGAN = datetime(2026, 11, 28, 21, 7, tzinfo=UTC).timestamp()


def test_everything_that_was_filled_in_is_read() -> None:
    report = read(FULL, "incident.md")
    assert report.order == {
        "id": "INC-20261128-210700",
        "severity": "P0",
        "type": "service_outage",
        "estimated_start": BEGAN,
        "commander": "Ada Lovelace",
        "affected_users": "all of acme",
        "affected_services": ["gateway", "files"],
        "business_impact": "nobody works",
        "symptoms": ["Every call fails", "The pager rang"],
        "title": "Every call fails",
    }
    assert report.notes == ("Sat Nov 28 21:07:00 UTC 2026: Incident detected",)


def test_what_was_not_filled_in_stays_open() -> None:
    assert read(BLANK, "incident.md").order == {"id": "INC-20261128-210700"}


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-28T21:07:00Z",
        "2026-11-28 21:07 UTC",
        "2026-11-28 21:07:00 UTC",
        "2026-11-28T21:07:00+00:00",
        "Sat Nov 28 09:07:00 PM UTC 2026",
    ],
)
def test_times_are_read_as_machines_write_them(written: str) -> None:
    text = FULL.replace("Time**: Sat Nov 28 21:07:00 UTC 2026", f"Time**: {written}")
    assert read(text, "x").order["estimated_start"] == BEGAN


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("Security", "security_incident"),
        ("security incident", "security_incident"),
        ("Performance", "performance_degradation"),
        ("data_issue", "data_issue"),
        ("Policy failure", "policy_failure"),
    ],
)
def test_types_are_read_by_their_word(word: str, kind: str) -> None:
    assert read(FULL.replace("Service Outage", word), "x").order["type"] == kind


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("P0", "grave", "x:3", "no severity"),
        ("Service Outage", "Flood", "x:4", "no type"),
        ("Service Outage", "Data and policy", "x:4", "no type"),
        ("Time**: Sat Nov 28 21:07:00 UTC 2026", "Time**: yesterday", "x:5", "no time"),
        ("# Incident Report: INC-20261128-210700", "# A report", "x:1", "no incident"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_line(old: str, new: str, where: str, what: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        read(FULL.replace(old, new, 1), "x")
    assert wrong.value.where == where
    assert what in wrong.value.what
    assert wrong.value.hint
