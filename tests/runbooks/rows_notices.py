"""What people are told, and whom the law wants told: S-42, S-43, A-20, A-21, A-70 to A-74, A-88, A-112."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.runbooks.registry import HEALTHY, Run, row
from tests.runbooks.response import AT, Responding, response
from tests.runbooks.rows_ladder import between

HOUR = 3600
UTC_MINUTE = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
BLANK = re.compile(r"\[[A-Za-z][A-Za-z/ ]*\]|<[A-Za-z][A-Za-z ]*>|\$\(|\$INCIDENT_ID")
"""A placeholder that nobody filled in. `[P0]` and the like are marks of a subject."""


def fields(text: str) -> dict[str, str]:
    """The lines `Name: value` of a notice, and each list under the name above it."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("- "):
            found[name] = f"{found.get(name, '')}{line}\n"
        elif ":" in line:
            name, _, value = line.partition(":")
            found[name] = value.strip()
    return found


def rendered(run: Run, what: str, id: str) -> str:
    """A notice as `airlock incident render` prints it, without a blank in it."""
    told = run.native("incident", "render", what, id)
    assert told.rc == 0, told
    body = told.out.partition("\n")[2] if told.out.startswith("Subject: ") else told.out
    assert not BLANK.search(body), body
    return told.out


def watched(run: Run) -> str:
    """An incident whose fix is watched."""
    stack = response(run)
    if "watched" not in stack.known:
        record = stack.opened(
            severity="P1", title="Calls are refused", commander="Alice", affected_services=["files"],
            affected_users="12 people of acme", symptoms=["403"],
        )  # fmt: skip
        id = record["id"]
        stack.done("POST", f"{AT}/{id}/declare", {})
        stack.done("POST", f"{AT}/{id}/identify", {"hypothesis": "A bad policy", "evidence": ["row-1"]})
        stack.done("POST", f"{AT}/{id}/mitigate", {"action": "The policy of yesterday decides again"})
        stack.known["watched"] = id
    return stack.known["watched"]


@row("S-42", engine=True)
def colleagues_read_where_it_stands(run: Run) -> None:
    id = watched(run)
    text = rendered(run, "internal", id)
    assert text.splitlines()[0] == "Subject: [SARK] Incident Update - Calls are refused", text
    said = fields(text)
    assert said["Status"] == "Identified (fix applied, monitoring)", said
    assert said["Severity"] == "P1 (High)", said
    assert re.fullmatch(UTC_MINUTE, said["Start Time"]), said
    assert said["Impact"].startswith("12 people of acme"), said
    for name in ("Current Situation", "Actions Taken", "Next Steps", "ETA to Resolution"):
        assert said[name], (name, text)
    fresh = response(run).opened(severity="P2")["id"]
    note = response(run).done("POST", f"{AT}/{fresh}/comms", {"template": "internal"})["messages"][0]
    assert fields(note["body"])["Status"] == "Investigating", note
    run.answer(said["Status"])


@row("S-43", engine=True)
def customers_read_how_often_they_are_told(run: Run) -> None:
    stack = response(run)
    for severity, cadence in (("P0", "every 15 minutes"), ("P1", "every 30 minutes")):
        id = stack.opened(severity=severity, affected_services=["files"])["id"]
        waiting = stack.ask("POST", f"{AT}/{id}/comms", {"template": "customer"})
        assert waiting.status == 202, waiting.body
        [message] = waiting.json["messages"]
        assert message["subject"] == "Service Disruption Notice - SARK MCP Governance", message
        assert f"Updates follow {cadence} until" in message["body"], message
        assert not BLANK.search(message["body"]), message
    said = fields(rendered(run, "customer", id))
    assert said["Impact"].startswith("- Services: files"), said
    assert said["Urgent questions"] == "support@your-company.com", said
    assert said["Status"], said
    assert said["ETA"] == "not yet known", said
    only_the_communications_lead_sends_it(stack, id, message)
    run.answer("P0: every 15 minutes, P1: every 30 minutes; it waits for the communications lead")


def only_the_communications_lead_sends_it(stack: Responding, id: str, message: dict[str, Any]) -> None:
    approval = {"role": "communications_lead", "sha256": message["sha256"]}
    path = f"{AT}/{id}/comms/{message['id']}/approve"
    refused = stack.ask("POST", path, approval)
    assert 400 <= refused.status < 500, refused.body
    assert not sent(stack, message["id"])
    stack.done("POST", f"{AT}/{id}/roles", {"role": "communications_lead", "person": person(stack)})
    stack.done("POST", path, approval)
    stack.told(id, "comm_sent", message["sha256"])
    assert sent(stack, message["id"])


def sent(stack: Responding, message: str) -> bool:
    """Whether it reached somebody."""
    return any(body["id"] == message for _, body in stack.desk.got)


def person(stack: Responding) -> str:
    """The administrator of the checks, as a record names people."""
    id = stack.opened(severity="P3")["id"]
    stack.done("POST", f"{AT}/{id}/notes", {"text": "It is me"})
    return stack.timeline(id, "note")[0]["actor"]["id"]


@row("A-20", engine=True)
def the_first_notice_says_everything(run: Run) -> None:
    stack = response(run)
    for severity, cadence in (("P0", "every 15 minutes"), ("P1", "every 30 minutes")):
        id = stack.opened(severity=severity, commander="Alice", affected_services=["files"])["id"]
        text = rendered(run, "notification", id)
        assert text.splitlines()[0] == f"Subject: [{severity}] MCP Airlock Incident - {id}", text
        said = fields(text)
        assert said["Incident ID"] == id, said
        assert said["Severity"].startswith(f"{severity} ("), said
        assert said["Current Status"] == "INVESTIGATING", said
        assert re.fullmatch(UTC_MINUTE, said["Start Time"]), said
        assert "- Services: files\n" in said["Impact"], said
        assert f"Updates follow {cadence} until the incident is resolved." in text, text
        assert said["Incident Commander"] == "Alice", said
        assert said["Status Page"] == "https://status.company.com", said
    run.answer("P0: every 15 minutes, P1: every 30 minutes")


@row("A-21", engine=True)
def the_team_reads_the_state_of_the_service(run: Run) -> None:
    stack = response(run)
    id = stack.opened(severity="P1", commander="Alice", business_impact="Orders stand still")["id"]
    text = rendered(run, "team", id)
    assert text.splitlines()[0] == f"\U0001f6a8 MCP Airlock Incident - {id}", text
    said = fields(text)
    assert said["Severity"] == "P1 (High)", said
    assert (said["Type"], said["Commander"]) == ("Service Outage", "Alice"), said
    [service] = re.findall(r"^- Service: (UP|DOWN|DEGRADED)", text, re.MULTILINE)
    assert (service == "UP") == (stack.gateway.get("/health").json["status"] == "ok"), text
    assert "- Impact: Orders stand still\n" in said["Now"], said
    assert "- ETA: not yet known" in said["Now"], said
    assert said["War Room"] == f"#incident-response-{id}", said
    run.answer(f"U+1F6A8, service {service}")


@row("A-88", engine=True)
def an_update_names_the_next_one(run: Run) -> None:
    stack, id = response(run), watched(run)
    stack.done("POST", f"{AT}/{id}/comms", {"template": "update", "audience": "status_updates"})
    stack.told(id, "comm_sent", '"update"')
    record = stack.incident(id)
    assert between(record["last_update_at"], record["next_update_due"]) == HOUR / 2, record
    text = rendered(run, "update", id)
    assert text.splitlines()[0] == f"Subject: [UPDATE] MCP Airlock Incident - {id}", text
    said = fields(text)
    assert said["Status"] == "MONITORING", said
    due = datetime.fromisoformat(record["next_update_due"]).strftime("%Y-%m-%d %H:%M UTC")
    assert said["Next Update"] == due, (said, record)
    for name in ("Current Situation", "Actions Taken", "Next Steps", "Impact"):
        assert said[name].startswith("- "), (name, text)
    assert said["ETA"] == "not yet known", said
    run.answer("MONITORING, and the next update 30 minutes after the last")


@row("A-112", engine=True)
def every_text_has_its_channel(run: Run) -> None:
    stack = response(run)
    id = stack.opened(severity="P1", commander="Alice")["id"]
    stack.done("POST", f"{AT}/{id}/declare", {})
    stack.done("POST", f"{AT}/{id}/comms", {"template": "executive"})
    wanted = {
        "team": ("war_room", f"#incident-response-{id}"),
        "notification": ("status_updates", "#status-updates"),
        "executive": ("executive", "#exec-incidents"),
    }
    for template, (audience, channel) in wanted.items():
        run.until(lambda: receipt(stack, id, template), what=f"a receipt for {template}")  # noqa: B023
        said = receipt(stack, id, template)
        assert (said["audience"], said["channel"]) == (audience, channel), said
        assert said["receipts"][-1]["detail"].startswith("200"), said
        assert any(path == audience and body["id"] == said["id"] for path, body in stack.desk.got), said
    [customer] = stack.ask("POST", f"{AT}/{id}/comms", {"template": "customer"}).json["messages"]
    assert customer["channel"] == "status page", customer
    notice = next(body["body"] for _, body in stack.desk.got if body["template"] == "notification")
    assert "Status Page: https://status.company.com" in notice
    run.answer("war room, #status-updates, #exec-incidents, status page; each with a receipt")


def receipt(stack: Responding, id: str, template: str) -> dict[str, Any]:
    """The message of a template that was delivered; empty: none was yet."""
    messages = stack.done("GET", f"{AT}/{id}/comms")["messages"]
    mine = (message for message in messages if message["template"] == template and message["sent_at"])
    none: dict[str, Any] = {}
    return next(mine, none)


def breached(run: Run) -> str:
    """An incident in which a breach is suspected, with nothing decided about whom to notify."""
    stack = response(run)
    if "breached" not in stack.known:
        stack.known["breached"] = stack.opened(
            type="data_issue", subtype="data_breach", is_suspected_breach=True, title="Data may be out"
        )["id"]
    return stack.known["breached"]


def report_of_a_breach(run: Run) -> str:
    """The file of the breach, with what its headings promise."""
    id = breached(run)
    text = rendered(run, "breach", id).replace("- [ ] ", "- ").replace("- [x] ", "- ")
    lines = text.splitlines()
    assert lines[0] == f"# Data Breach Report: {id}", text
    assert "**Incident Type**: Data Breach" in lines, text
    assert re.search(rf"^\*\*Discovery Date\*\*: {UTC_MINUTE}$", text, re.MULTILINE), text
    assert "**Estimated Start**: not yet known" in lines, text
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[:5] == [
        "## Data Involved", "## Affected Individuals", "## Containment Actions",
        "## Regulatory Notifications Required", "## Next Steps",
    ], headings  # fmt: skip
    assert "- Geographic Scope: unknown, because the log holds no places" in lines, text
    return text


@row("A-70", engine=True)
@row("A-70", fault="F11", engine=True)
def the_report_of_a_breach_counts_from_the_log(run: Run) -> None:
    stack = response(run)
    canaries: dict[str, str] = run.facts.values.get("canaries", {})
    if run.check.fault != HEALTHY:
        before = stack.gateway.rows("SELECT COUNT(*) FROM audit_events WHERE action = 'redact_data'")[0][0]
        for number in range(3):
            assert stack.call("files__echo", text=f"tell me {number}").status == 200
        stack.gateway.recorded("action = 'redact_data'", count=before + 3)
        stack.known.pop("breached", None)
    text = report_of_a_breach(run)
    [number] = re.findall(r"^- Number of Records: (\d+) values taken out", text, re.MULTILINE)
    summed = "SELECT COALESCE(SUM(redaction_count), 0) FROM audit_events WHERE action = 'redact_data'"
    assert stack.gateway.rows(summed) == [(int(number),)], text
    if run.check.fault == HEALTHY:
        run.answer(f"Number of Records: {number}")
        return
    assert int(number) >= 3 * len(canaries), text
    assert not any(value in text for value in canaries.values()), text
    for detector in canaries:
        assert re.search(rf"^- .*{detector}", text, re.MULTILINE), (detector, text)
    run.answer("values of every injected kind, as many as the log counts")


@row("A-71", engine=True)
def seventy_two_hours_run_from_the_awareness(run: Run) -> None:
    stack = response(run)
    id = stack.opened(type="data_issue", severity="P0", title="Data may be out")["id"]
    aware = datetime.now(UTC) - timedelta(hours=57, minutes=37)
    at = aware.strftime("%Y-%m-%dT%H:%M:%SZ")
    told = run.native(
        "incident", "clocks", "start", "gdpr", "--trigger", "awareness", "--at", at, "--incident", id
    )
    assert told.rc == 0, told
    clock = stack.clock(id, "gdpr:notification")
    assert (between(at, clock["due_at"]), between(at, clock["warn_at"])) == (72 * HOUR, 57.6 * HOUR), clock
    assert clock["state"] == "warned", clock
    assert stack.told(id, "clock_warned", "gdpr:notification")
    stack.done("POST", f"{AT}/{id}/clocks/met", {"id": "gdpr", "stage": "notification"})
    assert stack.told(id, "clock_met", "gdpr")
    assert stack.clock(id, "gdpr:notification")["state"] == "met"
    early = stack.opened(type="data_issue", severity="P0", title="Fresh")["id"]
    order = {"id": "gdpr", "trigger": "awareness", "at": time.time() - 57 * HOUR}
    stack.done("POST", f"{AT}/{early}/clocks", order)
    assert stack.clock(early, "gdpr:notification")["state"] == "running"
    run.answer("72 hours from the awareness, a warning at 57.6 hours, an event when it is met")


@row("A-72", engine=True)
@row("A-73", engine=True)
def a_duty_runs_or_does_not_apply_and_somebody_says_why(run: Run) -> None:
    stack, law = response(run), {"A-72": "ccpa", "A-73": "sox"}[run.check.row]
    [undecided] = duties(report_of_a_breach(run), law)
    assert "undecided" in undecided, undecided
    id = stack.opened(type="data_issue", severity="P0", title="Nobody of there")["id"]
    reason = "No resident of California is a customer"
    stack.done("POST", f"{AT}/{id}/clocks", {"id": law, "not_applicable": reason})
    event = next(each for each in stack.timeline(id) if reason in str(each))
    assert event["actor"]["type"] == "human", event
    told = stack.airlock("incident", "render", "breach", id)
    [decided] = duties(told.out, law)
    assert f"not applicable: {reason}" in decided or reason in decided, decided
    assert "undecided" not in decided, decided
    run.answer(undecided)


def duties(text: str, law: str) -> list[str]:
    """Lines about a law in a report."""
    return [line for line in text.splitlines() if line.startswith("- ") and f"{law.upper()}," in line]


@row("A-74", engine=True)
def a_rule_of_the_industry_is_an_entry_of_a_table(run: Run) -> None:
    stack = response(run)
    text = report_of_a_breach(run)
    for law in ("nis2", "dora"):
        assert duties(text, law), text
    id = stack.opened(type="data_issue", severity="P0", title="A bank")["id"]
    stack.done("POST", f"{AT}/{id}/clocks", {"id": "bank_24h", "trigger": "awareness"})
    clock = stack.clock(id, "bank_24h:report")
    assert between(clock["started_at"], clock["due_at"]) == 24 * HOUR, clock
    assert clock["state"] == "running", clock
    run.answer("NIS2 and DORA are there; an added entry is a clock")
