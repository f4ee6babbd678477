"""The first fifteen minutes: A-02, A-03, A-11 to A-19."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any, get_args

from airlock.model.incident import DetectionSource, IncidentType
from tests.runbooks.extract import data, whole
from tests.runbooks.registry import HEALTHY, Run, row
from tests.runbooks.response import AT, Responding, response
from tests.runbooks.rows_ladder import between

ID = re.compile(r"INC-[0-9]{8}-[0-9]{6}(-[0-9]+)?")
WINDOW = 15 * 60


@row("A-02", engine=True)
def a_type_is_one_of_six(run: Run) -> None:
    stack = response(run)
    for kind in get_args(IncidentType):
        assert stack.opened(type=kind)["type"] == kind
    refused = stack.ask("POST", AT, {"title": "A check", "type": "alien"})
    assert (refused.status, refused.json["code"]) == (422, "invalid_params"), refused
    assert all(kind in refused.json["detail"] for kind in get_args(IncidentType)), refused.json
    run.answer(f"{', '.join(get_args(IncidentType))}; any other is refused with this list")


@row("A-03", engine=True)
def whoever_notices_it_opens_an_incident(run: Run) -> None:
    stack = response(run)
    for source in get_args(DetectionSource):
        assert stack.opened(detection_source=source)["detection_source"] == source
    id = stack.opened(severity="P2", title="Known already")["id"]
    began = time.monotonic()
    assert webhook(stack, incident=id)["attached"] == 1
    assert stack.told(id, "detected", "the disk of the check", within=5)
    assert webhook(stack)["folded"] == 1
    [alert] = [each for each in stack.alerts("DiskOfTheCheck") if not each["incident"]]
    assert (alert["state"], alert["finding"]["severity"]) == ("NEW", "P2"), alert
    declared = stack.done("POST", f"/api/v1/alerts/{alert['id']}/declare", {})["alert"]["incident"]
    assert stack.incident(declared)["detection_source"] == "monitoring_alert"
    run.answer(
        f"six sources; a webhook of an Alertmanager joined its incident in {time.monotonic() - began:.0f} s"
    )


def webhook(stack: Responding, **labels: str) -> dict[str, Any]:
    """What the answer to an Alertmanager says, which tells of one alert of its own."""
    own = {"alertname": "DiskOfTheCheck", "severity": "warning", "instance": secrets.token_hex(4)}
    alert = {
        "status": "firing", "labels": {**own, **labels}, "annotations": {"summary": "the disk of the check"},
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": own["instance"],
    }  # fmt: skip
    body = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "airlock", "alerts": [alert]}
    return stack.done("POST", "/api/v1/alerts/alertmanager", body)


@row("A-12", engine=True)
@row("A-12", fault="F18", engine=True)
def who_is_affected_is_counted_from_the_log(run: Run) -> None:
    stack, subject = response(run), f"caller-{secrets.token_hex(4)}"
    token = stack.gateway.token(subject, "globex")
    failing = run.check.fault != HEALTHY
    for number in range(3):
        answer = stack.call("files__echo", token=token, text=f"{subject} {number}")
        assert bool(answer.json.get("error") or answer.json["result"].get("isError")) == failing, answer
    stack.gateway.recorded("subject = ? AND event_type = 'call' AND decision <> ''", subject, count=3)
    id = stack.opened(severity="P2", title="A check", affected_services=["files"])["id"]
    mine = [user for user in scope(run, id, "affected_users") if user["subject"] == subject]
    if not failing:
        assert mine == []
        run.answer("nobody whose calls were answered")
        return
    assert [(user["tenant"], user["failed"]) for user in mine] == [("globex", 3)], mine
    tools = scope(run, id, "affected_tools")
    assert next(tool["failed"] for tool in tools if (tool["server"], tool["tool"]) == ("files", "echo")) >= 3
    run.answer("the caller, in tenant globex, with the three calls that failed")


def scope(run: Run, id: str, query: str) -> list[dict[str, Any]]:
    """Rows of one stored question, as `airlock incident scope` answers it; asked once for each incident."""
    stack = response(run)
    if f"scope {id}" not in stack.known:
        told = run.native("incident", "scope", id, "--json")
        assert told.rc == 0, told
        stack.known[f"scope {id}"] = told.json["impact"]
    return next(answer["rows"] for answer in stack.known[f"scope {id}"] if answer["query"] == query)


@row("A-13", engine=True)
def a_suspected_breach_is_p0(run: Run) -> None:
    stack = response(run)
    record = stack.opened(severity="P2", type="security_incident")
    id = record["id"]
    assert next(task for task in record["tasks"] if task["key"] == "security")["done_at"] is None
    raised = stack.done("PATCH", f"{AT}/{id}", {"is_suspected_breach": True})["incident"]
    assert raised["severity"] == "P0", raised
    clock = stack.clock(id, "response")
    assert between(clock["started_at"], clock["due_at"]) <= WINDOW + 60, clock
    assert stack.told(id, "severity_changed", "a breach is suspected")
    assert stack.told(id, "clock_started", '"P0"')
    lowered = stack.ask("POST", f"{AT}/{id}/severity", {"severity": "P2", "reason": "it was none"})
    assert lowered.status == 409, lowered.body
    run.answer("P2 becomes P0 with the clocks of a P0, and stays at its floor")


@row("A-14", engine=True)
def calls_that_failed_are_prefilled(run: Run) -> None:
    stack = response(run)
    id = stack.opened(severity="P2", business_impact="Orders stand still")["id"]
    answers = stack.done("GET", f"{AT}/{id}/exposure")["impact"]
    [calls] = [answer for answer in answers if answer["query"] == "calls"]
    counted = (
        "SELECT COUNT(*) FROM audit_events WHERE timestamp >= ? AND timestamp < ? AND event_type = 'call'"
        " AND phase <> 'intent' AND decision = 'allow' AND action <> 'session'"
        " AND COALESCE(json_extract(metadata, '$.synthetic'), 0) <> 1"
    )
    assert stack.gateway.rows(counted, calls["since"], calls["until"]) == [(calls["rows"][0]["allowed"],)]
    assert calls["rows"][0]["allowed"] >= 4, calls
    text = stack.done("POST", f"{AT}/{id}/comms", {"template": "executive"})["messages"][0]["body"]
    assert "- Business: Orders stand still" in text, text
    assert f"- Calls that failed: {calls['rows'][0]['failed']}" in text, text
    run.answer("the number of calls is that of the audit log")


@row("A-15", engine=True)
def an_incident_has_a_commander(run: Run) -> None:
    stack = response(run)
    orphan = stack.opened_ago(WINDOW + 60, severity="P1")
    stack.called(orphan, "L2", "no commander after 15 minutes")
    led = stack.opened_ago(WINDOW + 60, severity="P1", commander="Alice", title="Led")
    for person in ("Alice", "Bob"):
        stack.done("POST", f"{AT}/{led}/roles", {"role": "incident_commander", "person": person})
    held = [role for role in stack.incident(led)["roles"] if role["role"] == "incident_commander"]
    assert [role["person"] for role in held] == ["Alice", "Bob"], held
    assert held[0]["renounced_at"] and not held[1]["renounced_at"], held
    calls = [each["details"]["triggers"] for each in stack.timeline(led, "escalated")]
    assert not any("no commander" in trigger for triggers in calls for trigger in triggers), calls
    run.answer("Alice, then Bob; without one L2 is called after 15 minutes")


@row("A-16", engine=True)
def a_ticket_is_asked_for_until_somebody_takes_it(run: Run) -> None:
    stack = response(run)
    stack.desk.deaf = True
    try:
        id = stack.opened(severity="P1", commander="Alice", title="Needs a ticket")["id"]
        stack.done("POST", f"{AT}/{id}/declare", {})
        tried = run.until(lambda: ticket(stack, id, delivered=False), what="a try that failed")
        assert tried["receipts"][0]["detail"].startswith("503"), tried
    finally:
        stack.desk.deaf = False
    taken = run.until(lambda: ticket(stack, id, delivered=True), what="the ticket")
    assert len(taken["receipts"]) == 2, taken
    stack.done("PATCH", f"{AT}/{id}", {"ticket_url": "https://tracker.company.com/OPS-1"})
    [task] = [task for task in stack.incident(id)["tasks"] if task["key"] == "ticket"]
    assert task["done_at"], task
    run.answer("503 is tried again; then the receipt: 200")


def ticket(stack: Responding, id: str, *, delivered: bool) -> dict[str, Any] | None:
    """The message to the tracker, once a try of it ended like this."""
    messages = stack.done("GET", f"{AT}/{id}/comms")["messages"]
    mine = (message for message in messages if message["audience"] == "ticket")
    return next((one for one in mine if any(got["delivered"] == delivered for got in one["receipts"])), None)


def typed(run: Run) -> str:
    """The id that A-17 sets: of a second in which no check opened an incident."""
    stack = response(run)

    def fresh() -> str:
        run.sh("A-17")
        id = run.bash('echo "$INCIDENT_ID"').out.strip()
        assert ID.fullmatch(id), id
        return id if stack.ask("GET", f"{AT}/{id}").status == 404 else ""

    return run.until(fresh, what="an id that nobody has")


@row("A-17", engine=True)
def an_id_of_the_operators_own_is_taken(run: Run) -> None:
    stack = response(run)
    id = typed(run)
    first = stack.ask("POST", AT, {"id": id, "title": "Typed", "severity": "P2"})
    again = stack.ask("POST", AT, {"id": id, "title": "Typed again", "severity": "P0"})
    assert (first.status, again.status) == (201, 200), (first, again)
    assert (again.json["incident"]["id"], again.json["incident"]["title"]) == (id, "Typed"), again.json
    told = run.native("incident", "open", "--id", id, "--shell")
    assert (told.rc, told.out) == (0, f"export INCIDENT_ID={id}\n"), told
    assert run.bash(f"eval '{told.out.strip()}'; echo $INCIDENT_ID").out.strip() == id
    run.answer("the same incident each time it is opened")


@row("A-18", engine=True)
def the_id_is_printed_as_the_product_prints_it(run: Run) -> None:
    typed(run)
    shown = run.sh("A-18")
    id = shown.out.removeprefix("Incident ID: ").strip()
    assert ID.fullmatch(id), shown
    opened = run.stack.airlock("incident", "open", "A check", "--id", id, "--severity", "P3")
    assert opened.out == shown.out, (opened, shown)
    run.answer("Incident ID: INC-...")


FILE = """\
cat > incident-$INCIDENT_ID.md << EOF
# Incident Report: $INCIDENT_ID

**Severity**: P2
**Type**: Authentication Issues
**Start Time**: $(date -u)
**Incident Commander**: Alice
**Status**: INVESTIGATING

## Initial Symptoms
- nobody can sign in

## Impact Assessment
- Affected Users: all of tenant acme
- Affected Services: files, srv-evil
- Business Impact: orders stand still

## Timeline
- $(date -u): Incident detected
EOF"""
"""A first report as somebody fills it in."""
HEADINGS = (
    "# Incident Report: ", "**Severity**: ", "**Type**: ", "**Start Time**: ", "**Incident Commander**: ",
    "**Status**: ", "## Initial Symptoms", "## Impact Assessment", "## Timeline",
)  # fmt: skip


@row("A-19", engine=True)
def a_report_by_hand_becomes_the_record(run: Run) -> None:
    stack = response(run)
    id = typed(run)
    if all(whole(command) is not None for command in data().of("A-19")):
        assert run.sh("A-19").rc == 0, "the blanks of the runbook"
        blank = (run.session.folder / f"incident-{id}.md").read_text()
        assert all(heading in blank for heading in HEADINGS), blank
    run.bash(FILE)
    (stack.gateway.folder / "tmp" / "report.md").write_text(
        (run.session.folder / f"incident-{id}.md").read_text()
    )
    imported = stack.airlock("incident", "import", "/tmp/report.md")  # noqa: S108
    assert (imported.rc, imported.out) == (0, f"Incident ID: {id}\n"), imported
    told = run.native("incident", "render", "report", id)
    assert told.rc == 0, told
    lines = told.out.splitlines()
    places = [next(n for n, line in enumerate(lines) if line.startswith(heading)) for heading in HEADINGS]
    assert places == sorted(places), told
    wanted = {
        f"# Incident Report: {id}", "**Severity**: P2", "**Type**: Authentication Issue",
        "**Incident Commander**: Alice", "**Status**: INVESTIGATING", "- nobody can sign in",
        "- Affected Services: files, srv-evil", "- Business Impact: orders stand still",
    }  # fmt: skip
    assert wanted <= set(lines), wanted - set(lines)
    assert re.search(r"^\*\*Start Time\*\*: \d{4}-\d\d-\d\d \d\d:\d\d UTC$", told.out, re.MULTILINE), told
    assert "- Affected Users: all of tenant acme" in told.out, told
    assert not re.search(r"\[[A-Z][a-z/ ]+\]", told.out), told
    run.answer("every field of the file, rendered again from the record")
