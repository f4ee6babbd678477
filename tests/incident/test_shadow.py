"""Attacks of drills are about nobody, and what is untested for too long is said (I24)."""

from __future__ import annotations

import msgspec
import pytest

from airlock.app.drilling_rules import began, findings_of
from airlock.incident import scorecard
from airlock.incident.detect import catalogue, traces
from airlock.incident.detect.seen import Seen
from airlock.incident.severity import DAY
from airlock.incident.shadow import ISSUER, NAME, TENANT, fact, names, seen, strays
from airlock.model.drill import Drill
from airlock.model.lease import Action, Lease, Selector
from airlock.model.network import network

NOW = 1_790_000_000.0
RULES = catalogue.rules()


@pytest.mark.parametrize("rule", RULES)
def test_i24_every_rule_finds_its_attack_also_where_nobody_is_anybody(rule: str) -> None:
    facts = [fact(line) for line in traces.lines(catalogue.trace(rule, "attack"), began(NOW))]
    found = findings_of(RULES[rule], facts)
    assert found
    known = names(each.seen for each in facts)
    for each in found:
        assert not each.tenant or each.tenant.startswith(TENANT)
        assert each.group.get("subject", NAME).startswith(NAME)
        assert each.group.get("server", NAME).startswith(NAME)
        assert {each.group.get(key, "") for key in ("issuer", "session", "token")} <= {"", ISSUER, *known}


def test_attacks_come_from_addresses_that_nobody_has() -> None:
    for rule in RULES:
        for line in traces.lines(catalogue.trace(rule, "attack"), NOW):
            if line.seen.source_ip:
                address = f"{line.seen.source_ip}/{network(line.seen.source_ip).max_prefixlen}"
                assert strays([lease("ip.block", cidr=address)], frozenset()) == [], (rule, address)


def lease(action: Action, **selector: str) -> Lease:
    return Lease(
        id="l",
        action=action,
        selector=Selector(**selector),
        state="active",
        reason="r",
        actor="MCP-002",
        origin="detector",
        created_at=NOW,
        expires_at=NOW + 60,
        max_until=NOW + 60,
        epoch=1,
    )


def test_a_lease_that_names_anybody_else_is_told() -> None:
    rows = [
        seen(Seen(tenant="acme", issuer="https://id.example", subject="ada", server="crm", session="5e55"))
    ]
    known = names(rows)
    mine = rows[0]
    assert (mine.issuer, mine.subject, mine.server) == (ISSUER, "drill.ada", "drill.crm")
    fine = [
        lease("subject.suspend", subject=mine.subject, tenant=mine.tenant, issuer=mine.issuer),
        lease("session.terminate", session=mine.session),
        lease("tool.quarantine", server=mine.server, tool="read"),
        lease("ip.block", cidr="2001:db8::7/128"),
        lease("policy.freeze"),
    ]
    assert strays(fine, known) == []
    stray = [
        lease("subject.suspend", subject="ada"),
        lease("ip.block", cidr="10.0.0.1/32"),
        lease("ip.block", cidr="203.0.0.0/8"),
        lease("tenant.isolate", tenant="acme"),
    ]
    assert strays(stray, known) == [
        "subject.suspend names subject ada",
        "ip.block names cidr 10.0.0.1/32",
        "ip.block names cidr 203.0.0.0/8",
        "tenant.isolate names tenant acme",
    ]


def test_attacks_begin_on_a_monday_that_is_over() -> None:
    for day in range(8):
        at = began(NOW + day * DAY)
        assert 0 < NOW + day * DAY - at < 8 * DAY
        assert (at - began(NOW)) % (7 * DAY) == 0


@pytest.mark.parametrize(
    ("kind", "state", "days", "warning"),
    [
        ("rule", "passed", 29, ""),
        ("rule", "passed", 31, "not drilled for more than 30 days"),
        ("playbook", "passed", 31, ""),
        ("playbook", "passed", 91, "not drilled for more than 90 days"),
        ("rule", "failed", 1, "its last drill failed"),
        ("playbook", "pending", 1, "nothing of it can be drilled here"),
    ],
)
def test_what_is_untested_is_said(kind: str, state: str, days: int, warning: str) -> None:
    at = NOW - days * DAY
    told = {
        "id": "d",
        "subject": "s",
        "kind": kind,
        "by": "bob",
        "asked_at": at,
        "state": state,
        "ended_at": at,
    }
    drill = msgspec.convert(told, Drill)
    proven = at if state == "passed" else None
    made = scorecard.line("s", drill.kind, "S", [drill], proven=proven, waiting=False, now=NOW)
    assert made.warning == warning
    assert (made.last_proven is None) == (proven is None)
    never = scorecard.line("s", drill.kind, "S", [], proven=None, waiting=True, now=NOW)
    assert (never.warning, never.last, never.waiting) == ("never drilled", None, True)


def test_the_stalest_comes_first() -> None:
    assert scorecard.stalest(["a", "b", "c"], {"a": 2.0, "b": 1.0}) == "c"
    assert scorecard.stalest(["a", "b"], {"a": 2.0, "b": 1.0}) == "b"
