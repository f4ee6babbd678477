"""Action items of an incident as objects that a cluster takes: alert rules, and what prevents the next one.

Names carry the incident, so that the next incident overwrites none of them. An alert has an expression where
the item gives one (`expr`); else it fires when the detection rule of the item finds something.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from airlock.model.incident import ActionItem

Document = dict[str, object]

IMPROVED = "improved-monitoring-rules.yaml"
ENHANCED = "enhanced-alerts.yaml"
PREVENTIVE = "preventive-measures.yaml"

_KINDS: Mapping[str, tuple[str, ...]] = {
    IMPROVED: ("rule", "alert"),
    ENHANCED: ("threshold",),
    PREVENTIVE: ("policy", "fix", "process", "documentation"),
}
"""Which items stand in which file."""

_NO_WORD = re.compile(r"[^A-Za-z0-9]+")
_NO_RULE = re.compile(r"[^A-Za-z0-9_.:-]+")


def files(
    incident: str, rules: Sequence[str], items: Sequence[ActionItem], namespace: str
) -> dict[str, Document]:
    """Each file by its name, for an incident, the detection rules behind it, and its action items.

    A file without items is a valid object all the same, so that a script that applies all of them runs.
    """
    fired = [
        _alert(f"{rule} again", f"{rule} found something again", _found(rule), incident) for rule in rules
    ]
    improved = [*fired, *_alerts(incident, items, IMPROVED)]
    return {
        IMPROVED: _rules(incident, namespace, IMPROVED, improved),
        ENHANCED: _rules(incident, namespace, ENHANCED, _alerts(incident, items, ENHANCED)),
        PREVENTIVE: _measures(incident, items, namespace),
    }


def _alerts(incident: str, items: Sequence[ActionItem], file: str) -> list[Document]:
    alerts: list[Document] = []
    for item in items:
        if item.kind not in _KINDS[file]:
            continue
        rule = item.details.get("rule", "")
        expression = item.details.get("expr") or (_found(rule) if rule else "")
        if expression:
            alerts.append(_alert(f"{item.id} {rule}", _summary(item), expression, incident))
    return alerts


def _found(rule: str) -> str:
    name = _NO_RULE.sub("", rule)
    return f'increase(airlock_alerts_total{{rule="{name}"}}[5m]) > 0'


def _alert(name: str, summary: str, expression: str, incident: str) -> Document:
    return {
        "alert": "Airlock" + "".join(part[:1].upper() + part[1:] for part in _NO_WORD.split(name)),
        "expr": expression,
        "for": "1m",
        "labels": {"severity": "warning", "incident": incident},
        "annotations": {"summary": _plain(summary)},
    }


def _summary(item: ActionItem) -> str:
    old, new = item.details.get("old", ""), item.details.get("new", "")
    return f"{item.text} ({old} -> {new})" if old or new else item.text


def _plain(text: str) -> str:
    """Prometheus reads annotations as templates: braces of people are no templates of ours."""
    return text.replace("{{", "{ {").replace("}}", "} }")


def _rules(incident: str, namespace: str, file: str, rules: list[Document]) -> Document:
    name = _name(incident, file)
    groups = [{"name": name, "rules": rules}] if rules else []
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": _metadata(incident, namespace, name),
        "spec": {"groups": groups},
    }


def _measures(incident: str, items: Sequence[ActionItem], namespace: str) -> Document:
    """Fragments of policy or configuration by item, for whoever carries them out."""
    data = {
        f"{item.id}.txt": "\n".join(
            [_summary(item), *(f"{name}: {value}" for name, value in sorted(item.details.items()))]
        )
        for item in items
        if item.kind in _KINDS[PREVENTIVE]
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(incident, namespace, _name(incident, PREVENTIVE)),
        "data": data,
    }


def _metadata(incident: str, namespace: str, name: str) -> Document:
    return {
        "name": name,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/name": "airlock", "airlock.dev/incident": incident},
    }


def _name(incident: str, file: str) -> str:
    return f"{file.removesuffix('.yaml')}-{incident.lower()}"
