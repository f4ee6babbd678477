"""What a lease may be: actions, selectors and durations, checked before anything is stored."""

from __future__ import annotations

import math

import pytest

from airlock.core.units import Rate
from airlock.model.deltas import delta
from airlock.model.lease import (
    RULES,
    Action,
    Lease,
    Selector,
    Unfit,
    read_action,
    read_selector,
    read_ttl,
)

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("action", "pairs", "selector"),
    [
        ("ip.block", {"cidr": "203.0.113.7"}, Selector(cidr="203.0.113.7/32")),
        ("subject.suspend", {"subject": "alice"}, Selector(subject="alice")),
        (
            "subject.suspend",
            {"subject": "alice", "tenant": "acme", "issuer": "https://i.example"},
            Selector(subject="alice", tenant="acme", issuer="https://i.example"),
        ),
        ("token.revoke", {"token": "j-1"}, Selector(token="j-1")),
        ("session.terminate", {"session": DIGEST}, Selector(session=DIGEST)),
        ("tool.quarantine", {"server": "docs", "tool": "echo"}, Selector(server="docs", tool="echo")),
        (
            "tool.quarantine",
            {"server": "docs", "tool": "echo", "digest": "*"},
            Selector(server="docs", tool="echo"),
        ),
        (
            "tool.quarantine",
            {"server": "docs", "tool": "echo", "digest": DIGEST},
            Selector(server="docs", tool="echo", digest=DIGEST),
        ),
        ("server.disable", {"server": "docs"}, Selector(server="docs")),
        ("tenant.isolate", {"tenant": "acme"}, Selector(tenant="acme")),
        (
            "ratelimit.tighten",
            {"per_token": "10/min", "tenant": "acme"},
            Selector(per_token="10/min", tenant="acme"),
        ),
        ("ratelimit.tighten", {"per_ip": "0/s"}, Selector(per_ip="0/s")),
        (
            "ratelimit.tighten",
            {"per_token": "10/min", "tenant": "acme", "issuer": "https://i.example", "subject": "alice"},
            Selector(per_token="10/min", tenant="acme", issuer="https://i.example", subject="alice"),
        ),
    ],
)
def test_a_selector_is_read(action: Action, pairs: dict[str, str], selector: Selector) -> None:
    assert read_selector(action, pairs) == selector


@pytest.mark.parametrize(
    ("action", "pairs", "reason", "word"),
    [
        ("ip.block", {"cidr": "203.0.113.7/24"}, "invalid_ip", "203.0.113.0/24"),
        ("ip.block", {"cidr": "nowhere"}, "invalid_ip", "not an address"),
        ("ip.block", {}, "selector_invalid", "needs cidr"),
        ("ip.block", {"cidr": "203.0.113.7", "tenant": "acme"}, "selector_invalid", "not 'tenant'"),
        ("subject.suspend", {"tenant": "acme"}, "selector_invalid", "needs subject"),
        ("subject.suspend", {"subject": ""}, "selector_invalid", "1 to 512"),
        ("subject.suspend", {"subject": "a" * 513}, "selector_invalid", "1 to 512"),
        ("subject.suspend", {"subject": "a\nb"}, "selector_invalid", "printable"),
        ("subject.suspend", {"subject": "*"}, "selector_invalid", "left out"),
        ("session.terminate", {"session": "AB" * 32}, "selector_invalid", "SHA-256"),
        ("session.terminate", {"session": "ab"}, "selector_invalid", "SHA-256"),
        ("tool.quarantine", {"server": "docs"}, "selector_invalid", "server and tool"),
        ("tool.quarantine", {"server": "docs", "tool": "*"}, "selector_invalid", "one name"),
        ("ratelimit.tighten", {"tenant": "acme"}, "selector_invalid", "needs one of"),
        ("ratelimit.tighten", {"per_ip": "1/s", "tenant": "acme"}, "selector_invalid", "leave tenant out"),
        ("ratelimit.tighten", {"per_ip": "fast"}, "selector_invalid", "10/min"),
        ("ratelimit.tighten", {"per_ip": "1/s", "subject": "a"}, "selector_invalid", "more than one subject"),
        ("ratelimit.tighten", {"per_tenant": "1/s", "subject": "a"}, "selector_invalid", "leave subject out"),
        ("ratelimit.tighten", {"per_token": "1/s", "issuer": "i"}, "selector_invalid", "name subject too"),
    ],
)
def test_an_unfit_selector_says_what_would_be_right(
    action: Action, pairs: dict[str, str], reason: str, word: str
) -> None:
    with pytest.raises(Unfit) as unfit:
        read_selector(action, pairs)
    assert unfit.value.reason == reason
    assert word in unfit.value.text


@pytest.mark.parametrize("action", RULES)
def test_every_action_is_known_by_its_name(action: Action) -> None:
    assert read_action(action) == action


def test_another_action_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(Unfit, match=r"ip\.block.*ratelimit\.tighten") as unfit:
        read_action("ip.bless")
    assert unfit.value.reason == "action_unknown"


@pytest.mark.parametrize(
    ("action", "ttl", "seconds"),
    [
        ("ip.block", None, 3600.0),
        ("ip.block", 86400.0, 86400.0),
        ("server.disable", None, 14400.0),
        ("tool.quarantine", 72 * 3600.0, 72 * 3600.0),
        ("token.revoke", None, None),
    ],
)
def test_a_duration_is_the_usual_one_or_as_asked(
    action: Action, ttl: float | None, seconds: float | None
) -> None:
    assert read_ttl(action, ttl) == seconds


@pytest.mark.parametrize(
    ("action", "ttl", "reason"),
    [
        ("ip.block", 86401.0, "duration_too_long"),
        ("ip.block", math.inf, "duration_too_long"),
        ("ip.block", 0.5, "duration_invalid"),
        ("ip.block", -5.0, "duration_invalid"),
        ("ip.block", math.nan, "duration_invalid"),
        ("token.revoke", 60.0, "duration_invalid"),
    ],
)
def test_an_unfit_duration_is_refused(action: Action, ttl: float, reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        read_ttl(action, ttl)
    assert unfit.value.reason == reason


@pytest.mark.parametrize(
    ("action", "selector", "settings"),
    [
        ("ip.block", Selector(cidr="203.0.113.7/32"), {"block.ips": frozenset({"203.0.113.7/32"})}),
        (
            "subject.suspend",
            Selector(subject="alice", tenant="acme"),
            {"suspend.subjects": frozenset({("acme", "*", "alice")})},
        ),
        ("server.disable", Selector(server="docs"), {"server.status": "inactive", "server.cut": "cut"}),
        (
            "ratelimit.tighten",
            Selector(per_ip="10/min", per_token="1/s"),
            {"rate.per_ip": Rate(10, 60), "rate.per_token": Rate(1, 1)},
        ),
        (
            "tool.quarantine",
            Selector(server="docs", tool="echo"),
            {"quarantine.tools": frozenset({("docs", "echo", "*")})},
        ),
    ],
)
def test_a_lease_tightens_settings(action: Action, selector: Selector, settings: dict[str, object]) -> None:
    assert delta(action, selector) == settings


@pytest.mark.parametrize(
    ("state", "expires_at", "now", "holds"),
    [
        ("active", 100.0, 99.9, True),
        ("active", 100.0, 100.0, False),
        ("active", None, 1e12, True),
        ("released", 100.0, 1.0, False),
        ("expired", 100.0, 1.0, False),
    ],
)
def test_a_lease_holds_until_it_ends(state: str, expires_at: float | None, now: float, holds: bool) -> None:
    lease = Lease(
        id="1",
        action="ip.block",
        selector=Selector(cidr="203.0.113.7/32"),
        state=state,  # pyright: ignore[reportArgumentType]
        reason="test",
        actor="me",
        origin="cli",
        created_at=0.0,
        expires_at=expires_at,
        max_until=None,
        epoch=1,
    )
    assert lease.holds(now) is holds
