"""What each kind of target is sent, and what counts as its yes. Pure: `app.posting` does the sending.

Sources: PagerDuty Events API v2, Slack incoming webhooks, Jira REST API v2, Alertmanager API v2.
A secret is in no body that is stored: headers and keys are added here, at the last moment.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from airlock.core.incident_config import TargetEntry, TargetKind
from airlock.model.incident import IncidentSeverity
from airlock.model.message import Message

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"

_SEVERITY: Mapping[IncidentSeverity, str] = {"P0": "critical", "P1": "error", "P2": "warning", "P3": "info"}
_CUT = 1024
"""Characters of PagerDuty's `summary`."""


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request: POST of a JSON body."""

    url: str
    headers: dict[str, str]
    body: bytes


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    body: bytes


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it was delivered, and the other side's words for it."""

    delivered: bool
    detail: str
    again: bool = True
    """Whether to try once more: not where the target says that the request is wrong."""
    ticket: str = ""


def post(target: TargetEntry, message: Message, *, secret: str) -> Post:
    """The request for one message. Not for `apprise`, which is no HTTP request of ours."""
    return _POSTS[target.kind](target, message, secret)


def call(target: TargetEntry, document: object, *, secret: str, key: str) -> Post:
    """The request of a playbook to a webhook. By `key` the other side knows a repetition."""
    made = _signed(_json(target.url, document), secret)
    return msgspec.structs.replace(made, headers={**made.headers, "Idempotency-Key": key})


def judge(target: TargetEntry, answered: Answered) -> Verdict:
    """What an answer means: delivered only where the other side says so."""
    text = answered.body.decode("utf-8", "replace")[:256]
    detail = f"{answered.status} {' '.join(text.split())}".strip()
    if not 200 <= answered.status < 300:
        wrong = 400 <= answered.status < 500 and answered.status not in (408, 425, 429)
        return Verdict(delivered=False, detail=detail, again=not wrong)
    if target.kind == "slack" and text.strip() != "ok":
        return Verdict(delivered=False, detail=f"the answer is not ok: {detail}")
    if target.kind == "pagerduty" and _member(answered.body, "status") != "success":
        return Verdict(delivered=False, detail=f"the answer is not success: {detail}")
    if target.kind == "jira" and not _member(answered.body, "key"):
        return Verdict(delivered=False, detail=f"the answer names no issue: {detail}")
    return Verdict(delivered=True, detail=detail, ticket=_ticket(target, answered.body))


def _pagerduty(target: TargetEntry, message: Message, secret: str) -> Post:
    event: dict[str, Any] = {
        "routing_key": secret,
        "event_action": message.action,
        "dedup_key": message.incident,
    }
    if message.action == "trigger":
        event["payload"] = {
            "summary": message.subject[:_CUT],
            "source": "airlock",
            "severity": _SEVERITY[message.severity],
            "component": "mcp-gateway",
            "custom_details": {"text": message.body, "channel": message.channel, "message": message.id},
        }
    return _json(target.url or PAGERDUTY, event)


def _slack(target: TargetEntry, message: Message, secret: str) -> Post:
    text = f"*{_slack_text(message.subject)}*\n{_slack_text(message.body)}"
    return _json(secret or target.url, {"text": text, "mrkdwn": True})


def _slack_text(text: str) -> str:
    """Slack's own escapes: nothing in a text may mention people or make a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _webhook(target: TargetEntry, message: Message, secret: str) -> Post:
    shown = {
        "id": message.id,
        "incident": message.incident,
        "template": message.template,
        "audience": message.audience,
        "channel": message.channel,
        "severity": message.severity,
        "action": message.action,
        "subject": message.subject,
        "body": message.body,
        "sha256": message.sha256,
    }
    return _signed(_json(target.url, shown), secret)


def _signed(made: Post, secret: str) -> Post:
    if not secret:
        return made
    signature = hmac.new(secret.encode(), made.body, hashlib.sha256).hexdigest()
    return msgspec.structs.replace(
        made, headers={**made.headers, "X-Airlock-Signature": f"sha256={signature}"}
    )


def _jira(target: TargetEntry, message: Message, secret: str) -> Post:
    fields = {
        "project": {"key": target.project},
        "issuetype": {"name": "Incident"},
        "summary": message.subject[:255],
        "description": message.body,
        "labels": ["airlock", message.incident],
    }
    made = _json(f"{target.url.rstrip('/')}/rest/api/2/issue", {"fields": fields})
    return msgspec.structs.replace(made, headers={**made.headers, "Authorization": secret})


def _alertmanager(target: TargetEntry, message: Message, secret: str) -> Post:
    alert = {
        "labels": {
            "alertname": "AirlockIncident",
            "incident": message.incident,
            "severity": message.severity,
            **message.labels,
        },
        "annotations": {"summary": message.subject, "description": message.body},
    }
    made = _json(f"{target.url.rstrip('/')}/api/v2/alerts", [alert])
    return msgspec.structs.replace(made, headers=made.headers | _bearer(secret))


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def _json(url: str, document: object) -> Post:
    return Post(url=url, headers={"Content-Type": "application/json"}, body=msgspec.json.encode(document))


_POSTS: Mapping[TargetKind, Callable[[TargetEntry, Message, str], Post]] = {
    "pagerduty": _pagerduty,
    "slack": _slack,
    "webhook": _webhook,
    "jira": _jira,
    "alertmanager": _alertmanager,
}


def _member(body: bytes, name: str) -> str:
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return ""
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _ticket(target: TargetEntry, body: bytes) -> str:
    """Where the ticket is, as the tracker says: its address, or its key."""
    if "ticket" not in target.audiences:
        return ""
    key = _member(body, "key")
    if target.kind == "jira" and key:
        return f"{target.url.rstrip('/')}/browse/{key}"
    return _member(body, "url") or key
