"""Who is called, when, and how often people are told: S-39 to S-41, S-51, A-01, A-87, A-106 to A-111."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import yaml

from tests.runbooks.registry import Run, row
from tests.runbooks.response import AT, CONTACTS, response

MINUTE, HOUR = 60, 3600
RESPONSE = {"P0": 15 * MINUTE, "P1": HOUR, "P2": 4 * HOUR, "P3": 24 * HOUR}
UPDATE = {"P0": 15 * MINUTE, "P1": 30 * MINUTE, "P2": 2 * HOUR, "P3": 24 * HOUR}


def between(start: str, end: str) -> float:
    """Seconds between two times of RFC 3339."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


@row("A-01", engine=True)
def a_severity_says_how_soon_somebody_answers(run: Run) -> None:
    stack = response(run)
    for severity, limit in RESPONSE.items():
        record = stack.opened(severity=severity)
        clock = stack.clock(record["id"], "response")
        assert between(clock["started_at"], clock["due_at"]) == limit, clock
        assert clock["started_at"] == record["opened_at"], clock
    late = stack.opened_ago(HOUR + MINUTE, severity="P1")
    event = stack.told(late, "clock_breached", '"response"')
    assert event["occurred_at"] == stack.clock(late, "response")["due_at"], event
    run.answer("P0 15 minutes, P1 1 hour, P2 4 hours, P3 24 hours; a breach is an event at its due time")


@row("A-87", engine=True)
def a_severity_says_how_often_people_are_told(run: Run) -> None:
    stack = response(run)
    for severity, limit in UPDATE.items():
        record = stack.opened(severity=severity)
        assert between(record["opened_at"], record["next_update_due"]) == limit, record
    late = stack.opened_ago(31 * MINUTE, severity="P1")
    stack.done("POST", f"{AT}/{late}/roles", {"role": "communications_lead", "person": "Charlie"})
    due = stack.told(late, "clock_breached", '"update"')["occurred_at"]

    def reminded() -> str:
        mine = (message for _, message in stack.desk.got if message["incident"] == late)
        return next((each["body"] for each in mine if each["template"] == "reminder"), "")

    reminder = run.until(reminded, what="a reminder")
    assert f"an update is overdue since {due}; communications lead:" in reminder, reminder
    run.answer("P0 15 minutes, P1 30 minutes, P2 2 hours, P3 1 day; what is overdue is an event and a page")


@row("S-39", engine=True)
def the_first_level_is_paged_at_once_and_the_next_when_nobody_answers(run: Run) -> None:
    stack = response(run)
    fresh = stack.opened(severity="P1")["id"]
    page = stack.page(fresh, "L1")
    assert f"on_call.primary: {CONTACTS['on_call']['primary']}" in page["body"], page
    late = stack.opened_ago(HOUR / 3 + MINUTE, severity="P1", commander="Alice")
    details = stack.called(late, "L2", "the page to L1 was not answered within 20 minutes")
    assert details["triggers"] == ["the page to L1 was not answered within 20 minutes"], details
    assert [each["details"]["level"] for each in stack.timeline(fresh, "escalated")] == ["L1"]
    run.answer("L1 is paged at the opening, L2 20 minutes later if nobody answers")


@row("S-40", engine=True)
def the_second_level_is_called_by_time_and_by_what_is_feared(run: Run) -> None:
    stack = response(run)
    for severity in ("P0", "P1"):
        late = stack.opened_ago(31 * MINUTE, severity=severity)
        stack.called(late, "L2", "unresolved after 30 minutes")
    for flag, trigger in (
        ("data_loss_suspected", "data may be lost"), ("breach_confirmed", "a breach is confirmed"),
    ):  # fmt: skip
        fresh = stack.opened(severity="P2")["id"]
        stack.done("POST", f"{AT}/{fresh}/flags", {"flags": [flag]})
        stack.called(fresh, "L2", trigger)
    early = stack.opened_ago(10 * MINUTE, severity="P1", commander="Alice")
    assert stack.clock(early, "L2")["state"] == "running"
    assert stack.clock(early, "L2")["met_at"] is None
    told = run.native("incident", "escalate", early, "--level", "L2", "--reason", "it spreads", "--json")
    assert told.rc == 0, told
    assert stack.called(early, "L2", "it spreads")["who"] == "senior engineer, team lead, SRE"
    run.answer("L2 after 30 minutes, at once for a breach or lost data, and by hand")


@row("S-41", engine=True)
def the_third_level_comes_with_security(run: Run) -> None:
    stack = response(run)
    for flag in ("sensitive_data_exposed", "regulatory"):
        id = stack.opened(severity="P2")["id"]
        stack.done("POST", f"{AT}/{id}/flags", {"flags": [flag]})
        assert "security_team" in stack.called(id, "L3")["parties"]
        page = stack.page(id, "L3")["body"]
        for group, name in (("management", "engineering_manager"), ("external", "security_team")):
            assert f"{group}.{name}: {CONTACTS[group][name]}" in page, page
    media = stack.opened(severity="P2")["id"]
    stack.done("POST", f"{AT}/{media}/flags", {"flags": ["media"]})
    assert stack.called(media, "L5", "media")["who"] == "CTO, VP engineering"
    run.answer("sensitive data or a duty to notify: L3 and security at once; media: L5")


@row("A-106", engine=True)
def every_level_of_the_ladder_is_paged(run: Run) -> None:
    stack = response(run)
    id = stack.opened(severity="P3")["id"]
    first = {
        "L1": "on_call.primary", "L2": "management.platform_lead", "L3": "management.engineering_manager",
        "L4": "management.director", "L5": "management.cto",
    }  # fmt: skip
    for level, key in first.items():
        stack.done("POST", f"{AT}/{id}/escalate", {"level": level, "reason": "a drill of the ladder"})
        stack.called(id, level, "a drill of the ladder")
        page = stack.page(id, level)
        group, _, name = key.partition(".")
        assert f"{key}: {CONTACTS[group][name]}" in page["body"], page
        assert (page["action"], page["incident"]) == ("trigger", id), page
    run.answer("L1 to L5: an event and a page each, all under the id of the incident")


@row("A-107", engine=True)
def parties_outside_are_told(run: Run) -> None:
    stack = response(run)
    for flag, parties in {
        "breach_confirmed": ("security_team", "legal_team"),
        "third_party_failure": ("vendor_support",),
        "media": ("executive_team",),
    }.items():
        id = stack.opened(severity="P2")["id"]
        stack.done("POST", f"{AT}/{id}/flags", {"flags": [flag]})
        for party in parties:
            assert stack.called(id, party)["contacts"], (flag, party)
    run.answer("breach: security and legal; vendor's part: its support; media: executives")


@row("A-108", engine=True)
def time_alone_calls_the_next_levels(run: Run) -> None:
    stack = response(run)
    grave = stack.opened_ago(HOUR + MINUTE, severity="P0")
    stack.called(grave, "L2", "unresolved after 30 minutes")
    stack.called(grave, "L3", "unresolved after 1 hour")
    high = stack.opened_ago(4 * HOUR + MINUTE, severity="P1")
    stack.called(high, "L2", "unresolved after 30 minutes")
    stack.called(high, "L3", "unresolved after 4 hours")
    later = stack.opened_ago(2 * HOUR, severity="P1")
    stack.called(later, "L2", "unresolved after 30 minutes")
    clock = stack.clock(later, "L3")
    assert between(clock["started_at"], clock["due_at"]) == 4 * HOUR, clock
    assert not stack.clock(stack.opened(severity="P2")["id"], "response")["breached_at"]
    run.answer("L2 after 30 minutes; L3 after 1 hour of a P0, after 4 hours of a P1")


@row("A-109", engine=True)
def impact_calls_people_at_once(run: Run) -> None:
    stack = response(run)
    id = stack.opened(severity="P3")["id"]
    assert not stack.timeline(id, "escalated")
    stack.done("POST", f"{AT}/{id}/flags", {"flags": ["customer_impact"]})
    stack.called(id, "L3", "customers are affected")
    breach = stack.opened(severity="P3")["id"]
    stack.done("POST", f"{AT}/{breach}/flags", {"flags": ["breach_confirmed"]})
    stack.called(breach, "L4", "a breach is confirmed")
    assert stack.incident(breach)["severity"] == "P0"
    run.answer("customers affected: L3; a breach: P0 and L4")


@row("A-110", engine=True)
def what_is_complex_calls_the_second_level(run: Run) -> None:
    stack = response(run)
    unknown = stack.opened_ago(31 * MINUTE, severity="P2", title="Nobody knows why")
    stack.called(unknown, "L2", "the cause is unknown after 30 minutes")
    several = stack.opened(severity="P2", affected_services=["files", "srv-evil"])["id"]
    stack.called(several, "L2", "2 services are affected")
    known = stack.opened(severity="P2", affected_services=["files"])["id"]
    stack.done("POST", f"{AT}/{known}/notes", {"text": "looked at"})
    assert not stack.timeline(known, "escalated")
    run.answer("an unknown cause after 30 minutes, or two services: L2")


@row("S-51", engine=True)
@row("A-111", engine=True)
def a_contact_that_is_missing_is_named(run: Run) -> None:
    """The four roles of the one runbook and the file of the other: each loads, and says what it lacks."""
    stack = response(run)
    told = run.native("contacts", "check", "--json")
    assert (told.rc, told.json["concerns"]) == (0, []), told
    whole = stack.contacts.read_text()
    try:
        stack.contacts.write_text(yaml.safe_dump({"contacts": LACKING[run.check.row]}))
        lacking = stack.airlock("contacts", "check", "--json")
    finally:
        stack.contacts.write_text(whole)
    assert lacking.rc == 1, lacking
    said: dict[str, Any] = lacking.json
    known = {f"{group}.{name}" for group, names in LACKING[run.check.row].items() for name in names}
    assert known <= set(said["contacts"]), said
    named = [each["key"] for each in said["concerns"]]
    assert MISSING[run.check.row] in named, said
    run.answer(f"every level can be called; without {MISSING[run.check.row]} the check says so")


LACKING: dict[str, dict[str, dict[str, str]]] = {
    "A-111": {
        "on_call": {"primary": "+1-555-0101", "secondary": "+1-555-0102"},
        "management": {"engineering_manager": "+1-555-0201", "director": "+1-555-0301"},
        "external": {"security_team": "security@company.com", "legal_team": "legal@company.com"},
        "vendors": {"cloud_provider": "+1-800-SUPPORT", "monitoring_vendor": "support@monitoring.com"},
        "others": {"building": "+1-555-0501"},
    },
    "S-51": {
        "on_call": {"primary": "+1-555-0101"},
        "management": {"platform_lead": "+1-555-0103", "cto": "+1-555-0401"},
    },
}
"""The shape of the playbook as it stands there, with a group that nobody knows; and three of four roles."""
MISSING = {"A-111": "external.executive_team", "S-51": "external.security_team"}
