"""Alerts: which step leads where, how findings fold, and what an Alertmanager sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident import alertmanager, alerts, correlation
from airlock.incident.alerts import MOST_IDS, TRANSITIONS
from airlock.incident.occasion import Occasion
from airlock.incident.opening import open_incident
from airlock.model.incident import Actor, Alert, AlertState, Finding, Incident
from airlock.model.lease import Unfit

NOW = 1_795_000_000.0
DETECTOR = Actor(type="detector", id="MCP-002")


def finding(**more: Any) -> Finding:
    told: dict[str, Any] = {
        "rule": "MCP-002",
        "severity": "P2",
        "tenant": "acme",
        "group": {"source_ip": "203.0.113.7"},
        "summary": "credentials of 12 subjects",
        "since": NOW - 60,
        "until": NOW,
        "event_ids": ("row-1",),
        **more,
    }
    return Finding(**told)


def alert(state: AlertState = "NEW", **more: Any) -> Alert:
    made = alerts.folded(None, finding(), NOW, "alert-1")
    return msgspec.structs.replace(made, state=state, **more)


STEPS: dict[str, Callable[[Alert], Alert]] = {
    "acknowledge": lambda it: alerts.acknowledge(it, "bob", NOW),
    "declare": lambda it: alerts.declare(it, "INC-1", "bob", NOW),
    "attach": lambda it: alerts.attach(it, "INC-1", "bob", NOW),
    "dismiss": lambda it: alerts.dismiss(it, "benign", "bob", NOW),
    "suppress": lambda it: alerts.suppress(it, NOW + 60, "bob", NOW),
    "resolve": lambda it: alerts.resolve(it, NOW),
}


@pytest.mark.parametrize("state", get_args(AlertState))
@pytest.mark.parametrize("step", STEPS)
def test_only_the_listed_steps_lead_on(state: AlertState, step: Any) -> None:
    before = alert(state, suppressed_until=NOW + 9)
    sources, target = TRANSITIONS[step]
    if state in sources:
        after = STEPS[step](before)
        assert after.state == target
        assert after.version == before.version + 1
    else:
        with pytest.raises(Unfit, match=f"is {state}") as refused:
            STEPS[step](before)
        assert refused.value.reason == "alert_state"


@given(st.lists(st.sampled_from([*STEPS, "fold", "wait"]), max_size=12))
def test_whatever_happens_an_alert_stays_one_of_the_table(steps: list[str]) -> None:
    now, it = NOW, alert()
    for step in steps:
        before = it
        if step == "wait":
            it = alerts.as_read(it, now + 61)
            assert it.state == ("NEW" if before.state == "SUPPRESSED" else before.state)
        elif step == "fold":
            it = alerts.folded(it, finding(), now, "alert-2")
            assert it.id == ("alert-2" if before.state in alerts.OVER else before.id)
        elif before.state in TRANSITIONS[step][0]:  # pyright: ignore[reportArgumentType]
            it = STEPS[step](before)
        else:
            with pytest.raises(Unfit):
                STEPS[step](before)
        assert it.state in get_args(AlertState)
        assert (it.incident != "") >= (it.state in ("DECLARED", "ATTACHED"))


def test_whoever_declares_has_seen_it() -> None:
    after = alerts.declare(alert(), "INC-1", "bob", NOW)
    assert (after.acknowledged_by, after.acknowledged_at, after.incident) == ("bob", NOW, "INC-1")
    seen = alerts.acknowledge(alert(), "eve", NOW - 5)
    assert alerts.attach(seen, "INC-1", "bob", NOW).acknowledged_by == "eve"
    assert alerts.suppress(alert(), NOW + 60, "bob", NOW).acknowledged_by == ""


def test_silence_ends_on_read_and_lies_ahead() -> None:
    quiet = alerts.suppress(alert(), NOW + 60, "bob", NOW)
    assert alerts.as_read(quiet, NOW + 59).state == "SUPPRESSED"
    assert alerts.as_read(quiet, NOW + 60).state == "NEW"
    with pytest.raises(Unfit, match="passed already"):
        alerts.suppress(alert(), NOW, "bob", NOW)


def test_what_gets_graver_ends_the_silence() -> None:
    quiet = alerts.suppress(alert(), NOW + 60, "bob", NOW)
    assert alerts.folded(quiet, finding(), NOW + 1, "x").state == "SUPPRESSED"
    graver = alerts.folded(quiet, finding(severity="P0"), NOW + 1, "x")
    assert (graver.state, graver.suppressed_until) == ("NEW", None)


def test_a_dismissal_says_what_it_was() -> None:
    with pytest.raises(Unfit, match="Say what it was"):
        alerts.dismiss(alert(), "", "bob", NOW)


def test_findings_fold_and_an_alert_never_gets_less_grave() -> None:
    grave = alerts.folded(alert(), finding(severity="P0", event_ids=("row-2", "row-1")), NOW, "x")
    again = alerts.folded(grave, finding(until=NOW + 9, summary="more"), NOW + 9, "x")
    assert (again.count, again.finding.severity, again.finding.summary) == (3, "P0", "more")
    assert again.event_ids == ("row-1", "row-2")
    assert again.last_seen == NOW + 9


def test_an_alert_names_a_thousand_rows_at_most() -> None:
    it = alert()
    for n in range(30):
        it = alerts.folded(it, finding(event_ids=tuple(f"{n}-{i}" for i in range(50))), NOW, "x")
    assert len(it.event_ids) == MOST_IDS


def test_a_fingerprint_is_of_rule_group_and_tenant() -> None:
    same = finding(summary="other", severity="P0", since=0.0)
    assert alerts.fingerprint(finding()) == alerts.fingerprint(same)
    for other in ({"rule": "MCP-003"}, {"tenant": "b"}, {"group": {"source_ip": "203.0.113.8"}}):
        assert alerts.fingerprint(finding()) != alerts.fingerprint(finding(**other))


def test_the_question_for_the_rows_quotes_hostile_names() -> None:
    asked = alerts.query(finding(group={"subject": "o'brien'; DROP TABLE x; --", "tool": "t"}))
    assert "subject = 'o''brien''; DROP TABLE x; --'" in asked
    assert "tool_name = 't'" in asked
    assert "source_ip" not in alerts.query(finding(group={"source_ip": "2001:db8::/64"}))


def incident(id: str, rules: tuple[str, ...] = ("MCP-002",), **more: Any) -> Incident:
    order = correlation.order(alert(), "Stuffing", NOW)
    made = open_incident(order, Occasion(actor=DETECTOR, now=NOW)).incident
    return msgspec.structs.replace(made, id=id, rules=rules, **more)


def test_an_alert_belongs_to_the_incident_of_its_rule_or_party() -> None:
    other = msgspec.structs.replace(alert(), finding=finding(rule="MCP-005", group={"subject": "ada"}))
    assert correlation.choose(finding(), [(incident("A"), [])]) == "A"
    assert correlation.choose(finding(rule="MCP-009"), [(incident("A"), [])]) == ""
    by_subject = finding(rule="MCP-009", group={"subject": "ada", "server": "crm"})
    assert correlation.choose(by_subject, [(incident("A", ("MCP-005",)), [other])]) == "A"
    elsewhere = finding(tenant="other")
    assert correlation.choose(elsewhere, [(incident("A"), [])]) == ""
    assert correlation.choose(finding(tenant=""), [(incident("A"), [])]) == "A"


def test_once_the_harm_is_over_only_the_same_party_or_group_opens_it_again() -> None:
    over = incident("A", status="MONITORING")
    behind = [alert()]
    assert correlation.choose(finding(), [(over, behind)]) == "A"
    assert correlation.choose(finding(group={"source_ip": "192.0.2.99"}), [(over, behind)]) == ""
    party = finding(rule="MCP-009", group={"source_ip": finding().group["source_ip"], "server": "crm"})
    assert correlation.choose(party, [(over, behind)]) == "A"
    partless = msgspec.structs.replace(alert(), finding=finding(group={"server": "crm"}))
    assert correlation.choose(finding(group={"server": "crm"}), [(over, [partless])]) == "A"
    assert correlation.choose(finding(group={"server": "notes"}), [(over, [partless])]) == ""


def test_a_storm_joins_none_of_which_the_harm_is_over() -> None:
    many: list[tuple[Incident, list[Alert]]] = [
        (incident(f"I-{n}", ("MCP-021",), status="MONITORING"), []) for n in range(correlation.MOST_OPEN)
    ]
    assert correlation.choose(finding(rule="MCP-018", group={"subject": "eve"}), many) == ""


def test_a_storm_joins_the_newest_of_many() -> None:
    many: list[tuple[Incident, list[Alert]]] = [
        (incident(f"I-{n}", ("MCP-021",)), []) for n in range(correlation.MOST_OPEN)
    ]
    stranger = finding(rule="MCP-018", group={"subject": "eve"})
    assert correlation.choose(stranger, many[:-1]) == ""
    assert correlation.choose(stranger, many) == "I-0"


def test_a_graver_alert_raises_the_severity_and_is_told_once() -> None:
    when = Occasion(actor=DETECTOR, now=NOW)
    graver = msgspec.structs.replace(alert(), finding=finding(severity="P0", rule="MCP-013"))
    decided = correlation.joined(incident("A"), graver, when)
    assert decided.incident.severity == "P0"
    assert decided.incident.rules == ("MCP-002", "MCP-013")
    assert [each.once for each in decided.events if each.kind == "detected"] == ["alert:alert-1"]


@pytest.mark.parametrize(
    ("rule", "kind"),
    [("MCP-024", "policy_failure"), ("MCP-026", "authentication_issue"), ("MCP-002", "security_incident")],
)
def test_a_rule_has_its_type_of_incident(rule: str, kind: str) -> None:
    assert correlation.type_of(finding(rule=rule))[0] == kind


def test_an_alert_from_outside_is_about_a_service() -> None:
    outside = finding(rule="DiskFull", source="monitoring_alert")
    assert correlation.type_of(outside)[0] == "performance_degradation"
    assert correlation.type_of(msgspec.structs.replace(outside, severity="P0"))[0] == "service_outage"


def outside(**more: Any) -> alertmanager.Outside:
    labels = {"alertname": "DiskFull", "severity": "critical", "instance": "a", "tenant": "acme"}
    told: dict[str, Any] = {"status": "firing", "labels": labels, **more}
    return msgspec.convert(told, alertmanager.Outside)


def test_labels_become_rule_group_tenant_and_severity() -> None:
    found = alertmanager.finding(outside(annotations={"summary": "no room"}), NOW)
    assert (found.rule, found.severity, found.tenant, found.summary) == ("DiskFull", "P0", "acme", "no room")
    assert found.group == {"instance": "a"}
    assert found.labels == {}


@pytest.mark.parametrize(
    ("word", "severity"), [("warning", "P2"), ("P1", "P1"), ("INFO", "P3"), ("odd", "P2")]
)
def test_a_word_has_its_severity(word: str, severity: str) -> None:
    assert alertmanager.finding(outside(labels={"severity": word}), NOW).severity == severity


def test_what_outsiders_say_is_cut_and_no_time_lies_ahead() -> None:
    hostile = {f"l{n}": "\x1b[31m" * 500 for n in range(100)}
    found = alertmanager.finding(outside(labels=hostile, startsAt="2999-01-01T00:00:00Z"), NOW)
    assert len(found.group) == alertmanager.MOST_LABELS
    assert all(len(value) <= alertmanager.LONGEST_LABEL for value in found.group.values())
    assert (found.rule, found.since) == ("alert", NOW)
    assert alertmanager.finding(outside(startsAt="2026-01-01T00:00:00Z"), NOW).since < NOW
