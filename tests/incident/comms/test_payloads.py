"""What each kind of target is sent, and what counts as its yes."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from airlock.core.incident_config import TargetEntry, TargetKind
from airlock.incident.comms import outgoing, payloads
from airlock.incident.comms.outgoing import Text
from airlock.incident.comms.payloads import Answered
from airlock.model.message import Message
from tests.incident.comms.example import INCIDENT, NOW

URL = "https://told.example"


def target(kind: TargetKind, **more: object) -> TargetEntry:
    audiences = ("page", "ticket", "war_room")
    return TargetEntry(name="told", kind=kind, url=URL, audiences=audiences, **more)  # pyright: ignore[reportArgumentType]


def message(kind: TargetKind, text: Text | None = None) -> Message:
    told = text or Text(subject="[P1] Credential stuffing", body="Ten subjects of one address.")
    (made,) = outgoing.notices(
        INCIDENT, "team", told, occasion="one", targets=[target(kind)], by="alice", now=NOW
    )
    return made


def sent(kind: TargetKind, secret: str = "", **more: object) -> tuple[payloads.Post, dict[str, object]]:
    post = payloads.post(target(kind, **more), message(kind), secret=secret)
    return post, json.loads(post.body)


def test_pagerduty_folds_by_the_id_of_the_incident() -> None:
    _, body = sent("pagerduty", "R0UT1NG")
    assert body["routing_key"] == "R0UT1NG"
    assert body["dedup_key"] == INCIDENT.id
    assert body["event_action"] == "trigger"
    assert body["payload"]["severity"] == "error"  # pyright: ignore[reportIndexIssue, reportCallIssue, reportArgumentType]


def test_the_end_of_a_page_carries_no_payload() -> None:
    (end,) = outgoing.all_clear(INCIDENT, occasion="end", targets=[target("pagerduty")], now=NOW)
    body = json.loads(payloads.post(target("pagerduty"), end, secret="R").body)
    assert body == {"routing_key": "R", "event_action": "resolve", "dedup_key": INCIDENT.id}


def test_slack_text_mentions_nobody() -> None:
    hostile = message("slack", Text(subject="<!channel>", body="<https://evil|click> & go"))
    post = payloads.post(target("slack"), hostile, secret="https://hooks.example/secret")
    assert post.url == "https://hooks.example/secret"
    assert b"<!channel>" not in post.body
    assert json.loads(post.body)["text"] == "*&lt;!channel&gt;*\n&lt;https://evil|click&gt; &amp; go"


def test_a_webhook_is_signed_over_its_bytes() -> None:
    post, body = sent("webhook", "k" * 32)
    mac = hmac.new(b"k" * 32, post.body, hashlib.sha256).hexdigest()
    assert post.headers["X-Airlock-Signature"] == f"sha256={mac}"
    assert body["sha256"] == message("webhook").sha256
    assert "X-Airlock-Signature" not in sent("webhook")[0].headers


def test_jira_makes_an_issue_and_its_key_is_the_ticket() -> None:
    post, body = sent("jira", "Basic abc", project="OPS")
    assert post.url == f"{URL}/rest/api/2/issue"
    assert post.headers["Authorization"] == "Basic abc"
    assert body["fields"]["project"] == {"key": "OPS"}  # pyright: ignore[reportIndexIssue, reportCallIssue, reportArgumentType]
    verdict = payloads.judge(target("jira"), Answered(status=201, body=b'{"key": "OPS-7"}'))
    assert (verdict.delivered, verdict.ticket) == (True, f"{URL}/browse/OPS-7")


def test_alertmanager_hears_what_fires() -> None:
    fired = outgoing.firing(INCIDENT, target("alertmanager"), now=NOW)
    post = payloads.post(target("alertmanager"), fired, secret="t")
    (alert,) = json.loads(post.body)
    assert post.url == f"{URL}/api/v2/alerts"
    assert alert["labels"]["incident"] == INCIDENT.id
    assert (alert["labels"]["rule"], alert["labels"]["tenant"]) == ("MCP-002", "acme")
    assert post.headers["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("kind", "status", "body", "delivered", "again"),
    [
        ("slack", 200, b"ok", True, True),
        ("slack", 200, b"invalid_token", False, True),
        ("pagerduty", 202, b'{"status": "success"}', True, True),
        ("pagerduty", 202, b'{"status": "invalid event"}', False, True),
        ("pagerduty", 202, b"not json", False, True),
        ("jira", 200, b"<html>Log in</html>", False, True),
        ("webhook", 204, b"", True, True),
        ("webhook", 302, b"", False, True),
        ("webhook", 404, b"no", False, False),
        ("webhook", 429, b"", False, True),
        ("webhook", 500, b"\xff\x1b[31m", False, True),
    ],
)
def test_delivered_is_what_the_other_side_says(
    kind: TargetKind, status: int, body: bytes, delivered: bool, again: bool
) -> None:
    verdict = payloads.judge(target(kind), Answered(status=status, body=body))
    assert (verdict.delivered, verdict.again) == (delivered, again)
    assert len(verdict.detail) <= 300
