"""The rules that act at once: each fires on its attack trace, and is silent on its benign one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from airlock.incident.detect import catalogue, traces
from airlock.incident.detect.counting import COUNTING
from airlock.incident.detect.facts import Fact
from airlock.incident.detect.inline import Detectors
from airlock.incident.detect.seen import Seen
from airlock.model.incident import Finding

START = 1_790_000_000.0
RULES = catalogue.rules()
AT_ONCE = [rule.id for rule in RULES.values() if rule.tier == "T1"]


def detectors(**thresholds: Mapping[str, float]) -> Detectors:
    return Detectors(RULES, lambda rule, tenant: {**RULES[rule].thresholds, **thresholds.get(tenant, {})})


def fact(seen: Seen, more: Mapping[str, Any]) -> Fact:
    return msgspec.convert(
        {"seen": seen, **{("lease" if k == "lease_id" else k): v for k, v in more.items()}},
        Fact,
        from_attributes=True,
    )


def play(rule: str, kind: Any, judge: Detectors | None = None) -> list[Finding]:
    judge = judge or detectors()
    found: list[Finding] = []
    for line in traces.lines(catalogue.trace(rule, kind), START):
        found += judge.see(fact(line.seen, line.more))
    return found


@pytest.mark.parametrize("rule", AT_ONCE)
def test_a_rule_fires_on_its_attack(rule: str) -> None:
    found = [each for each in play(rule, "attack") if each.rule == rule]
    assert found
    assert all(each.event_ids and each.summary and each.since <= each.until for each in found)


@pytest.mark.parametrize("rule", AT_ONCE)
def test_a_rule_is_silent_on_its_benign_trace(rule: str) -> None:
    assert [each for each in play(rule, "benign") if each.rule == rule] == []


CALLER = {"tenant": "acme", "issuer": "https://id.example", "subject": "ada", "source_ip": "203.0.113.7"}
TRIED = {"event_type": "auth", "action": "token_validate", "decision": "deny", "source_ip": "203.0.113.7"}


def see(judge: Detectors, *rows: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> list[Finding]:
    found: list[Finding] = []
    for n, row in enumerate(rows):
        at = START + row.get("at", n)
        seen = msgspec.convert({"id": str(n), "phase": "single", **row, "at": at}, Seen)
        found += judge.see(fact(seen, more or {}))
    return found


def of(rule: str, found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.rule == rule]


def denied(n: int, **more: Any) -> dict[str, Any]:
    told = {"event_type": "call", "action": "tool_call", "decision": "deny", "reason": "policy_denied"}
    return {**CALLER, **told, "server": "crm", "target": f"crm/t{n}", **more}


def test_one_call_over_and_over_is_a_burst_of_which_nobody_is_sure() -> None:
    found = of("MCP-001", see(detectors(), *(denied(0) for _ in range(25))))
    assert [each.confidence for each in found] == ["medium"]
    found = of("MCP-001", see(detectors(), *(denied(n) for n in range(25))))
    assert found[-1].confidence == "high"
    assert found[-1].group == {
        "issuer": "https://id.example", "subject": "ada", "source_ip": "203.0.113.7",
    }  # fmt: skip
    flood = of("MCP-001", see(detectors(), *(denied(n, at=n / 10) for n in range(120))))
    assert flood[-1].severity == "P1"


def test_refusals_by_a_limit_or_a_lease_are_no_burst() -> None:
    rows = [denied(n, reason="contained") for n in range(30)]
    rows += [denied(n, action="rate_limit_hit", reason="rate_limited") for n in range(30)]
    assert of("MCP-001", see(detectors(), *rows)) == []


def test_tokens_that_expired_are_no_guesses() -> None:
    marks = {"subject_marks": list(range(12)), "token_marks": list(range(12))}
    late = {**TRIED, "reason": "token_expired", "times": 40, "of_address": 40}
    found = see(detectors(), late, more=marks)
    assert {(each.rule, each.confidence) for each in found} == {("MCP-002", "low"), ("MCP-003", "low")}
    forged = {**late, "reason": "token_signature"}
    found = see(detectors(), forged, more=marks)
    assert {(each.rule, each.confidence) for each in found} == {("MCP-002", "high"), ("MCP-003", "high")}


def test_whoever_shows_no_credential_was_refused_none() -> None:
    row = {**TRIED, "reason": "token_missing", "times": 58, "of_address": 58}
    assert see(detectors(), row) == []


def test_one_token_over_and_over_is_no_spray() -> None:
    row = {**TRIED, "reason": "token_malformed", "times": 50, "of_address": 50}
    found = see(detectors(), row, more={"token_marks": [7]})
    assert [(each.rule, each.confidence) for each in found] == [("MCP-003", "low")]


def test_subjects_of_several_rows_and_workers_are_united() -> None:
    judge = detectors()
    row = {**TRIED, "reason": "token_signature"}
    assert see(judge, row, more={"subject_marks": [1, 2, 3, 4, 5, 6]}) == []
    found = see(judge, {**row, "at": 3}, more={"subject_marks": [4, 5, 6, 7, 8, 9, 10]})
    assert [(each.rule, each.metric) for each in found] == [("MCP-002", 10)]


def test_a_tenant_may_have_thresholds_of_its_own() -> None:
    strict = detectors(acme={"tools": 3})
    assert of("MCP-005", see(strict, *(denied(n) for n in range(4))))
    assert not of("MCP-005", see(detectors(), *(denied(n) for n in range(4))))


def test_an_attempt_across_tenants_is_less_grave_than_an_answer() -> None:
    tried = see(detectors(), denied(0, reason="cross_tenant_attempt"))
    assert [(each.severity, each.confidence) for each in of("MCP-013", tried)] == [("P2", "medium")]
    answered = {**denied(0), "phase": "outcome", "decision": "allow", "server_tenant": "other"}
    assert [(each.severity, each.confidence) for each in of("MCP-013", see(detectors(), answered))] == [
        ("P0", "high")
    ]
    own = {**answered, "server_tenant": "acme"}
    assert of("MCP-013", see(detectors(), own)) == []


def test_identical_calls_that_fail_are_a_retry_loop_and_no_runaway() -> None:
    call = {**denied(0), "decision": "allow", "phase": "outcome", "tool": "t0", "arguments": "same"}
    found = of("MCP-020", see(detectors(), *({**call, "at": n} for n in range(200))))
    assert found[0].confidence == "medium"
    assert found[-1].confidence == "high"
    failing = {**call, "decision": "error"}
    assert of("MCP-020", see(detectors(), *({**failing, "at": n} for n in range(200)))) == []


def test_a_command_counts_for_more_where_the_tool_runs_commands() -> None:
    call = {**denied(0), "marks": " command ", "tool": "run_shell"}
    assert [each.confidence for each in of("MCP-019", see(detectors(), call))] == ["high"]
    assert [each.confidence for each in of("MCP-019", see(detectors(), {**call, "tool": "mail"}))] == ["low"]


def test_the_same_read_and_send_is_told_once_for_a_subject() -> None:
    judge = detectors()
    read = {**denied(0), "phase": "outcome", "decision": "allow", "sensitivity": "high", "read_only": 1}
    read |= {"server": "crm", "tool": "customers", "reason": "ok"}
    send = {**read, "server": "mail", "tool": "send_mail", "sensitivity": "low", "read_only": 0}
    assert len(of("MCP-009", see(judge, read, send))) == 1
    assert of("MCP-009", see(judge, {**read, "at": 3600}, {**send, "at": 3660})) == []
    other = {**send, "at": 3670, "tool": "post_message"}
    assert len(of("MCP-009", see(judge, other))) == 1


def test_a_call_that_began_before_the_result_carries_nothing_of_it() -> None:
    marked = {**denied(0), "phase": "outcome", "decision": "allow", "marks": " injection ", "tool": "read"}
    slow = {**denied(0), "phase": "outcome", "decision": "allow", "tool": "write", "latency_ms": 60_000}
    assert of("MCP-010", see(detectors(), {**marked, "read_only": 1}, {**slow, "at": 30})) == []
    assert len(of("MCP-010", see(detectors(), {**marked, "read_only": 1}, {**slow, "at": 90}))) == 1


def test_a_policy_that_decides_nothing_is_down_however_few_ask() -> None:
    failing = {**denied(0), "decision": "error", "reason": "policy_error", "tool": "t0"}
    found = of("MCP-024", see(detectors(), *(failing for _ in range(3))))
    assert [(each.severity, each.group) for each in found] == [("P1", {"component": "policy"})]


def test_a_provider_fails_until_its_keys_are_there_again() -> None:
    judge = detectors()
    look = {"event_type": "auth", "action": "discovery", "decision": "error", "reason": "provider_timeout"}
    found = see(judge, look, more={"issuer": "https://id.example"})
    assert [each.rule for each in found] == ["MCP-026"]
    assert judge.keyless.holds(["https://id.example"])
    assert not judge.keyless.holds(["https://other.example"])
    see(judge, {**look, "decision": "allow", "at": 9}, more={"issuer": "https://id.example"})
    assert not judge.keyless.holds(["https://id.example"])
    judge.keyless.recall({"https://id.example": START})
    assert dict(judge.keyless.failing) == {"https://id.example": START}


def test_who_changes_the_address_within_a_64_at_each_try_is_one_stranger() -> None:
    judge, found = detectors(), list[Finding]()
    for n in range(12):
        tried = {**TRIED, "source_ip": f"2001:db8::{n:x}", "network": "2001:db8::/64"}
        found += see(judge, {**tried, "at": n, "reason": "token_signature"}, more={"subject_marks": (n,)})
    assert [each.group for each in of("MCP-002", found)] == [{"source_ip": "2001:db8::/64"}]


def test_whoever_is_contained_and_takes_other_ways_evades() -> None:
    judge = detectors()
    judge.evading.know("lease-1", "subject.suspend")
    ways = [{"token": f"t-{n}"} for n in range(3)]
    rows = [denied(0, reason="contained", **way) for way in ways]
    found = of("MCP-027", see(judge, *rows, more={"lease_id": "lease-1"}))
    assert found[0].group["lease"] == "lease-1"
    assert found[0].confidence == "medium"


def test_people_behind_a_closed_server_evade_nothing() -> None:
    judge = detectors()
    applied = {"event_type": "admin", "action": "lease_applied", "kind": "server.disable"}
    see(judge, applied, more={"lease_id": "lease-2"})
    rows = [denied(0, reason="contained", subject=f"s-{n}", token=f"t-{n}") for n in range(9)]
    assert of("MCP-027", see(judge, *rows, more={"lease_id": "lease-2"})) == []


def test_what_the_gateway_tries_by_itself_is_no_row_of_a_rule() -> None:
    assert all(rule.rule in RULES for rule in COUNTING)
