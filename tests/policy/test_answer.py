"""The answer: exactly true allows, and nothing that is not exactly an answer is one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core.errors import PolicyFault
from airlock.model.decision import Approval, Decision, Obligations
from airlock.policy.answer import read_answer

PLAIN: dict[str, Any] = {"allow": True, "reason": "fine"}
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
)


def read(value: object, rule: str = "decision") -> Decision:
    return read_answer(json.dumps(value), rule=rule, revision="r")


def test_a_full_answer_is_read() -> None:
    answer = PLAIN | {
        "rule": "a.b",
        "approval": {"by": ["security"], "within_s": 60},
        "obligations": {
            "redact": ["email"],
            "max_result_bytes": 10,
            "mask_arguments": ["password"],
            "audit": "intent",
        },
    }
    assert read(answer) == Decision(
        allow=True,
        reason="fine",
        rule="a.b",
        approval=Approval(by=("security",), within_s=60),
        obligations=Obligations(
            redact=("email",), max_result_bytes=10, mask_arguments=("password",), audit="intent"
        ),
        revision="r",
    )


def test_allow_and_reason_are_enough() -> None:
    assert read({"allow": False, "reason": "no"}) == Decision(allow=False, reason="no", revision="r")
    assert read(PLAIN | {"approval": None}).approval is None


TRUTHY: list[object] = ["true", "yes", 1, 1.0, None, [True], {}, {"allow": True}]
INVALID: list[object] = [
    "<undefined>",
    "true",
    True,
    1,
    None,
    [],
    {},
    {"allow": True},
    {"reason": "fine"},
    *({**PLAIN, "allow": value} for value in TRUTHY),
    *({**PLAIN, "reason": value} for value in (None, 1, "", "Two words", "a" * 65, "a\n", ["fine"])),
    {**PLAIN, "rule": 1},
    {**PLAIN, "rule": None},
    {**PLAIN, "rule": "a" * 257},
    {**PLAIN, "extra": 1},
    {**PLAIN, "Allow": True},
    {**PLAIN, "approval": True},
    {**PLAIN, "approval": {}},
    {**PLAIN, "approval": {"by": []}},
    {**PLAIN, "approval": {"by": ["a"], "within_s": 0}},
    *({**PLAIN, "approval": {"by": ["a"], "within_s": value}} for value in ("60", 1.5, 86401, True)),
    {**PLAIN, "approval": {"by": "security"}},
    {**PLAIN, "approval": {"by": ["a"], "until": 1}},
    {**PLAIN, "obligations": None},
    {**PLAIN, "obligations": {"encrypt": True}},
    {**PLAIN, "obligations": {"redact": "email"}},
    {**PLAIN, "obligations": {"max_result_bytes": -1}},
    {**PLAIN, "obligations": {"max_result_bytes": "10"}},
    {**PLAIN, "obligations": {"audit": "none"}},
]


@pytest.mark.parametrize("answer", INVALID)
def test_anything_else_is_policy_invalid(answer: object) -> None:
    with pytest.raises(PolicyFault) as caught:
        read(answer)
    assert (caught.value.reason, caught.value.code) == ("policy_invalid", 50302)


def test_a_bare_allow_is_a_boolean_without_obligations() -> None:
    assert read(True, "allow") == Decision(
        allow=True, reason="policy_allows", rule="airlock.allow", revision="r"
    )
    assert read(False, "allow").reason == "policy_denies"


@pytest.mark.parametrize("answer", ["<undefined>", "true", 1, 0, None, [], {}, [True], PLAIN])
def test_a_bare_allow_of_another_type_is_policy_invalid(answer: object) -> None:
    with pytest.raises(PolicyFault, match="allow is"):
        read(answer, "allow")


@given(JSON)
def test_nothing_at_random_allows(answer: object) -> None:
    try:
        decision = read(answer)
    except PolicyFault:
        return
    assert isinstance(answer, dict)
    assert answer["allow"] is decision.allow
