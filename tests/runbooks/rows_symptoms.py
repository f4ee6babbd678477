"""What is wrong raises an alert: S-01, S-18, S-25, S-33, A-11."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.runbooks.registry import Run, row
from tests.runbooks.response import AT, Responding, response

CALLERS = 16


@contextmanager
def goes_on(body: Callable[[], object]) -> Generator[None]:
    """Traffic of many callers beside the check."""
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            body()

    with ThreadPoolExecutor(CALLERS) as pool:
        try:
            for _ in range(CALLERS):
                pool.submit(call)
            yield
        finally:
            ended.set()


def since_the_fault(stack: Responding, rule: str, before: dict[str, int]) -> dict[str, Any] | None:
    """An alert of a rule that was not there, or has more findings than it had."""
    return next((each for each in stack.alerts(rule) if each["count"] > before.get(each["id"], 0)), None)


def counted(stack: Responding, rule: str) -> dict[str, int]:
    return {each["id"]: each["count"] for each in stack.alerts(rule)}


def playbook(stack: Responding, rule: str) -> list[str]:
    """Playbooks that are for what a rule finds."""
    found = stack.done("GET", "/api/v1/playbooks")["playbooks"]
    return [each["id"] for each in found if rule in each["triggers"]]


def declared(stack: Responding, alert: dict[str, Any]) -> dict[str, Any]:
    """The record of the incident that an alert began, by itself or because somebody declared it."""
    fresh = next(each for each in stack.alerts(alert["finding"]["rule"]) if each["id"] == alert["id"])
    if not fresh["incident"]:
        fresh = stack.done("POST", f"/api/v1/alerts/{alert['id']}/declare", {})["alert"]
    return stack.incident(fresh["incident"])


def begun_by_itself(run: Run, alert: dict[str, Any]) -> dict[str, Any]:
    """The record of the incident that a detector began."""
    stack = response(run)

    def found() -> str:
        alerts = stack.alerts(alert["finding"]["rule"])
        return next(each["incident"] for each in alerts if each["id"] == alert["id"])

    return stack.incident(run.until(found, what="an incident"))


@row("S-01", engine=True)
def nothing_is_wrong_with_policy(run: Run) -> None:
    stack = response(run)
    for _ in range(5):
        assert stack.ask_policy().status == 200
    assert stack.alerts("MCP-024") == []
    run.answer("no alert about policy")


@row("S-01", fault="F1", engine=True)
def a_policy_that_fails_is_an_incident(run: Run) -> None:
    stack = response(run)
    with goes_on(stack.ask_policy):
        alert = run.until(lambda: since_the_fault(stack, "MCP-024", {}), what="an alert about policy")
    assert alert["finding"]["group"] == {"component": "policy"}, alert
    record = begun_by_itself(run, alert)
    assert (record["type"], record["subtype"]) == ("policy_failure", "policy_evaluation_failure"), record
    assert record["detection_source"] == "gateway_detection", record
    assert "policy-engine-failure" in playbook(stack, "MCP-024")
    run.answer(f"MCP-024 {alert['finding']['severity']}: component policy; policy-engine-failure")


@row("S-18", engine=True)
def calls_are_quick_enough(run: Run) -> None:
    stack = response(run)
    assert stack.alerts("MCP-025") == []
    buckets = stack.gateway.get("/metrics").body.decode()
    assert 'airlock_request_duration_seconds_bucket{le="0.2"}' in buckets
    run.answer("no alert about latency")


@row("S-18", fault="F4u", engine=True, within=90.0)
def calls_that_take_long_raise_an_alert(run: Run) -> None:
    stack = response(run)
    before = stage_times(stack)
    with goes_on(lambda: stack.call("files__echo", text=secrets.token_hex(4))):
        alert = run.until(lambda: since_the_fault(stack, "MCP-025", {}), what="an alert about latency")
    assert alert["finding"]["group"] == {"server": "files"}, alert
    record = declared(stack, alert)
    assert (record["type"], record["subtype"]) == ("performance_degradation", "high_api_latency"), record
    grown = {stage: after - before[stage] for stage, after in stage_times(stack).items()}
    slowest = max(grown, key=grown.__getitem__)
    assert slowest == "upstream", grown
    assert "high-latency" in playbook(stack, "MCP-025")
    run.answer(f"MCP-025: server files; the slow stage is {slowest}")


STAGES: tuple[str, ...] = ("auth", "policy", "upstream", "redaction", "audit")


def stage_times(stack: Responding) -> dict[str, float]:
    """Seconds that each stage took so far, of all workers."""
    lines = stack.gateway.get("/metrics").body.decode().splitlines()
    names = {f"airlock_{stage}_duration_seconds_sum": stage for stage in STAGES}
    sums = dict.fromkeys(STAGES, 0.0)
    for line in lines:
        name, _, value = line.partition(" ")
        if name.partition("{")[0] in names:
            sums[names[name.partition("{")[0]]] += float(value)
    return sums


@row("S-25", engine=True)
def the_log_records(run: Run) -> None:
    stack = response(run)
    assert stack.call("files__echo", text="recorded").status == 200
    assert stack.alerts("MCP-022") == []
    told = run.stack.airlock("report", "compliance", "--since", "1h", "--json")
    gaps = next(answer for answer in told.json["answers"] if answer["query"] == "gaps")
    assert gaps["rows"] == [], gaps
    floored = stack.opened(type="data_issue", subtype="audit_events_not_recording", severity="P3")
    assert floored["severity"] == "P1", floored
    run.answer("no alert about the log")


@row("S-25", fault="F6", engine=True, within=60.0)
def a_log_without_room_raises_an_alert(run: Run) -> None:
    stack = response(run)

    def found() -> dict[str, Any] | None:
        stack.call("files__echo", text="not recorded")
        return since_the_fault(stack, "MCP-022", {})

    alert = run.until(found, what="an alert about the log")
    assert alert["finding"]["group"]["component"] == "disk", alert
    assert "audit-not-recording" in playbook(stack, "MCP-022")
    run.answer(f"MCP-022 {alert['finding']['severity']}: component disk")


@row("S-33", engine=True)
def nobody_attacks(run: Run) -> None:
    stack = response(run)
    assert not any("203.0.113.7" in str(alert) for alert in stack.alerts())
    run.answer("no alert about 203.0.113.7")


@row("S-33", fault="F9", engine=True)
def who_guesses_raises_an_alert_with_address_and_count(run: Run) -> None:
    stack, source = response(run), run.facts.values["source"]
    alert = run.until(lambda: of_address(stack, source), what="an alert about the guesser")
    finding = alert["finding"]
    assert (finding["rule"], finding["group"]) == ("MCP-003", {"source_ip": source}), finding
    assert 30 <= finding["metric"] <= run.facts.values["count"], finding
    assert f"{finding['metric']:.0f} credentials" in finding["summary"], finding
    record = declared(stack, alert)
    assert record["type"] == "security_incident", record
    assert "security-breach" in playbook(stack, "MCP-003")
    run.answer(f"MCP-003: {source}, more than 30 guesses")


def of_address(stack: Responding, source: str) -> dict[str, Any] | None:
    return next(
        (each for each in stack.alerts() if each["finding"]["group"].get("source_ip") == source), None
    )


@row("A-11", engine=True)
def a_severity_is_proposed_by_the_matrix(run: Run) -> None:
    stack = response(run)
    record = stack.done("POST", AT, {"title": "Slow", "type": "performance_degradation"})["incident"]
    assert record["severity"] == "P2", record
    [detected] = stack.timeline(record["id"], "detected")
    assert detected["details"]["why"] == "usual for performance_degradation", detected
    run.answer("P2: usual for performance_degradation")


@row("A-11", fault="F9", engine=True)
@row("A-11", fault="F7e", engine=True, within=60.0)
def a_severity_is_proposed_by_what_was_found(run: Run) -> None:
    stack = response(run)
    if run.check.fault == "F9":
        alert = run.until(lambda: of_address(stack, run.facts.values["source"]), what="an alert")
        record, wanted = declared(stack, alert), ("P1", "MCP-003")
    else:
        alert = run.until(lambda: since_the_fault(stack, "MCP-023", {}), what="an alert")
        record, wanted = begun_by_itself(run, alert), ("P0", "MCP-023")
    assert (record["severity"], wanted[1] in record["rules"]) == (wanted[0], True), record
    detected = stack.timeline(record["id"], "detected")[0]
    assert detected["details"]["why"], detected
    run.answer(f"{record['severity']}: {detected['details']['why']} ({wanted[1]})")
