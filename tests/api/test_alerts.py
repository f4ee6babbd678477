"""Alerts and rules over HTTP: seen, declared, attached, dismissed, kept quiet; set, and told to the log."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.core import ids
from airlock.incident import alerts as states
from airlock.incident.detect import catalogue
from airlock.model.entry import Event
from airlock.model.incident import Finding
from airlock.store import alerts, incidents, outbox
from tests.api.containing import House
from tests.api.doors import ADMIN
from tests.gateway.parts import NOW

AT = "/api/v1/alerts"
HOOK = f"{AT}/alertmanager"
RULES = "/api/v1/rules"
ME = f"{ADMIN.issuer}|{ADMIN.subject}"


def raised(house: House, **more: Any) -> str:
    told: dict[str, Any] = {
        "rule": "MCP-002", "severity": "P1", "group": {"source_ip": "203.0.113.7"}, "summary": "stuffing",
        "since": NOW - 60, "until": NOW, **more,
    }  # fmt: skip
    (alert,) = alerts.fold(
        house.store, [Finding(**told)], lambda before, it: states.folded(before, it, NOW, ids.uuid7()),
        states.fingerprint, now=NOW,
    )  # fmt: skip
    return alert.id


def rows(house: House) -> list[Event]:
    told: list[Event] = []

    def write(events: Any) -> list[tuple[str, int]]:
        told.extend(events)
        return [("chain", n) for n, _ in enumerate(events)]

    while outbox.record(house.store, write):
        pass
    return told


def webhook(status: str = "firing", **labels: str) -> dict[str, Any]:
    alert = {
        "status": status,
        "labels": {"alertname": "DiskFull", "severity": "warning", **labels},
        "annotations": {"summary": "no room"},
        "startsAt": "2026-01-01T00:00:00.5Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example",
        "fingerprint": "abc",
    }
    return {"version": "4", "receiver": "airlock", "groupKey": "{}", "status": status, "alerts": [alert]}


def test_alerts_are_listed_and_shown(house: House) -> None:
    id = raised(house)
    status, answer = house.ask("GET", AT)
    assert status == 200
    (alert,) = answer["alerts"]
    assert (alert["id"], alert["state"], alert["finding"]["rule"]) == (id, "NEW", "MCP-002")
    assert alert["last_seen"].endswith("Z")
    assert house.ask("GET", f"{AT}/{id}") == (200, {"alert": alert})
    assert house.headers["etag"] == '"1"'
    assert house.ask("GET", f"{AT}?state=DISMISSED")[1] == {"alerts": []}
    assert len(house.ask("GET", f"{AT}?state=all&rule=MCP-002&limit=1")[1]["alerts"]) == 1
    assert house.ask("GET", f"{AT}/nothing") == (404, "alert_unknown")
    assert house.ask("GET", f"{AT}?state=odd") == (422, "invalid_params")


def test_a_step_that_does_not_lead_on_is_refused(house: House) -> None:
    id = raised(house)
    status, answer = house.ask("POST", f"{AT}/{id}/ack")
    assert (status, answer["alert"]["state"], answer["alert"]["acknowledged_by"]) == (200, "ACKNOWLEDGED", ME)
    assert house.ask("POST", f"{AT}/{id}/ack") == (409, "alert_state")
    assert house.ask("POST", f"{AT}/{id}/dismiss", {"verdict": "benign"}, if_match='"1"') == (
        412, "version_conflict",
    )  # fmt: skip
    status, answer = house.ask("POST", f"{AT}/{id}/dismiss", {"verdict": "benign"}, if_match='"2"')
    assert (status, answer["alert"]["verdict"]) == (200, "benign")
    assert house.ask("POST", f"{AT}/nothing/ack") == (404, "alert_unknown")
    assert [row.reason for row in rows(house)] == ["alert_raised", "alert_acknowledged", "alert_dismissed"]


def test_bad_orders_change_nothing(house: House) -> None:
    id = raised(house)
    assert house.ask("POST", f"{AT}/{id}/dismiss", {"verdict": "odd"}) == (422, "invalid_params")
    assert house.ask("POST", f"{AT}/{id}/dismiss", {"verdict": ""}) == (422, "verdict_missing")
    assert house.ask("POST", f"{AT}/{id}/suppress", {"duration": "soon"}) == (422, "duration_invalid")
    assert house.ask("POST", f"{AT}/{id}/suppress", {"duration": ""}) == (422, "time_invalid")
    assert house.ask("POST", f"{AT}/{id}/attach", {"incident": "INC-0"}) == (404, "incident_unknown")
    assert house.ask("POST", f"{AT}/{id}/ack", {"more": 1}) == (422, "invalid_params")
    assert house.ask("GET", f"{AT}/{id}")[1]["alert"]["state"] == "NEW"


def test_silence_ends_by_itself(house: House) -> None:
    id = raised(house)
    status, answer = house.ask("POST", f"{AT}/{id}/suppress", {"duration": "2h"})
    assert (status, answer["alert"]["state"]) == (200, "SUPPRESSED")
    house.clock.seconds += 2 * 3600
    assert house.ask("GET", f"{AT}/{id}")[1]["alert"]["state"] == "NEW"


def test_an_alert_begins_an_incident(house: House) -> None:
    id = raised(house)
    status, answer = house.ask("POST", f"{AT}/{id}/declare", {"title": "An attack"})
    assert (status, answer["alert"]["state"]) == (200, "DECLARED")
    record = incidents.get(house.store, answer["alert"]["incident"])
    assert record is not None
    assert (record.title, record.rules) == ("An attack", ("MCP-002",))
    other = raised(house, rule="MCP-005", group={"subject": "ada"})
    status, answer = house.ask("POST", f"{AT}/{other}/attach", {"incident": record.id})
    assert (status, answer["alert"]["state"]) == (200, "ATTACHED")
    after = incidents.get(house.store, record.id)
    assert after is not None
    assert after.rules == ("MCP-002", "MCP-005")
    assert len(house.ask("GET", f"{AT}?state=all&incident={record.id}")[1]["alerts"]) == 2
    named = raised(house, rule="MCP-006")
    assert house.ask("POST", f"{AT}/{named}/declare")[0] == 200


def test_a_webhook_folds_and_its_end_closes_the_alert_alone(house: House) -> None:
    assert house.ask("POST", HOOK, webhook()) == (200, {"folded": 1, "resolved": 0, "attached": 0})
    house.ask("POST", HOOK, webhook())
    (alert,) = house.ask("GET", AT)[1]["alerts"]
    assert (alert["count"], alert["finding"]["source"]) == (2, "monitoring_alert")
    assert house.ask("POST", HOOK, webhook("resolved")) == (200, {"folded": 0, "resolved": 1, "attached": 0})
    assert house.ask("POST", HOOK, webhook("resolved"))[1]["resolved"] == 0
    assert house.ask("POST", HOOK, webhook("resolved", alertname="Other"))[1]["resolved"] == 0
    house.ask("POST", HOOK, webhook())
    assert len(house.ask("GET", f"{AT}?state=all")[1]["alerts"]) == 2


def test_a_webhook_that_names_an_incident_joins_it_and_opens_it_again(house: House) -> None:
    id = raised(house)
    incident = house.ask("POST", f"{AT}/{id}/declare")[1]["alert"]["incident"]
    house.ask("POST", f"/api/v1/incidents/{incident}/declare", {"commander": "bob"})
    house.ask("POST", f"/api/v1/incidents/{incident}/mitigate", {"action": "blocked"})
    assert house.ask("POST", HOOK, webhook(incident=incident))[1]["attached"] == 1
    record = incidents.get(house.store, incident)
    assert record is not None
    assert record.status == "INVESTIGATING"
    house.ask("POST", HOOK, webhook("resolved", incident=incident))
    assert incidents.get(house.store, incident) == record
    assert house.ask("POST", HOOK, webhook(alertname="X", incident="INC-0"))[1]["attached"] == 0


@pytest.mark.parametrize(
    "body", [{"version": "3", "alerts": []}, {"alerts": []}, {"version": "4", "alerts": [{"status": "odd"}]}]
)
def test_another_version_or_shape_is_refused(house: House, body: Any) -> None:
    assert house.ask("POST", HOOK, body) == (422, "invalid_params")


def test_rules_are_listed_with_how_they_are_set(house: House) -> None:
    status, answer = house.ask("GET", RULES)
    assert status == 200
    assert [rule["id"] for rule in answer["rules"]] == list(catalogue.rules())
    rule = house.ask("GET", f"{RULES}/MCP-002")[1]["rule"]
    assert (rule["mode"], rule["tenants"], rule["tier"]) == ("active", {}, "T1")
    assert house.ask("GET", f"{RULES}/MCP-999") == (404, "rule_unknown")


def test_a_rule_is_set_everywhere_or_for_a_tenant_and_set_back(house: House) -> None:
    body = {"mode": "monitor", "thresholds": {"subjects": 20}, "reason": "too loud"}
    rule = house.ask("PATCH", f"{RULES}/MCP-002", body)[1]["rule"]
    assert (rule["mode"], rule["thresholds"]["subjects"]) == ("monitor", 20)
    rule = house.ask("PATCH", f"{RULES}/MCP-002", {"mode": "inactive", "tenant": "acme", "reason": "a test"})[
        1
    ]["rule"]
    assert rule["tenants"]["acme"]["mode"] == "inactive"
    assert rule["mode"] == "monitor"
    rule = house.ask("PATCH", f"{RULES}/MCP-002", {"mode": "", "thresholds": {}, "reason": "as shipped"})[1][
        "rule"
    ]
    assert (rule["mode"], rule["thresholds"]) == ("active", rule["shipped"]["thresholds"])
    told = rows(house)
    assert [row.reason for row in told] == ["rule_changed"] * 3
    assert told[0].metadata["after"] == {"mode": "monitor", "thresholds": {"subjects": "20.0"}}
    assert "too loud" not in str(told[0].metadata)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"mode": "monitor"}, "invalid_params"),
        ({"mode": "odd", "reason": "x"}, "invalid_params"),
        ({"mode": "monitor", "reason": " "}, "reason_invalid"),
        ({"thresholds": {"odd": 1}, "reason": "x"}, "threshold_unknown"),
        ({"thresholds": {"subjects": 0}, "reason": "x"}, "invalid_params"),
        ({"tenant": "\x1b", "reason": "x"}, "invalid_params"),
    ],
)
def test_what_cannot_be_set_is_refused(house: House, body: Any, word: str) -> None:
    assert house.ask("PATCH", f"{RULES}/MCP-002", body) == (422, word)
    assert house.ask("GET", f"{RULES}/MCP-002")[1]["rule"]["mode"] == "active"
