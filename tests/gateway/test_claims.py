"""What clients say of themselves is recorded without secrets, and looked at once."""

from __future__ import annotations

import pytest

from airlock.gateway.claims import MAX_KEPT, MAX_TEXT, Claims
from airlock.model.call import Inbound
from tests.gateway.parts import inbound, redactors
from tests.gateway.secrets_parts import AWS, EMAIL

TOKEN = "header.payload." + "s" * 86


def request() -> Inbound:
    return inbound({}, headers={"authorization": f"Bearer {TOKEN}"})


def test_the_callers_own_token_is_withheld() -> None:
    assert Claims(redactors())(f"me/{TOKEN}", request()) == "[withheld]"


@pytest.mark.parametrize("length", [10, MAX_TEXT * 2])
def test_a_secret_is_taken_out_whatever_the_length(length: int) -> None:
    claims = Claims(redactors(detectors=("aws_key",)))
    said = f"{AWS} {'x' * length}"
    for _ in range(2):
        assert claims(said, request()) == f"[REDACTED:aws_key] {'x' * length}"


def test_other_rules_look_again() -> None:
    rules = redactors(detectors=("aws_key",))
    claims = Claims(rules)
    assert claims(EMAIL, request()) == EMAIL
    rules.rules = redactors(detectors=("email",)).rules
    assert claims(EMAIL, request()) == "[REDACTED:email]"


def test_many_clients_fill_no_memory() -> None:
    claims = Claims(redactors())
    for number in range(MAX_KEPT + 2):
        claims(f"client {number}", request())
    assert claims("client 1", request()) == "client 1"
