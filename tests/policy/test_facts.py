"""What is kept of a question: the parts that the policy can read, byte for byte, and no more."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core.errors import PolicyFault
from airlock.policy.embedded import EmbeddedEngine
from airlock.policy.facts import Facts
from airlock.policy.input import encode
from airlock.policy.sample import SAMPLE, complete
from tests.policy.policies import bundle, shipped

READS_AN_ARGUMENT = """
import rego.v1
default decision := {"allow": false, "reason": "no"}
decision := {"allow": true, "reason": "yes"} if {
	input.arguments["the path"] == "/a"
	"dev" in input.subject.roles
}
"""


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        ([], {"subject": {"tenant": "acme"}}),
        ([("subject",)], {"subject": msgspec.to_builtins(SAMPLE.subject)}),
        (
            [("arguments", "the path"), ("arguments", "absent"), ("context", "time", "hour")],
            {
                "subject": {"tenant": "acme"},
                "arguments": {"the path": [1.50, None]},
                "context": {"time": {"hour": 14}},
            },
        ),
    ],
)
def test_only_what_is_named_is_kept(paths: list[tuple[str, ...]], kept: dict[str, Any]) -> None:
    question = encode(complete({"arguments": {"the path": [1.50, None], "secret": "x"}}))
    assert json.loads(Facts(paths)(question)) == json.loads(json.dumps(kept))


def test_values_are_kept_byte_for_byte() -> None:
    question = b'{"arguments":{"a":1.50e1,"b":"\\u0041"},"subject":{"tenant":"t","x":1}}'
    assert Facts([("arguments", "a")])(question) == b'{"arguments":{"a":1.50e1},"subject":{"tenant":"t"}}'


@given(
    path=st.sampled_from(["/a", "/b", ""]),
    other=st.text(max_size=5),
    roles=st.lists(st.sampled_from(["dev", "ops"]), max_size=2),
    hour=st.integers(0, 23),
)
def test_what_is_kept_replays_the_decision(path: str, other: str, roles: list[str], hour: int) -> None:
    engine = EmbeddedEngine(bundle(READS_AN_ARGUMENT))
    asked = encode(
        complete(
            {
                "arguments": {"the path": path, "other": other},
                "subject": {"roles": roles},
                "context": {"time": {"hour": hour}},
            }
        )
    )
    assert engine.facts is not None
    kept = engine.facts(asked)
    assert b"other" not in kept
    assert engine.decide(kept) == engine.decide(asked)


def test_nothing_is_cut_where_nothing_is_proved() -> None:
    text = READS_AN_ARGUMENT.replace('input.arguments["the path"] == "/a"', 'input == {"a": 1}')
    engine = EmbeddedEngine(bundle(text))
    assert engine.facts is None


def test_a_shipped_policy_reads_no_argument() -> None:
    engine = EmbeddedEngine(shipped("starter"))
    assert engine.facts is not None
    kept = engine.facts(encode(complete({"arguments": {"q": "x"}, "subject": {"roles": ["viewer"]}})))
    assert "arguments" not in json.loads(kept)
    with pytest.raises(PolicyFault):
        engine.decide(b"no question")
