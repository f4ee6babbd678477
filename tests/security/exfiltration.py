"""What attacks on secrets and addresses share: every era on every route, and a search of all that stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from airlock.core.ids import uuid7
from tests.system.deployment import MODERN, Answer, Deployment, envelope, until

SMALL = {"segment_size": "1MiB"}
"""For `audit`: a journal that is quickly searched."""

BOTH = "application/json, text/event-stream"


class Way(msgspec.Struct, frozen=True):
    """One era on one route."""

    modern: bool
    federated: bool

    def __str__(self) -> str:
        return f"{'modern' if self.modern else 'legacy'} {'/mcp' if self.federated else '/mcp/server'}"


WAYS = tuple(Way(modern, federated) for modern in (False, True) for federated in (True, False))


def subject() -> str:
    """A person that no other test knows: rows are counted by it."""
    return f"s-{uuid7()}"


def call(
    gateway: Deployment, way: Way, alias: str, token: str, arguments: Mapping[str, Any] | None = None
) -> Answer:
    """One call of `server__tool` with a progress token, so that a stream may come before its answer."""
    server, _, tool = alias.partition("__")
    name = alias if way.federated else tool
    meta: dict[str, Any] = {"progressToken": "mine", **(envelope() if way.modern else {})}
    headers = {"Accept": BOTH, "MCP-Protocol-Version": "2025-11-25"}
    if way.modern:
        headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": name}
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": dict(arguments or {"text": "x"}), "_meta": meta},
    }
    path = "/mcp" if way.federated else f"/mcp/{server}"
    return gateway.post(message, token, path=path, headers=headers)


def last(answer: Answer) -> dict[str, Any]:
    """The JSON-RPC answer, alone or at the end of a stream."""
    body = answer.body.decode()
    if answer.headers["content-type"].startswith("text/event-stream"):
        body = body.rpartition("data: ")[2]
    return json.loads(body)


def stays(gateway: Deployment) -> bytes:
    """Everything that a gateway leaves behind or shows: its files, its log, its metrics."""
    found = [_content(path) for path in (*gateway.data.rglob("*"), gateway.log)]
    return b"\n".join((*found, gateway.get("/metrics").body))


def _content(path: Path) -> bytes:
    """What is in a file; nothing where it is none, or was one a moment ago."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except FileNotFoundError:
        return b""


def nowhere(gateway: Deployment, *needles: str) -> None:
    """None of these texts stands in anything that stays."""
    everything = stays(gateway)
    assert [needle for needle in needles if needle.encode() in everything] == []


def rows(gateway: Deployment, who: str, action: str, count: int) -> list[dict[str, Any]]:
    """The rows of one person with this action, once there are so many; a busy machine gets its time."""
    where = "subject=? AND action=?"
    many = f"SELECT 1 FROM audit_events WHERE {where}"  # noqa: S608 - a test's own text
    until(lambda: len(gateway.rows(many, who, action)) >= count, within=60, what=f"{count} {action} of {who}")
    found = gateway.recorded(where, who, action, count=count)
    assert len(found) == count
    return found


def taken_out(gateway: Deployment, who: str, count: int = 1) -> list[dict[str, Any]]:
    """The `redact_data` rows of one person, once there are so many, with their metadata read."""
    found = rows(gateway, who, "redact_data", count)
    return [{**row, "metadata": json.loads(row["metadata"])} for row in found]


def settled(gateway: Deployment, who: str, calls: int) -> None:
    """Every call of this person has the row that decides it."""

    decided = "subject=? AND action='tool_call' AND decision IS NOT NULL"
    many = f"SELECT 1 FROM audit_events WHERE {decided}"  # noqa: S608 - a test's own text
    until(lambda: len(gateway.rows(many, who)) >= calls, within=60, what=f"{calls} calls of {who} recorded")
