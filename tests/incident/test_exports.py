"""Action items as objects that a cluster takes."""

from __future__ import annotations

import re
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident.exports import ENHANCED, IMPROVED, PREVENTIVE, files
from airlock.model.incident import ActionItem

ID = "INC-20261128-210700"
EXPRESSION = "rate(airlock_requests_failed_total[5m]) > 1"
ITEMS = (
    ActionItem(
        id="A-1", kind="threshold", text="Ask sooner", details={"rule": "MCP-001", "old": "20", "new": "10"}
    ),
    ActionItem(id="A-2", kind="alert", text="Watch errors", details={"expr": EXPRESSION}),
    ActionItem(id="A-3", kind="policy", text="Two people for deletes", details={"rego": "deny if x"}),
    ActionItem(id="A-4", kind="rule", text="Without anything to ask for"),
)


def written(rules: tuple[str, ...] = ("MCP-002",), items: tuple[ActionItem, ...] = ITEMS) -> dict[str, Any]:
    made = files(ID, rules, items, "airlock-system")
    return {name: yaml.safe_load(yaml.safe_dump(document)) for name, document in made.items()}


def alerts(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


def test_every_file_carries_the_incident_in_its_name() -> None:
    names = {name: document["metadata"]["name"] for name, document in written().items()}
    assert names == {
        IMPROVED: f"improved-monitoring-rules-{ID.lower()}",
        ENHANCED: f"enhanced-alerts-{ID.lower()}",
        PREVENTIVE: f"preventive-measures-{ID.lower()}",
    }
    assert all(document["metadata"]["namespace"] == "airlock-system" for document in written().values())


def test_what_was_found_and_what_should_be_is_an_alert() -> None:
    found = {rule["alert"]: rule["expr"] for rule in alerts(written()[IMPROVED])}
    assert found == {
        "AirlockMCP002Again": 'increase(airlock_alerts_total{rule="MCP-002"}[5m]) > 0',
        "AirlockA2": EXPRESSION,
    }


def test_a_changed_threshold_says_old_and_new() -> None:
    (rule,) = alerts(written()[ENHANCED])
    assert rule["annotations"] == {"summary": "Ask sooner (20 -> 10)"}
    assert rule["labels"] == {"severity": "warning", "incident": ID}


def test_measures_are_kept_whole() -> None:
    document = written()[PREVENTIVE]
    assert (document["kind"], document["data"]) == (
        "ConfigMap",
        {"A-3.txt": "Two people for deletes\nrego: deny if x"},
    )


def test_files_without_items_are_objects_all_the_same() -> None:
    made = written((), ())
    assert made[IMPROVED]["spec"] == made[ENHANCED]["spec"] == {"groups": []}
    assert made[PREVENTIVE]["data"] == {}


@given(st.text(max_size=40), st.text(max_size=40))
def test_names_and_labels_are_what_a_cluster_takes_whatever_people_write(text: str, rule: str) -> None:
    item = ActionItem(id="A-1", kind="threshold", text=text, details={"rule": rule})
    for found in alerts(files(ID, (), (item,), "x")[ENHANCED]):
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", found["alert"])
        assert "{{" not in found["annotations"]["summary"]
        matched = re.fullmatch(
            r'increase\(airlock_alerts_total\{rule="(.*)"\}\[5m\]\) > 0', found["expr"], re.S
        )
        assert matched
        assert '"' not in matched[1]
