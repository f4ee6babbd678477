"""Recorded calls, as a lease asks about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airlock.audit import past
from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.audit.conftest import Log


def call(n: int, *, who: Personal | None = None, **more: Any) -> Event:
    told: dict[str, Any] = {
        "event_type": "call",
        "phase": "outcome",
        "action": "tool_call",
        "decision": "allow",
        "request_id": f"r{n}",
        "tenant": "acme",
        "server_id": "docs",
        "tool_name": "echo",
        "metadata": {"sensitivity": "high", "result_bytes": 7},
        "personal": who or Personal(
            issuer="https://i", subject="bob", actor=("robot",), source_ip="203.0.113.7", token_id="t-1",
            session_digest="ab" * 32,
        ),
    }  # fmt: skip
    return Event(**(told | more))


def test_calls_that_were_let_through_have_what_a_lease_asks_about(new_log: Callable[..., Log]) -> None:
    log = new_log()
    start = log.clock.wall()
    log.append(call(0, phase="intent", decision=None))
    log.append(call(1))
    log.append(call(2, decision="deny", reason="policy_denied"))
    log.append(call(3, decision="error", phase="single", metadata={}))
    log.append(call(4, action="tools_list"))
    redaction: dict[str, Any] = {"event_type": "redaction", "phase": "single", "decision": None}
    log.append(call(1, action="redact_data", redaction_count=1, **redaction))
    log.project()
    path = log.data_dir / "audit.db"
    found, more = past.calls(path, since=start - 1, until=log.clock.wall() + 1)
    assert ([each.request for each in found], more) == (["r1", "r3"], False)
    first = found[0]
    assert (first.tenant, first.server, first.tool, first.sensitivity) == ("acme", "docs", "echo", "high")
    assert (first.result_bytes, bool(first.redacted), bool(first.known)) == (7, True, True)
    assert (first.issuer, first.subject, first.actor) == ("https://i", "bob", '["robot"]')
    assert (first.source_ip, first.token, first.session) == ("203.0.113.7", "t-1", "ab" * 32)
    assert not found[1].redacted
    assert past.calls(path, since=log.clock.wall() + 60, until=log.clock.wall() + 61) == ([], False)


def test_of_too_many_calls_the_newest_are_read(new_log: Callable[..., Log]) -> None:
    log = new_log()
    for n in range(5):
        log.append(call(n))
    log.project()
    found, more = past.calls(log.path, since=0.0, until=log.clock.wall() + 1, most=3)
    assert ([each.request for each in found], more) == (["r2", "r3", "r4"], True)


def test_what_a_lease_refused_is_counted(new_log: Callable[..., Log]) -> None:
    log = new_log()
    for lease in ("L1", "L1", "L2"):
        log.append(call(1, decision="deny", phase="single", metadata={"lease_id": lease}))
    log.project()
    path = log.data_dir / "audit.db"
    assert [past.hits(path, lease=lease, since=0.0) for lease in ("L1", "L2", "L3")] == [2, 1, 0]
