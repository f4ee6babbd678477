"""What leases set for some calls: the look-up says what the leases themselves say, and stays short."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec
import pytest

from airlock.core.units import Rate
from airlock.model.containment import compiled
from airlock.model.deltas import delta, scopes
from airlock.model.effective import about, explain, read_scope
from airlock.model.lattice import LATTICE, RISKS, join_all
from airlock.model.lease import Action, Lease, Selector, Unfit, read_selector
from airlock.model.scoped import Scoped, tighten
from tests.model.test_containment import NOW, lease, tool, who

CASES = 4_000
"""Random sets of leases, each asked for one call."""

WHAT: tuple[tuple[Action, dict[str, tuple[str, ...]]], ...] = (
    ("egress.restrict", {"max_bytes": ("1", "3", "5"), "allow": ("a", "a,b", "b,c")}),
    ("redaction.strengthen", {"mode": ("mask", "drop", "block"), "patterns": ("email", "iban")}),
    ("stepup.require", {"server": ("a", "b"), "max_age": ("1m", "5m")}),
    ("policy.deny_overlay", {"server": ("a", "b")}),
)
"""Actions, and the values that they may have here."""

SCOPED = (
    "deny.overlay", "stepup.max_age", "egress.allow", "egress.max_bytes", "redaction.mode",
    "redaction.patterns",
)  # fmt: skip


def some(dice: random.Random) -> list[Lease]:
    """Up to a dozen leases over few names, which end at different times."""
    found: list[Lease] = []
    for n in range(dice.randrange(13)):
        action, values = dice.choice(WHAT)
        pairs = {
            name: dice.choice(("a", "b")) for name in ("tenant", "subject", "tool") if dice.random() < 0.4
        }
        pairs |= {"risk": dice.choice(RISKS)} if dice.random() < 0.4 else {}
        pairs |= {name: dice.choice(several) for name, several in values.items()}
        found.append(lease(action, pairs, lasts=dice.choice((10.0, 20.0, 30.0)), id=str(n)))
    return found


def test_a_call_meets_exactly_the_join_of_the_leases_that_are_about_it() -> None:
    dice = random.Random("leases for some calls")  # noqa: S311 - the same cases in every run
    caller = who("b", "a", "")
    for _ in range(CASES):
        held, now = some(dice), NOW + dice.choice((0.0, 15.0, 25.0))
        called = msgspec.structs.replace(tool("a", "b"), sensitivity=dice.choice(RISKS))
        scope = {"tenant": "a", "subject": "b", "server": "a", "tool": "b", "risk": called.sensitivity}
        met = [delta(each.action, each.selector) for each in held if each.holds(now) and about(each, scope)]
        index = compiled(held, epoch=1).index
        for setting in SCOPED if index is not None else ():
            found = [value for value, _ in index.over(setting, caller, called, now)] if index else []
            expected = [settings[setting] for settings in met if setting in settings]
            assert bool(found) == bool(expected)
            if setting != "deny.overlay":  # which of the rules says no does not matter
                assert joined(setting, found) == joined(setting, expected)


def joined(setting: str, values: list[object]) -> object:
    return join_all({setting: value} for value in values).get(setting)


def test_a_thousand_leases_over_the_same_calls_leave_a_handful() -> None:
    dice = random.Random(7)  # noqa: S311 - the same cases in every run
    held: list[tuple[Rate, Lease]] = []
    for n in range(1000):
        each = lease("policy.deny_overlay", {"server": "a"}, lasts=dice.random() * 1000, id=str(n))
        tighten(held, Rate(dice.randrange(1000), 60), each, LATTICE["rate.per_ip"])
    assert len(held) < 40


def test_the_scope_of_a_risk_is_that_and_every_greater_one() -> None:
    found = scopes(Selector(risk="high", server="docs"))
    assert {scope[-1] for scope in found} == {"high", "critical"}
    assert {scope[3] for scope in found} == {"docs"}


def test_only_named_combinations_are_looked_up() -> None:
    scoped = Scoped("egress.max_bytes")
    one = lease("egress.restrict", {"max_bytes": "5", "server": "docs"})
    for scope in scopes(one.selector):
        scoped.put(scope, 5, one)
    facts = ("t", "i", "s", "docs", "echo", "low")
    assert [value for value, _ in scoped.over(facts, NOW)] == [5]
    assert not list(scoped.over((*facts[:3], "mail", *facts[4:]), NOW))
    assert not list(scoped.over(facts, NOW + 60))


@pytest.mark.parametrize(
    ("action", "pairs", "settings"),
    [
        ("policy.freeze", {}, {"policy.frozen": True}),
        ("admin.freeze", {}, {"admin.frozen": True}),
        (
            "stepup.require",
            {"server": "docs"},
            {"stepup.selectors": frozenset({("*", "*", "*", "docs", "*", "*")}), "stepup.max_age": 300.0},
        ),
        (
            "egress.restrict",
            {"allow": "b, a", "max_bytes": "10", "result_bytes": "2048"},
            {"egress.allow": frozenset({"a", "b"}), "egress.max_bytes": 10, "result.max_bytes": 2048},
        ),
        (
            "redaction.strengthen",
            {"patterns": "email", "mode": "drop"},
            {"redaction.patterns": frozenset({"email"}), "redaction.mode": "drop"},
        ),
        (
            "policy.deny_overlay",
            {"subject": "bob", "tenant": "acme"},
            {"deny.overlay": frozenset({("acme", "*", "bob", "*", "*", "*")})},
        ),
    ],
)
def test_what_a_lease_tightens(action: Action, pairs: dict[str, str], settings: Mapping[str, object]) -> None:
    assert delta(action, read_selector(action, pairs)) == settings


@pytest.mark.parametrize(
    ("action", "pairs", "word"),
    [
        ("policy.deny_overlay", {}, "needs one of tenant, issuer"),
        ("stepup.require", {"max_age": "5m"}, "needs one of"),
        ("stepup.require", {"server": "docs", "max_age": "2d"}, "at most"),
        ("stepup.require", {"server": "docs", "max_age": "soon"}, "10m"),
        ("egress.restrict", {"server": "docs"}, "needs one of max_bytes"),
        ("egress.restrict", {"max_bytes": "none"}, "whole number"),
        ("egress.restrict", {"allow": "a,,b"}, "commas"),
        ("redaction.strengthen", {"patterns": "poetry"}, "there is no 'poetry'"),
        ("redaction.strengthen", {"mode": "shout"}, "one of mask, drop, block"),
        ("policy.deny_overlay", {"risk": "huge"}, "one of low"),
        ("policy.freeze", {"server": "docs"}, "no selector"),
    ],
)
def test_an_unfit_selector_says_what_would_be_right(action: Action, pairs: dict[str, str], word: str) -> None:
    with pytest.raises(Unfit, match=word):
        read_selector(action, pairs)


def explained(*held: Lease, **scope: str) -> dict[str, tuple[object, tuple[str, ...]]]:
    return {each.setting: (each.value, each.decided_by) for each in explain(held, scope, NOW)}


def test_each_setting_names_the_leases_that_decide_it() -> None:
    held = (
        lease("egress.restrict", {"max_bytes": "5"}, id="tight"),
        lease("egress.restrict", {"max_bytes": "9", "allow": "a"}, id="loose"),
        lease("egress.restrict", {"max_bytes": "1", "server": "other"}, id="elsewhere"),
        lease("ip.block", {"cidr": "203.0.113.0/24"}, id="net"),
        lease("ip.block", {"cidr": "203.0.113.7"}, id="one"),
        lease("ratelimit.tighten", {"per_token": "10/min"}, id="rate"),
        lease("subject.suspend", {"subject": "bob"}, lasts=-1, id="over"),
    )
    assert explained(*held, server="docs", ip="203.0.113.7", subject="bob") == {
        "egress.max_bytes": (5, ("tight",)),
        "egress.allow": (["a"], ("loose",)),
        "block.ips": (["203.0.113.0/24", "203.0.113.7/32"], ("net", "one")),
        "rate.per_token": ("10/min", ("rate",)),
    }
    assert "block.ips" not in explained(*held, server="docs")
    assert explained(*held, server="other")["egress.max_bytes"] == (1, ("elsewhere",))


def test_a_rate_of_a_subject_is_explained_where_the_subject_is_named() -> None:
    held = (
        lease("ratelimit.tighten", {"per_token": "60/min"}, id="all"),
        lease("ratelimit.tighten", {"per_token": "10/min", "subject": "bob", "tenant": "acme"}, id="bob"),
    )
    assert explained(*held, subject="bob", tenant="acme") == {"rate.per_token": ("10/min", ("bob",))}
    for others in ({"tenant": "acme"}, {"subject": "ada", "tenant": "acme"}, {"subject": "bob"}):
        assert explained(*held, **others) == {"rate.per_token": ("60/min", ("all",))}


def test_of_two_leases_that_say_the_same_both_are_named() -> None:
    held = [lease("tool.quarantine", {"server": "a", "tool": "b"}, id=name) for name in ("one", "two")]
    assert explained(*held, server="a", tool="b")["quarantine.tools"][1] == ("one", "two")


@pytest.mark.parametrize(
    "text", ["server", "server=", "colour=red", "ip=nowhere", "risk=huge", "ip=1.2.3.4,ip=1.2.3.5"]
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(Unfit) as unfit:
        read_scope(text)
    assert unfit.value.reason == "scope_invalid"


def test_a_scope_is_read() -> None:
    assert read_scope("tenant=acme,ip=203.0.113.7,risk=low") == {
        "tenant": "acme", "ip": "203.0.113.7", "risk": "low",
    }  # fmt: skip
