"""What a lease would have done to recorded calls."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.audit.past import Past
from airlock.core.clock import timestamp
from airlock.incident.replay import SAMPLE, judge_of, predict
from airlock.model.lease import Action, read_selector
from airlock.model.proposal import Prediction

NOW = 1_800_000_000.0
SESSION, DIGEST = "ab" * 32, "cd" * 32


def past(n: int = 0, **more: Any) -> Past:
    told: dict[str, Any] = {
        "id": f"row-{n}", "timestamp": timestamp(NOW + n), "request": f"r{n}", "tenant": "acme",
        "server": "docs", "tool": "echo", "digest": DIGEST, "sensitivity": "medium", "result_bytes": 100,
        "redacted": False, "known": True, "issuer": "https://i", "subject": "bob", "actor": "",
        "source_ip": "203.0.113.7", "token": "t-1", "session": SESSION,
    }  # fmt: skip
    return Past(**(told | more))


ERASED = {"known": False, "issuer": "", "subject": "", "source_ip": "", "token": "", "session": ""}

CASES: list[tuple[Action, dict[str, str], dict[str, Any], bool | None]] = [
    ("ip.block", {"cidr": "203.0.113.0/24"}, {}, True),
    ("ip.block", {"cidr": "198.51.100.0/24"}, {}, False),
    ("ip.block", {"cidr": "203.0.113.0/24"}, ERASED, None),
    ("subject.suspend", {"subject": "bob"}, {}, True),
    ("subject.suspend", {"subject": "bob", "tenant": "globex"}, {}, False),
    ("subject.suspend", {"subject": "robot"}, {"actor": '["robot"]'}, True),
    ("subject.suspend", {"subject": "bob"}, ERASED, None),
    ("token.revoke", {"token": "t-1"}, {}, True),
    ("token.revoke", {"token": "t-2"}, {}, False),
    ("token.revoke", {"token": "t-1"}, ERASED, None),
    ("session.terminate", {"session": SESSION}, {}, True),
    ("session.terminate", {"session": SESSION}, ERASED, None),
    ("tenant.isolate", {"tenant": "acme"}, {}, True),
    ("tenant.isolate", {"tenant": "acme"}, ERASED, True),
    ("server.disable", {"server": "docs"}, {}, True),
    ("server.disable", {"server": "mail"}, {}, False),
    ("tool.quarantine", {"server": "docs", "tool": "echo"}, {}, True),
    ("tool.quarantine", {"server": "docs", "tool": "echo", "digest": SESSION}, {}, False),
    ("policy.deny_overlay", {"risk": "medium"}, {}, True),
    ("policy.deny_overlay", {"risk": "high"}, {}, False),
    ("policy.deny_overlay", {"risk": "medium"}, ERASED, True),
    ("policy.deny_overlay", {"subject": "bob"}, ERASED, None),
    ("stepup.require", {"server": "docs"}, {}, None),
    ("stepup.require", {"server": "mail"}, {}, False),
    ("egress.restrict", {"allow": "mail"}, {}, True),
    ("egress.restrict", {"allow": "docs"}, {}, False),
    ("egress.restrict", {"result_bytes": "1024"}, {"result_bytes": 1025}, True),
    ("egress.restrict", {"max_bytes": "5"}, {}, None),
    ("egress.restrict", {"max_bytes": "5", "server": "mail"}, {}, False),
    ("redaction.strengthen", {"mode": "drop"}, {"redacted": True}, True),
    ("redaction.strengthen", {"mode": "drop"}, {}, False),
    ("redaction.strengthen", {"patterns": "email"}, {}, None),
    ("redaction.strengthen", {"mode": "block", "server": "mail"}, {"redacted": True}, False),
    ("logging.enhance", {"level": "debug"}, {}, False),
    ("policy.freeze", {}, {}, False),
]


@pytest.mark.parametrize(("action", "pairs", "call", "flips"), CASES)
def test_a_recorded_call_is_judged_as_a_live_one(
    action: Action, pairs: dict[str, str], call: dict[str, Any], flips: bool | None
) -> None:
    assert judge_of(action, read_selector(action, pairs))(past(**call)) is flips


def predicted(action: Action, pairs: dict[str, str], *calls: Past, **more: Any) -> Prediction:
    return predict(
        calls, action=action, selector=read_selector(action, pairs), since=NOW - 3600, until=NOW, **more
    )


def test_a_rate_refuses_what_is_above_it_and_counts_nothing_that_it_refuses() -> None:
    calls = [past(n) for n in range(10)] + [past(61 + n) for n in range(3)]
    assert predicted("ratelimit.tighten", {"per_token": "2/min"}, *calls).flipped == 8 + 1
    assert predicted("ratelimit.tighten", {"per_token": "2/min", "tenant": "globex"}, *calls).flipped == 0
    assert predicted("ratelimit.tighten", {"per_tenant": "20/min"}, *calls).flipped == 0


def test_a_rate_of_a_subject_is_about_all_of_its_tokens_and_nobody_else() -> None:
    pairs = {"per_token": "2/min", "subject": "bob", "issuer": "https://i", "tenant": "acme"}
    calls = [past(n, token=f"t-{n}") for n in range(5)]
    calls += [past(n, subject="ada") for n in range(5)] + [past(n, issuer="https://o") for n in range(5)]
    assert predicted("ratelimit.tighten", pairs, *calls).flipped == 3
    acting = [past(n, subject=f"s{n}", actor='["bob"]') for n in range(5)]
    assert predicted("ratelimit.tighten", pairs, *acting).flipped == 3
    found = predicted("ratelimit.tighten", pairs, *(past(n, **ERASED) for n in range(3)))
    assert (found.flipped, found.unknown) == (0, 3)
    elsewhere = [past(n, tenant=f"t{n}") for n in range(5)]
    assert predicted("ratelimit.tighten", {"per_token": "2/min", "subject": "bob"}, *elsewhere).flipped == 0


def test_a_rate_by_address_takes_a_subscriber_as_one() -> None:
    near = [past(n, source_ip=f"2001:db8::{n + 1}") for n in range(4)]
    assert predicted("ratelimit.tighten", {"per_ip": "2/min"}, *near).flipped == 2
    unknown = [past(n, **ERASED) for n in range(3)]
    found = predicted("ratelimit.tighten", {"per_ip": "2/min"}, *unknown)
    assert (found.flipped, found.unknown) == (0, 3)


def test_the_figures_of_a_prediction() -> None:
    calls = [
        *(past(n, tool=f"t{n % 2}", subject=f"s{n % 3}") for n in range(30)),
        past(40, tenant="globex", session=""),
        past(41, **ERASED),
    ]
    found = predicted(
        "ip.block", {"cidr": "203.0.113.7"}, *calls, incident=frozenset({"row-1", "row-2", "row-99"})
    )
    assert (found.requests, found.flipped, found.unknown) == (32, 31, 1)
    assert (found.users, found.sessions, found.tenants) == (4, 1, ("acme", "globex"))
    assert found.tools == (("docs/t0", 15), ("docs/t1", 15), ("docs/echo", 1))
    assert (found.of_incident, len(found.sample)) == (2, SAMPLE)
    assert found.share == pytest.approx(31 / 32)
    assert found.unknown_share == pytest.approx(1 / 32)


def test_without_calls_nothing_is_predicted() -> None:
    found = predicted("tenant.isolate", {"tenant": "acme"})
    assert (found.requests, found.share, found.unknown_share) == (0, 0.0, 0.0)
