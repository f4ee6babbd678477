"""The question: complete, typed, from verified facts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.model.decision import PolicyInput
from airlock.model.principal import Principal
from airlock.model.server import Item
from airlock.policy.input import build, encode, schema, target_of

PRINCIPAL = Principal(
    issuer="https://idp.example",
    subject="alice",
    tenant="acme",
    roles=("developer",),
    scopes=("mcp.call",),
    token_id="t1",
    auth_time=1_763_733_780,
    expires_at=1_763_740_000,
)
TOOL = Item(
    server="docs",
    name="search",
    alias="docs__search",
    definition={},
    digest="ab12",
    sensitivity="low",
    read_only=True,
    tags=("public",),
)
NOW = 1_763_733_907.9
"""Friday 2025-11-21 14:05:07 UTC."""


def ask(**changed: Any) -> PolicyInput:
    given: dict[str, Any] = {
        "principal": PRINCIPAL,
        "target": target_of(TOOL),
        "phase": "call",
        "action": "tools/call",
        "arguments": {"query": "revenue"},
        "source_ip": "203.0.113.7",
        "era": "2026-07-28",
        "route": "/mcp",
        "now": NOW,
    }
    return build(**given | changed)


def test_every_key_is_present_and_typed() -> None:
    assert msgspec.json.decode(encode(ask())) == {
        "v": 1,
        "phase": "call",
        "subject": {
            "id": "alice",
            "issuer": "https://idp.example",
            "tenant": "acme",
            "roles": ["developer"],
            "groups": [],
            "scopes": ["mcp.call"],
            "client_id": "",
            "auth": "local",
            "auth_age_s": 127,
            "actor": [],
        },
        "action": "tools/call",
        "target": {
            "kind": "tool",
            "server": "docs",
            "name": "search",
            "uri": "",
            "tenant": "",
            "sensitivity": "low",
            "read_only": True,
            "definition_digest": "ab12",
            "approved": True,
            "tags": ["public"],
            "owner": "",
        },
        "arguments": {"query": "revenue"},
        "context": {
            "source_ip": "203.0.113.7",
            "era": "2026-07-28",
            "route": "/mcp",
            "time": {"hour": 14, "minute": 5, "weekday": "fri", "date": "2025-11-21", "zone": "UTC"},
            "session_labels": [],
            "risk": [],
        },
    }


def test_a_list_has_no_arguments() -> None:
    assert ask(phase="list").arguments == {}


def test_an_unknown_login_time_is_null_and_a_future_one_is_now() -> None:
    assert ask(principal=msgspec.structs.replace(PRINCIPAL, auth_time=None)).subject.auth_age_s is None
    assert ask(now=1_763_733_000.0).subject.auth_age_s == 0


def test_a_changed_definition_is_not_approved() -> None:
    assert not target_of(msgspec.structs.replace(TOOL, pin="changed")).approved


@pytest.mark.parametrize(
    ("now", "weekday", "date"),
    [
        (0.0, "thu", "1970-01-01"),
        (1_795_305_599.9, "sat", "2026-11-21"),
        (1_795_305_600.0, "sun", "2026-11-22"),
    ],
)
def test_the_time_is_in_utc(now: float, weekday: str, date: str) -> None:
    moment = ask(now=now).context.time
    assert (moment.weekday, moment.date) == (weekday, date)


def test_the_schema_is_that_of_the_struct() -> None:
    described = schema()
    properties = described["$defs"]["PolicyInput"]["properties"]
    assert list(properties) == ["v", "phase", "subject", "action", "target", "arguments", "context"]
