"""Rules that count rows of one group in a window: each a line in `COUNTING`. Pure.

A rule says which rows it is about, whose they are, how much each weighs and by what they differ, and how
grave a count is. How sure it is decides whether anything may happen without a person, so it is `high` only
for what neither a retry loop nor a wrong setting does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import msgspec

from airlock.incident.detect import judging
from airlock.incident.detect.facts import Fact
from airlock.incident.detect.judging import Thresholds, Verdict
from airlock.incident.detect.window import Count

Group = dict[str, str]


class Counting(msgspec.Struct, frozen=True, kw_only=True):
    """One rule."""

    rule: str
    wants: Callable[[Fact], bool]
    group: Callable[[Fact], Group]
    judge: Callable[[Count, Thresholds], Verdict | None]
    says: str
    """One sentence; `{metric}` and the names of the group are filled in."""
    weight: Callable[[Fact], int] = lambda fact: fact.seen.times
    marks: Callable[[Fact], Iterable[object]] = lambda fact: ()
    apart: Callable[[Fact], str] = lambda fact: ""
    """What tells groups apart beyond what a finding names."""
    window: float | None = None
    """Seconds; None: as the catalogue says."""


SECRETS = frozenset({"private_key", "aws_key", "github_token", "slack_token"})
"""Detectors whose hits are credentials that somebody can use."""

AFTER_TIME = frozenset({"token_expired", "token_not_yet_valid", "token_key_unknown", "token_revoked"})
"""Refusals that also befall whoever was let in before: no sign of guessing."""

_EXECUTES = re.compile(
    r"(?:^|[^a-z])(?:exec|shell|bash|sh|run|cmd|command|terminal|eval|spawn|script|file|fs)"
    r"(?:[^a-z]|$|s(?:[^a-z]|$))",
    re.IGNORECASE,
)
_DESTROYS = re.compile(
    r"(?:^|[^a-z])(?:delete|drop|remove|purge|wipe|destroy|truncate|transfer|terminate)", re.IGNORECASE
)

_NOT_FOUND = frozenset(
    {
        "unknown_tool",
        "unknown_prompt",
        "unknown_resource",
        "server_unknown",
        "policy_denied",
        "cross_tenant_attempt",
    }
)


def caller(fact: Fact) -> Group:
    """Who calls."""
    return {"issuer": fact.seen.issuer, "subject": fact.seen.subject}


def _caller_from(fact: Fact) -> Group:
    return {**caller(fact), "source_ip": fact.seen.source_ip}


def _caller_tool(fact: Fact) -> Group:
    return {**caller(fact), "session": fact.seen.session, "server": fact.seen.server, "tool": fact.seen.tool}


def _address(fact: Fact) -> Group:
    """Where a stranger comes from: of IPv6 the /64, in which one machine takes the address it likes."""
    seen = fact.seen
    return {"source_ip": seen.network if ":" in seen.source_ip else seen.source_ip}


def _refused_credential(fact: Fact) -> bool:
    """Who asks without any, as the checks from outside do at every address, was refused none."""
    seen = fact.seen
    refused = seen.action in ("token_validate", "login") and seen.decision == "deny" and not seen.subject
    return refused and seen.reason != "token_missing"


def _guessing(fact: Fact) -> bool:
    return _refused_credential(fact) and fact.seen.reason not in AFTER_TIME


def _outdated(fact: Fact) -> bool:
    return _refused_credential(fact) and fact.seen.reason in AFTER_TIME


def _of_address(fact: Fact) -> int:
    return fact.seen.of_address or fact.seen.times


def _deciding_call(fact: Fact) -> bool:
    seen = fact.seen
    return seen.action == "tool_call" and seen.phase != "intent" and bool(seen.subject)


def _sensitive(fact: Fact) -> bool:
    return fact.seen.sensitivity in ("high", "critical")


def _destroying(fact: Fact) -> bool:
    seen = fact.seen
    if not _deciding_call(fact) or seen.decision != "allow" or seen.read_only:
        return False
    return bool(seen.destructive) or _DESTROYS.search(seen.tool) is not None


def _breach(fact: Fact) -> bool:
    seen = fact.seen
    let_in = seen.phase == "outcome" and seen.decision == "allow"
    return let_in and bool(seen.server_tenant) and seen.server_tenant != seen.tenant


def _leaked(fact: Fact) -> bool:
    seen = fact.seen
    astray = seen.reason == "secret_to_wrong_destination"
    return astray or (seen.action == "redact_data" and not SECRETS.isdisjoint(seen.detectors.split()))


def _commanding(fact: Fact) -> bool:
    return " command " in fact.seen.marks and bool(fact.seen.tool)


COUNTING: tuple[Counting, ...] = (
    Counting(
        rule="MCP-001",
        wants=lambda fact: (
            fact.seen.decision == "deny"
            and bool(fact.seen.subject)
            and fact.seen.action != "rate_limit_hit"
            and not fact.seen.reason.startswith("contained")
        ),
        group=_caller_from,
        marks=lambda fact: (fact.seen.target or fact.seen.action,),
        judge=judging.burst,
        says="{metric} refusals of {subject} from {source_ip}",
    ),
    Counting(
        rule="MCP-002",
        wants=_guessing,
        group=_address,
        marks=lambda fact: fact.subject_marks,
        judge=judging.different("subjects", "P1", "high"),
        says="credentials of {metric} subjects were refused to {source_ip}",
    ),
    Counting(
        rule="MCP-002",
        wants=_outdated,
        group=_address,
        marks=lambda fact: fact.subject_marks,
        judge=judging.different("subjects", "P1", "low"),
        says="outdated credentials of {metric} subjects were refused to {source_ip}",
    ),
    Counting(
        rule="MCP-003",
        wants=_guessing,
        group=_address,
        weight=_of_address,
        marks=lambda fact: fact.token_marks,
        judge=judging.spray,
        says="{metric} credentials that do not count from {source_ip}",
    ),
    Counting(
        rule="MCP-003",
        wants=_outdated,
        group=_address,
        weight=_of_address,
        judge=judging.spray_outdated,
        says="{metric} outdated credentials from {source_ip}",
    ),
    Counting(
        rule="MCP-005",
        wants=lambda fact: bool(fact.seen.subject) and fact.seen.reason in _NOT_FOUND,
        group=caller,
        marks=lambda fact: (fact.seen.target,) if fact.seen.target else (),
        judge=judging.different("tools", "P2", "high"),
        says="{subject} asked for {metric} tools that it may not call or that do not exist",
    ),
    Counting(
        rule="MCP-006",
        wants=lambda fact: fact.seen.action == "privilege_escalation_attempt",
        group=_caller_from,
        judge=judging.escalation,
        says="{subject} tried to use the administration {metric} times from {source_ip}",
    ),
    Counting(
        rule="MCP-013",
        wants=lambda fact: fact.seen.reason == "cross_tenant_attempt",
        group=caller,
        judge=judging.at_least("count", "P2", "medium"),
        says="{subject} named a server of another tenant {metric} times",
    ),
    Counting(
        rule="MCP-013",
        wants=_breach,
        group=lambda fact: {**caller(fact), "server": fact.seen.server},
        judge=judging.at_least("successes", "P0", "high"),
        says="{subject} got {metric} answers from {server}, which belongs to another tenant",
    ),
    Counting(
        rule="MCP-018",
        wants=_leaked,
        group=lambda fact: {**caller(fact), "server": fact.seen.server, "tool": fact.seen.tool},
        judge=judging.at_least("count", "P1", "high"),
        says="a credential that looks usable passed through {server}/{tool}, {metric} times",
    ),
    Counting(
        rule="MCP-019",
        wants=lambda fact: _commanding(fact) and _EXECUTES.search(fact.seen.tool) is not None,
        group=_caller_tool,
        judge=judging.at_least("count", "P1", "high"),
        says="arguments of {subject} to {server}/{tool} have the shape of an injected command",
    ),
    Counting(
        rule="MCP-019",
        wants=lambda fact: _commanding(fact) and _EXECUTES.search(fact.seen.tool) is None,
        group=_caller_tool,
        judge=judging.at_least("count", "P1", "low"),
        says="arguments of {subject} to {server}/{tool} quote a command",
    ),
    Counting(
        rule="MCP-020",
        wants=lambda fact: _deciding_call(fact) and fact.seen.decision == "allow",
        group=lambda fact: {**caller(fact), "server": fact.seen.server, "tool": fact.seen.tool},
        apart=lambda fact: fact.seen.arguments,
        judge=judging.identical,
        says="{subject} made the same call to {server}/{tool} {metric} times",
    ),
    Counting(
        rule="MCP-020",
        wants=_deciding_call,
        group=caller,
        judge=judging.at_least("calls", "P2", "medium"),
        says="{subject} made {metric} calls within a minute",
        window=60.0,
    ),
    Counting(
        rule="MCP-021",
        wants=lambda fact: _destroying(fact) and _sensitive(fact),
        group=caller,
        judge=judging.at_least("count", "P0", "high"),
        says="{subject} made {metric} calls that delete or transfer",
    ),
    Counting(
        rule="MCP-021",
        wants=lambda fact: _destroying(fact) and not _sensitive(fact),
        group=caller,
        judge=judging.at_least("count", "P0", "medium"),
        says="{subject} made {metric} calls that delete or transfer",
    ),
    Counting(
        rule="MCP-029",
        wants=lambda fact: " decoy " in fact.seen.marks,
        group=_caller_tool,
        judge=judging.at_least("count", "P1", "high"),
        says="{subject} called {server}/{tool}, which nobody has a reason to call",
    ),
)
