"""What may happen without a person: only what is narrow, sure, prepared, and can hit no bystander."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.incident import approval
from airlock.incident.detect import answers, catalogue
from airlock.incident.detect.answers import Footing
from airlock.incident.detect.principals import DAY, Principals
from airlock.incident.detect.seen import Seen
from airlock.model.incident import Finding
from airlock.model.proposal import Order

RULES = catalogue.rules()
SURE = Footing(mode="active", approved=True, active=500)
WHO = {"subject": "ada", "issuer": "https://id.example", "session": "ab" * 32, "source_ip": "203.0.113.7"}


def finding(rule: str, **more: Any) -> Finding:
    told: dict[str, Any] = {"group": WHO, "tenant": "acme", "confidence": "high", **more}
    return Finding(rule=rule, severity="P1", summary="x", since=1.0, until=2.0, **told)


def only(rule: str, found: Finding) -> Order:
    ((order, _),) = answers.orders(RULES[rule], found)
    return approval.checked(order)


def doubts(order: Order, found: Finding, *, automatic: bool = True, **more: Any) -> list[str]:
    footing = msgspec.structs.replace(SURE, **more)
    return answers.doubts(order, found, automatic=automatic, footing=footing)


def test_an_order_says_whom_it_is_about_and_nothing_that_it_does_not_take() -> None:
    block = only("MCP-002", finding("MCP-002"))
    assert (block.action, block.selector, block.ttl) == ("ip.block", {"cidr": "203.0.113.7/32"}, 3600)
    suspend = only("MCP-021", finding("MCP-021"))
    assert suspend.selector == {"subject": "ada", "issuer": "https://id.example", "tenant": "acme"}
    ended = only("MCP-029", finding("MCP-029"))
    assert (ended.action, ended.selector, ended.ttl) == ("session.terminate", {"session": "ab" * 32}, None)


def test_what_a_finding_does_not_name_is_not_contained() -> None:
    assert answers.orders(RULES["MCP-029"], finding("MCP-029", group={"subject": "ada"})) == []
    assert answers.orders(RULES["MCP-024"], finding("MCP-024", group={"component": "policy"})) == []


def test_a_network_is_left_to_a_person() -> None:
    found = finding("MCP-002", group={"source_ip": "2001:db8::/64"})
    assert "it is a network: nobody can say who else is behind it" in doubts(only("MCP-002", found), found)


def test_a_sure_finding_of_a_prepared_rule_acts() -> None:
    found = finding("MCP-002")
    assert doubts(only("MCP-002", found), found) == []


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"automatic": False}, "leaves this to a person"),
        ({"mode": "monitor"}, "mode monitor"),
        ({"approved": False}, "not approved in advance"),
        ({"keyless": True}, "MCP-026"),
        ({"people": 3}, "3 principals called from this address"),
    ],
)
def test_what_speaks_against_a_block(more: dict[str, Any], why: str) -> None:
    found = finding("MCP-002")
    assert [each for each in doubts(only("MCP-002", found), found, **more) if why in each]


@pytest.mark.parametrize("confidence", ["low", "medium"])
def test_who_is_not_sure_only_proposes(confidence: Any) -> None:
    found = finding("MCP-002", confidence=confidence)
    assert doubts(only("MCP-002", found), found) == [f"the confidence is {confidence}"]


def test_a_subject_of_which_no_token_ever_spoke_is_left_alone() -> None:
    found = finding("MCP-021")
    assert doubts(only("MCP-021", found), found, verified=False) == [
        "no token that counted ever named this subject"
    ]


@pytest.mark.parametrize("rule", ["MCP-001", "MCP-020"])
def test_a_rate_of_exactly_that_subject_needs_nobody(rule: str) -> None:
    found = finding(rule)
    order = only(rule, found)
    assert order.action == "ratelimit.tighten"
    assert order.selector == {
        "per_token": "10/min", "subject": "ada", "issuer": "https://id.example", "tenant": "acme",
    }  # fmt: skip
    assert doubts(order, found) == []
    assert doubts(order, found, verified=False) == ["no token that counted ever named this subject"]
    assert doubts(order, found, contained=5) == ["5 of 500 active principals are contained already"]


def test_a_broad_answer_is_for_people() -> None:
    found = finding("MCP-001", group={"source_ip": "203.0.113.7"})
    assert any("many callers" in each for each in doubts(only("MCP-001", found), found))


@pytest.mark.parametrize(
    ("active", "contained", "free"), [(0, 0, True), (50, 1, False), (500, 4, True), (500, 5, False)]
)
def test_one_percent_of_the_principals_at_most_but_one_always(
    active: int, contained: int, *, free: bool
) -> None:
    found = finding("MCP-021")
    assert (doubts(only("MCP-021", found), found, active=active, contained=contained) == []) is free


def test_principals_are_those_of_a_day() -> None:
    known = Principals()
    for n in range(5):
        known.note(Seen(event_type="call", subject=f"s-{n}", at=n * 1000.0))
    known.note(Seen(event_type="call", subject="s-0", at=DAY))
    known.note(Seen(event_type="auth", subject="nobody", at=DAY))
    assert known.active(DAY + 2500) == 3
