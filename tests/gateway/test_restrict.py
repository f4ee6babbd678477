"""Leases that narrow calls: at admission, before the call is sent, and of what comes back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Refused, Unauthenticated
from airlock.gateway.fit import Fit
from airlock.gateway.redact_response import DROPPED, RedactResponse
from airlock.gateway.restrict import UNCHANGED, Restrict, Strength
from airlock.model.call import Redacted, Reply
from airlock.model.lease import Lease
from airlock.model.snapshot import Current
from tests.gateway.parts import (
    NOW,
    HandClock,
    allowed,
    answered,
    anything,
    authenticated,
    identified,
    lifetime,
    principal,
    redacted,
    redactors,
    rounds,
    routed,
    snapshot,
)
from tests.gateway.secrets_parts import AWS, EMAIL
from tests.gateway.test_contain import calling, lease, under

DENY = lease("policy.deny_overlay", server="docs", tool="echo", incident="INC-1", tenant="acme")
STEP_UP = lease("stepup.require", server="docs", max_age="5m")


class Checks:
    """The checks of one worker, under the leases of now."""

    def __init__(self, *leases: Lease) -> None:
        self.clock = HandClock()
        self.current = Current(under(*leases) if leases else snapshot())
        self.restrict = Restrict(current=self.current, clock=self.clock)


def call(**arguments: Any) -> Redacted:
    """A call that was admitted without leases."""
    told = {"name": "docs__echo", "arguments": arguments or {"text": "x"}}
    return redacted(allowed(routed(identified(params=told))))


def signed_in(ago: float | None) -> Redacted:
    at = None if ago is None else int(NOW - ago)
    caller = authenticated(at=snapshot(), who=principal(auth_time=at))
    return redacted(allowed(routed(identified(caller=caller))))


def test_without_leases_nothing_is_asked() -> None:
    checks = Checks()
    checks.restrict.call(routed())
    assert checks.restrict.sending(call()) is None
    assert checks.restrict.strength(call()) is UNCHANGED


def test_a_denied_call_is_refused_at_admission_with_the_lease_and_incident() -> None:
    checks = Checks()
    with pytest.raises(Refused) as refused:
        checks.restrict.call(calling(DENY))
    found = refused.value
    assert (found.code, found.reason, found.lease, found.incident) == (40302, "contained", DENY.id, "INC-1")
    assert found.scope == {"kind": "tool", "server": "docs", "name": "echo"}


def test_leases_about_others_deny_nothing() -> None:
    others = [
        lease("policy.deny_overlay", server="mail"),
        lease("policy.deny_overlay", tool="send"),
        lease("policy.deny_overlay", subject="bob"),
        lease("policy.deny_overlay", tenant="globex"),
        lease("policy.deny_overlay", risk="critical"),
    ]
    Checks().restrict.call(calling(*others))
    assert Checks(*others).restrict.sending(call()) is None


def test_a_denial_that_came_after_admission_stops_the_call_before_it_is_sent() -> None:
    refused = Checks(DENY).restrict.sending(call())
    assert refused is not None
    assert (refused.reason, refused.effect) == ("contained", Effect.NONE)


def test_who_acts_for_a_denied_subject_is_denied() -> None:
    caller = authenticated(
        at=under(lease("policy.deny_overlay", subject="robot")), who=principal(actor=("robot",))
    )
    with pytest.raises(Refused):
        Checks().restrict.call(routed(identified(caller=caller)))


@pytest.mark.parametrize(("ago", "served"), [(None, False), (301, False), (300, True), (10, True)])
def test_a_login_must_be_as_fresh_as_the_lease_says(ago: float | None, served: bool) -> None:
    refused = Checks(STEP_UP).restrict.sending(signed_in(ago))
    assert (refused is None) == served
    if refused is not None:
        assert isinstance(refused, Unauthenticated)
        assert (refused.http, refused.max_age, refused.lease) == (401, 300, STEP_UP.id)


def test_of_two_demands_the_fresher_login_counts() -> None:
    stricter = lease("stepup.require", tenant="acme", max_age="1m")
    refused = Checks(STEP_UP, stricter).restrict.sending(signed_in(100))
    assert isinstance(refused, Unauthenticated)
    assert (refused.max_age, refused.lease) == (60, stricter.id)


@pytest.mark.parametrize(
    ("pairs", "arguments", "served"),
    [
        ({"allow": "docs"}, {}, True),
        ({"allow": "mail"}, {}, False),
        ({"allow": "mail", "server": "mail"}, {}, True),
        ({"max_bytes": "20"}, {"text": "x" * 9}, True),
        ({"max_bytes": "20"}, {"text": "x" * 10}, False),
    ],
)
def test_what_leaves_is_held_to_destination_and_size(
    pairs: dict[str, str], arguments: dict[str, str], served: bool
) -> None:
    refused = Checks(lease("egress.restrict", **pairs)).restrict.sending(call(**arguments))
    assert (refused is None) == served
    if refused is not None:
        assert (refused.reason, refused.effect) == ("contained", Effect.NONE)


def test_destinations_are_those_that_every_lease_allows() -> None:
    one, other = lease("egress.restrict", allow="docs,mail"), lease("egress.restrict", allow="mail,web")
    assert Checks(one).restrict.sending(call()) is None
    assert Checks(one, other).restrict.sending(call()) is not None


def test_a_lease_that_is_over_narrows_nothing() -> None:
    checks = Checks(DENY, STEP_UP, lease("redaction.strengthen", mode="block"))
    checks.clock.seconds += 61
    assert checks.restrict.sending(call()) is None
    assert checks.restrict.strength(call()) == UNCHANGED


def test_the_strength_is_the_join_of_all_leases() -> None:
    checks = Checks(
        lease("redaction.strengthen", patterns="email"),
        lease("redaction.strengthen", patterns="aws_key,iban", mode="drop"),
        lease("redaction.strengthen", mode="mask", server="docs"),
        lease("egress.restrict", result_bytes="4096"),
        lease("egress.restrict", result_bytes="2048", server="docs"),
    )
    found = checks.restrict.strength(call())
    assert (found.patterns, found.mode, found.max_bytes) == (("aws_key", "email", "iban"), "drop", 2048)
    assert found.lease is not None


def reply(result: dict[str, Any], *leases: Lease, **section: Any) -> Reply:
    strength = Checks(*leases).restrict.strength
    stage = RedactResponse(
        redactors=redactors(**section),
        fit=Fit(),
        asking=anything,
        sealed=rounds().sealed,
        lifetime=lifetime(),
        strength=strength,
    )
    return stage(call(), answered(result))


def told(result: dict[str, Any], *leases: Lease, **section: Any) -> dict[str, Any]:
    return msgspec.json.decode(reply(result, *leases, **section).body)["result"]


MAIL = {"content": [{"type": "text", "text": f"write to {EMAIL}"}]}


def test_a_further_detector_looks_at_the_answer() -> None:
    assert EMAIL in str(told(MAIL))
    assert EMAIL not in str(told(MAIL, lease("redaction.strengthen", patterns="email")))


def test_a_result_that_holds_something_loses_everything() -> None:
    held = lease("redaction.strengthen", patterns="email", mode="drop")
    found = told({**MAIL, "structuredContent": {"a": EMAIL}}, held)
    assert found["content"] == [{"type": "text", "text": DROPPED}]
    assert found["isError"] is True
    assert "structuredContent" not in found
    assert told({"content": [{"type": "text", "text": "nothing"}]}, held)["content"][0]["text"] == "nothing"


def test_a_result_that_holds_something_is_kept_back() -> None:
    held = lease("redaction.strengthen", mode="block")
    with pytest.raises(Refused) as refused:
        reply({"content": [{"type": "text", "text": AWS}]}, held, detectors=("aws_key",))
    assert (refused.value.reason, refused.value.effect) == ("contained", Effect.POSSIBLE)
    assert refused.value.lease == held.id


def test_an_error_that_holds_something_is_kept_back() -> None:
    held = lease("redaction.strengthen", mode="drop", patterns="email")
    strength = Checks(held).restrict.strength
    stage = RedactResponse(
        redactors=redactors(),
        fit=Fit(),
        asking=anything,
        sealed=rounds().sealed,
        lifetime=lifetime(),
        strength=strength,
    )
    with pytest.raises(Refused):
        stage(call(), answered(error={"code": -32000, "message": f"ask {EMAIL}"}))


def test_a_result_is_no_larger_than_a_lease_allows() -> None:
    held = lease("egress.restrict", result_bytes="1024")
    assert len(reply({"content": [{"type": "text", "text": "x" * 5000}]}, held).body) <= 1024


def test_each_message_of_a_stream_is_held_to_the_leases_of_then() -> None:
    demanded = [UNCHANGED]
    stage = RedactResponse(
        redactors=redactors(),
        fit=Fit(),
        asking=anything,
        sealed=rounds().sealed,
        lifetime=lifetime(),
        strength=lambda _: demanded[0],
    )
    clean = stage.notices(call())
    params = {"progressToken": "t", "progress": 1, "message": f"at {EMAIL}"}
    assert clean(params) == params
    demanded[0] = Strength(patterns=("email",))
    assert EMAIL not in str(clean(params))
    demanded[0] = Strength(patterns=("email",), mode="drop", lease=DENY)
    assert clean(params) == {"progressToken": "t", "progress": 1}
