"""After it is over: S-09, S-10, S-44 to S-50, A-89, A-97 to A-105."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.runbooks.extract import ROOT
from tests.runbooks.registry import HEALTHY, Run, row
from tests.runbooks.response import AT, Responding, response
from tests.runbooks.rows_notices import BLANK, UTC_MINUTE, fields, person
from tests.runbooks.rows_triage import webhook

HOUR = 3600
CAUSE, RESOLUTION = "A policy without a test", "The policy of yesterday decides again"
LINE = re.compile(r"\d\d:\d\d UTC(?: \+\d+d)? \[\w+\] .* \(event \d+\)")
WHYS = ("occurrence", "prevention", "detection_delay", "resolution_time", "monitoring")
MILESTONES = ("detected", "team notified", "cause identified", "fix deployed", "restored")
ITEMS: tuple[dict[str, Any], ...] = (
    {"text": "Alert on refusals", "kind": "rule", "owner": "Alice", "due": "2099-01-31", "priority": "high",
     "details": {"rule": "MCP-001"}},
    {"text": "Lower the threshold", "kind": "threshold", "owner": "Bob", "due": "2099-02-28",
     "details": {"old": "20", "new": "10", "rule": "MCP-001"}},
    {"text": "Refuse policies without a test", "kind": "policy", "owner": "Alice", "due": "2099-03-31"},
    {"text": "Practise it", "kind": "process", "owner": "Bob", "due": "2099-04-30", "priority": "low"},
)  # fmt: skip


def resolved(run: Run) -> str:
    """An incident that began two hours ago, was contained, mended, and just resolved."""
    stack = response(run)
    if "resolved" not in stack.known:
        stack.known["resolved"] = resolve(stack)
    return stack.known["resolved"]


def resolve(stack: Responding) -> str:
    began = time.time() - 2 * HOUR
    id = stack.opened(
        severity="P1", title="Calls are refused", commander=person(stack), affected_services=["files"],
        symptoms=["403"], affected_users="12 people of acme", estimated_start=began, detected_at=began + HOUR,
        detection_source="monitoring_alert",
    )["id"]  # fmt: skip
    stack.done("POST", f"{AT}/{id}/acknowledge", {})
    stack.done("POST", f"{AT}/{id}/declare", {})
    lease = stack.done(
        "POST",
        "/api/v1/leases",
        {
            "action": "ip.block", "selector": {"cidr": "198.51.100.77"}, "ttl": "1h",
            "reason": "It guesses", "incident": id,
        },
    )  # fmt: skip
    stack.told(id, "containment_succeeded", lease["lease_id"])
    stack.done("POST", f"{AT}/{id}/identify", {"hypothesis": CAUSE, "evidence": [lease["lease_id"]]})
    stack.done("POST", f"{AT}/{id}/mitigate", {"action": RESOLUTION})
    too_early = stack.ask("POST", f"{AT}/{id}/resolve", {"root_cause": CAUSE, "resolution": RESOLUTION})
    assert too_early.status == 409, too_early.body
    stack.done("DELETE", f"/api/v1/leases/{lease['lease_id']}", {"reason": "It stopped"})
    stack.told(id, "containment_released", lease["lease_id"])
    runs = [{"check": check, "exit": 0} for check in CHECKS]
    stack.done("POST", f"{AT}/{id}/verify", {"runs": runs})
    stack.done("POST", f"{AT}/{id}/watch", {"lasting": "24h"})
    stack.done("POST", f"{AT}/{id}/resolve", {"root_cause": CAUSE, "resolution": RESOLUTION})
    return id


def leased(stack: Responding) -> set[str]:
    """The leases that are in force."""
    return {each["id"] for each in stack.done("GET", "/api/v1/leases")["leases"]}


CHECKS = ("live", "ready", "metrics", "e2e", "performance", "security")
"""A whole verification. That these checks tell good from bad is shown by A-90 to A-95."""


def reviewed(run: Run) -> str:
    """The same incident, with everything that people say of it afterwards."""
    stack, id = response(run), resolved(run)
    if "reviewed" not in stack.known:
        meeting = (datetime.now(UTC) + timedelta(hours=48)).strftime("%Y-%m-%dT%H:%M:%SZ")
        stack.done(
            "POST", f"{AT}/{id}/review", {"scheduled_for": meeting, "link": "https://meet.company.com/1"}
        )
        refused = stack.ask("POST", f"{AT}/{id}/close", {})
        assert refused.status == 409, refused.body
        stack.known["missing"] = {each["key"] for each in refused.json["missing"]}
        said: dict[str, Any] = {why: f"Because of {why}" for why in WHYS}
        said |= {
            "contributing_factors": ["No second reader"], "went_well": ["It was seen within a minute"],
            "improve": ["A policy needs a test"], "breach_answered": False,
            "preventive_measures": "Policies are tested before they decide",
        }  # fmt: skip
        stack.done("POST", f"/api/v1/reviews/{id}", said)
        for item in ITEMS:
            stack.done("POST", f"{AT}/{id}/actions", item)
        stack.known["reviewed"] = True
    return id


def pir(run: Run) -> str:
    """The document of the review, rendered once."""
    stack, id = response(run), reviewed(run)
    if "pir" not in stack.known:
        told = stack.airlock("incident", "render", "review", id)
        assert told.rc == 0, told
        assert not BLANK.search(told.out), told.out
        stack.known["pir"] = told.out
    return stack.known["pir"]


def section(text: str, heading: str) -> list[str]:
    """The lines under a heading, without blank ones."""
    rest = text.split(f"\n## {heading}\n", 1)[1]
    return [line for line in rest.split("\n## ", 1)[0].splitlines() if line.strip()]


def table(lines: list[str]) -> list[list[str]]:
    """Cells of a table below its head."""
    rows = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[2:]]


@row("S-09", engine=True)
def a_changed_threshold_is_an_item(run: Run) -> None:
    stack = response(run)
    id = stack.opened(severity="P2")["id"]
    told = run.native(
        "incident", "actions", "add", id, "Fewer refusals are enough", "--kind", "threshold", "--owner",
        "Bob", "--due", "2099-02-28", "--detail", "rule=MCP-001", "--detail", "old=20", "--detail",
        "new=10", "--json",
    )  # fmt: skip
    assert told.rc == 0, told
    [item] = stack.incident(id)["actions"]
    assert item["details"] == {"rule": "MCP-001", "old": "20", "new": "10"}, item
    event = stack.told(id, "action_item_created")
    assert event["actor"]["id"].endswith("|olga"), event
    assert "Fewer refusals are enough" in event["summary"], event
    run.answer("MCP-001: 20 -> 10, by whom and why")


@row("S-10", engine=True)
def without_lessons_it_stays_open(run: Run) -> None:
    id = reviewed(run)
    assert {f"why_{why}" for why in WHYS} <= response(run).known["missing"]
    review = response(run).incident(id)["review"]
    assert (review["went_well"], review["improve"]) == (
        ["It was seen within a minute"], ["A policy needs a test"],
    )  # fmt: skip
    run.answer(f"close refused: {', '.join(sorted(response(run).known['missing']))}")


@row("S-44", engine=True)
def the_summary_is_computed(run: Run) -> None:
    id = reviewed(run)
    told = run.native("incident", "render", "review", id)
    record = response(run).incident(id)
    said = dict(re.findall(r"^- \*\*([^:]+):\*\* (.*)$", told.out, re.MULTILINE))
    start = datetime.fromisoformat(record["estimated_start"])
    lasted = (datetime.fromisoformat(record["resolved_at"]) - start).total_seconds()
    hours, minutes = divmod(int(lasted // 60), 60)
    assert said["Date"] == start.strftime("%Y-%m-%d"), said
    assert said["Duration"].startswith(f"{hours} h {minutes} min" if minutes else f"{hours} h"), (
        said,
        lasted,
    )
    assert (said["Severity"], said["Services Affected"]) == ("P1", "files"), said
    run.answer("date, duration, severity and services, from the record")


@row("S-45", engine=True)
def the_timeline_has_its_five_rows(run: Run) -> None:
    rows = table(section(pir(run), "Timeline"))
    for word, (at, text) in zip(MILESTONES, rows, strict=False):
        assert text.startswith(word), rows
        assert re.fullmatch(UTC_MINUTE, at), rows
    fresh = response(run).opened(severity="P3")["id"]
    early = run.stack.airlock("incident", "render", "review", fresh).out
    unknown = [text for at, text in table(section(early, "Timeline")) if at == "not recorded"]
    assert unknown == ["team notified", "cause identified", "fix deployed", "restored"], early
    run.answer("five times; of an incident that just began four read: not recorded")


@row("S-46", engine=True)
def without_a_root_cause_it_stays_open(run: Run) -> None:
    stack = response(run)
    assert CAUSE in section(pir(run), "Root Cause")[0]
    bare = stack.opened(severity="P1", commander="Alice")["id"]
    stack.done("POST", f"{AT}/{bare}/declare", {})
    early = stack.ask("POST", f"{AT}/{bare}/close", {})
    assert early.status == 409, early.body
    id = reviewed(run)
    stack.done("PATCH", f"{AT}/{id}", {"root_cause": ""})
    try:
        refused = stack.ask("POST", f"{AT}/{id}/close", {})
        assert refused.status == 409, refused.body
        assert "root_cause" in {each["key"] for each in refused.json["missing"]}, refused.json
    finally:
        stack.done("PATCH", f"{AT}/{id}", {"root_cause": CAUSE})
    again = stack.ask("POST", f"{AT}/{id}/close", {})
    assert "root_cause" not in {each["key"] for each in again.json["missing"]}, again.json
    run.answer("close refused: root_cause")


@row("S-47", engine=True)
@row("S-47", fault="F7e", engine=True, within=60.0)
def the_impact_is_measured(run: Run) -> None:
    stack = response(run)
    id = reviewed(run) if run.check.fault == HEALTHY else resolve(stack)
    told = run.until(lambda: rendered_with_integrity(stack, id), what="the state of the log")
    lines = section(told, "Impact")
    assert any(re.match(r"- Number of affected users: .*12 people of acme", line) for line in lines), lines
    assert re.search(r"^- Figure: affected_users, sha256 [0-9a-f]{16}, observed", told, re.MULTILINE), lines
    [integrity] = [line for line in lines if line.startswith("- Data integrity status: ")]
    if run.check.fault == HEALTHY:
        assert "fail" not in integrity, integrity
    else:
        assert f"failed at seq {run.facts.values['seq']}" in integrity, integrity
    run.answer(integrity.removeprefix("- Data integrity status: ").split(" (")[0])


def rendered_with_integrity(stack: Responding, id: str) -> str:
    """The document, once the log was verified for it; empty until then."""
    answer = stack.ask("GET", f"{AT}/{id}/files/pir-{id}.md")
    text = answer.body.decode()
    return "" if answer.status != 200 or "- Data integrity status: not yet known" in text else text


@row("S-48", engine=True)
def the_resolution_lists_what_was_contained(run: Run) -> None:
    lines = section(pir(run), "Resolution")
    assert RESOLUTION in lines[0], lines
    [lease] = [line for line in lines[1:] if "198.51.100.77" in line]
    assert "ip.block" in lease, lease
    assert re.search(r"\d\d:\d\d", lease), lease
    run.answer("what resolved it, and the lease with its times")


@row("S-49", engine=True)
def both_lists_of_lessons_are_there(run: Run) -> None:
    lines = section(pir(run), "Lessons Learned")
    well = lines.index("What went well (opinion):")
    improve = lines.index("What could be improved (opinion):")
    assert lines[well + 1 : improve] == ["- It was seen within a minute"], lines
    assert lines[improve + 1 :] == ["- A policy needs a test"], lines
    run.answer("what went well, what could be improved")


@row("S-50", engine=True)
def items_have_an_owner_and_a_date(run: Run) -> None:
    id = reviewed(run)
    assert "action_item" in response(run).known["missing"]
    rows = table(section(pir(run), "Action Items"))
    wanted = [[item["text"], item["owner"], item["due"], item.get("priority", "medium")] for item in ITEMS]
    assert rows == wanted, rows
    told = run.native("incident", "actions", "list", id)
    assert told.rc == 0, told
    assert all(item["text"] in told.out and item["due"] in told.out for item in ITEMS), told
    run.answer("close refused without one; four items with owner, date and priority")


@row("A-89", engine=True)
def it_is_said_that_it_is_over(run: Run) -> None:
    id = reviewed(run)
    told = run.native("incident", "render", "resolved", id)
    assert told.out.splitlines()[0] == f"Subject: [RESOLVED] MCP Airlock Incident - {id}", told
    said = fields(told.out)
    assert said["Incident ID"] == id, said
    assert re.fullmatch(UTC_MINUTE, said["Resolution Time"]), said
    assert re.match(r"2 h", said["Duration"]), said
    assert CAUSE in said["Root Cause"], said
    assert RESOLUTION in said["Resolution"], said
    assert "Policies are tested before they decide" in said["Preventive Measures"], said
    assert re.search(rf"^- Scheduled for: {UTC_MINUTE}$", told.out, re.MULTILINE), told
    assert "- Meeting Link: https://meet.company.com/1" in told.out, told
    assert not BLANK.search(told.out.partition("\n")[2]), told
    run.answer("a time and a duration, computed")


@row("A-97", engine=True)
def an_alert_that_names_it_opens_it_again(run: Run) -> None:
    """What the rule of the runbook fires, as an Alertmanager sends it."""
    stack = response(run)
    id = resolve(stack)
    told = run.native("incident", "watch", id, "--for", "24h", "--detach", "--json")
    assert told.rc == 0, told
    assert [page["id"] for page in told.json["incidents"]] == [id], told
    leases = stack.done("GET", "/api/v1/leases")["leases"]
    watch = [each for each in leases if (each["incident"], each["action"]) == (id, "monitoring.enhance")]
    assert max(each["remaining_seconds"] for each in watch) > 23 * HOUR, watch
    metrics = stack.gateway.get("/metrics").body.decode()
    assert "# TYPE airlock_requests_failed_total counter" in metrics
    assert webhook(stack, alertname="PostIncidentAnomalousActivity", incident=id)["attached"] == 1
    assert stack.incident(id)["status"] == "INVESTIGATING"
    run.answer("watched for a day; an alert with its label opens it again")


@row("A-98", engine=True)
def the_timeline_says_how_long_everything_took(run: Run) -> None:
    id = reviewed(run)
    told = run.native("incident", "render", "timeline", id)
    assert told.out.splitlines()[0] == f"# Incident Timeline: {id}", told
    said = dict(re.findall(r"^- \*\*([^*]+)\*\*: (.*)$", told.out, re.MULTILINE))
    assert re.fullmatch(UTC_MINUTE, said["Time"]), said
    assert said["Initial Symptoms"] == "403", said
    assert said["Source"], said
    for name in ("Acknowledge", "Engage", "Mitigate", "Resolve", "Contain"):
        assert re.match(r"\d+ (h|min|s)", said[f"Time to {name}"]), (name, said)
    actions = section(told.out, "Actions Taken")
    assert actions, told
    assert all(LINE.fullmatch(line) for line in actions), actions
    run.answer("five durations, and every action with its time")


@row("A-99", engine=True)
def times_in_the_report_are_the_timeline(run: Run) -> None:
    """In the file that the runbook writes by hand no line begins with a time; in the rendered one all do."""
    id = reviewed(run)
    by_hand = "# Incident Report: X\n\n## Timeline\n- Sun Nov 22 21:07:00 UTC 2026: Incident detected\n"
    (run.session.folder / "incident-hand.md").write_text(by_hand)
    grep = 'grep -E "^[0-9]{2}:[0-9]{2}"'
    assert run.bash(f"{grep} incident-hand.md").out == ""
    stack = response(run)
    report = stack.airlock("incident", "render", "report", id).out
    (run.session.folder / f"incident-{id}.md").write_text(report)
    shown = run.bash(f"{grep} incident-{id}.md")
    assert shown.lines == section(report, "Timeline"), shown
    numbers = [int(line.rpartition("(event ")[2].rstrip(")")) for line in shown.lines]
    assert sorted(numbers) == [*range(1, len(numbers) + 1)], numbers
    told = run.native("incident", "render", "timeline", id)
    assert set(shown.lines) <= set(told.out.splitlines()), told
    run.answer("one line for each event; none in the file that was written by hand")


@row("A-100", engine=True)
def the_five_questions_are_answered(run: Run) -> None:
    id = reviewed(run)
    assert {f"why_{why}" for why in WHYS} <= response(run).known["missing"]
    told = run.native("incident", "render", "rca", id)
    headings = [line for line in told.out.splitlines() if line.startswith("#")]
    assert headings == [
        f"# Root Cause Analysis: {id}", "## Problem Statement", "## Root Cause", "## Contributing Factors",
        "## Why Analysis", "## Action Items",
    ], headings  # fmt: skip
    answers = re.findall(r"^\d\. Why .*\?\n   - (.*)$", told.out, re.MULTILINE)
    assert answers == [f"Because of {why}" for why in WHYS], told
    items = section(told.out, "Action Items")
    assert items == [f"- [ ] {i['text']} - Owner: {i['owner']} - Due: {i['due']}" for i in ITEMS], items
    run.answer("five answers; close refused without them")


EXPORTED = {
    "A-101": ("improved-monitoring-rules.yaml", "PrometheusRule"),
    "A-102": ("enhanced-alerts.yaml", "PrometheusRule"),
    "A-104": ("preventive-measures.yaml", "ConfigMap"),
}


@row("A-101", engine=True)
@row("A-102", engine=True)
@row("A-104", engine=True)
def items_become_objects_of_a_cluster(run: Run) -> None:
    id, (name, kind) = reviewed(run), EXPORTED[run.check.row]
    told = run.native("incident", "actions", "export", id, "--out", "/tmp/exported")  # noqa: S108
    assert told.rc == 0, told
    document = yaml.safe_load((run.stack.gateway.folder / "tmp" / "exported" / name).read_text())
    assert document["kind"] == kind, document
    assert document["metadata"]["labels"]["airlock.dev/incident"] == id, document
    if kind == "ConfigMap":
        texts = "".join(document["data"].values())
        assert "Refuse policies without a test" in texts, document
        run.answer("a ConfigMap with the measures of policy and process")
        return
    alerts = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
    assert alerts, document
    metrics = run.stack.gateway.get("/metrics").body.decode()
    for alert in alerts:
        [name] = set(re.findall(r"\b(?:airlock|sark)_\w+", alert["expr"]))
        assert f"# TYPE {name.removesuffix('_total')}" in metrics, alert
        assert alert["labels"]["incident"] == id, alert
    run.answer(f"a PrometheusRule of {len(alerts)} alert, whose metric exists")


@row("A-103")
def playbooks_are_checked(run: Run) -> None:
    told = run.native("runbook", "lint", "--json")
    assert told.rc == 0, told
    run.bash(
        "INCIDENT_ID=INC-20261122-210700; rm docs && mkdir docs && git init -q . && git config user.name A"
    )
    run.bash(f"git config user.email a@company.com && cp -r {ROOT}/docs/operations docs/")
    shown = run.sh("A-103")
    assert "Update runbooks based on incident INC-20261122-210700" in shown.out, shown
    assert "docs/operations/runbooks.md" in run.bash("git show --stat --format= HEAD").out, shown
    folder = Path(run.stack.gateway.data) / "playbooks"
    folder.mkdir(exist_ok=True)
    broken = (ROOT / "src/airlock/incident/playbooks/shipped/memory.md").read_text()
    file = folder / "memory.md"
    try:
        file.write_text(
            broken.replace("airlock doctor", "airlock doctr", 1) + "\n```bash\nairlock mend\n```\n"
        )
        refused = run.stack.airlock("runbook", "lint", "--json")
    finally:
        file.unlink()
    assert refused.rc == 1, refused
    assert "mend" in refused.out, refused
    run.answer("every command of every playbook is known; one that is not is named with its line")


@row("A-105", engine=True)
def what_has_to_change_is_listed_until_it_is_done(run: Run) -> None:
    stack = response(run)
    id = stack.opened(severity="P2")["id"]
    for text in ("Review the service levels", "Train the team"):
        stack.done("POST", f"{AT}/{id}/actions", {"text": text, "kind": "process", "owner": "Alice"})
    first, second = stack.incident(id)["actions"]
    stack.done("POST", f"{AT}/{id}/actions/{first['id']}/close", {"note": "They are reviewed"})
    left = [
        item["text"] for item in stack.done("GET", f"{AT}/{id}/actions")["actions"] if not item["closed_at"]
    ]
    assert left == [second["text"]], left
    assert stack.told(id, "action_item_closed", "Review the service levels")
    run.answer("of two items one is left")


@row("A-113", engine=True)
def what_is_drilled_is_proven_and_touches_nothing(run: Run) -> None:
    stack = response(run)
    before = leased(stack)
    told = run.native("drill", "run", "MCP-002", "memory", "--wait", "120", "--json")
    assert told.rc == 0, told
    assert [each["state"] for each in told.json["drills"]] == ["passed", "passed"], told
    assert leased(stack) <= before
    card = {each["id"]: each for each in run.stack.airlock("drill", "list", "--json").json["drills"]}
    proven = card["MCP-002"]["last_proven"]
    assert proven, card
    assert not card["MCP-002"]["warning"], card
    assert "never drilled" in {each["warning"] for each in card.values()}, card
    assert f"proven {proven}" in run.stack.airlock("rule", "list").out
    assert f"drilled {card['memory']['last_proven']}" in run.stack.airlock("runbook", "list").out
    run.answer("a rule and a playbook are proven in a shadow; no lease changed; what never was is warned of")
