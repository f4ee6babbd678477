"""The answer of a policy as the engine gives it, checked to the last type before it becomes a Decision.

Only the JSON value `true` allows. Whatever is not exactly an answer (undefined, truthy, a missing or an
unknown key, an unknown obligation, a number out of range) is `policy_invalid`, and that denies.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from airlock.core.errors import PolicyFault
from airlock.model.decision import Approval, Decision, Obligations
from airlock.policy.rego import UNDEFINED

Text = Annotated[str, Meta(max_length=256)]
Reason = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_.-]{0,63}\Z")]
"""A stable code, not a sentence: callers see it, so no argument can be copied into it."""


class _Obligations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    redact: tuple[Text, ...] = ()
    max_result_bytes: Annotated[int, Meta(ge=0)] | None = None
    mask_arguments: tuple[Text, ...] = ()
    audit: Literal["intent"] | None = None


class _Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    by: Annotated[tuple[Text, ...], Meta(min_length=1)]
    within_s: Annotated[int, Meta(ge=1, le=86400)] = 600


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    allow: bool
    reason: Reason
    rule: Text = ""
    approval: _Approval | None = None
    obligations: _Obligations = _Obligations()


_decode = msgspec.json.Decoder(_Answer).decode
_NO_OBLIGATIONS = Obligations()


def read_answer(text: str, *, rule: str, revision: str) -> Decision:
    """`rule` is the rule that was asked, `decision` or `allow`. Raises PolicyFault `policy_invalid`."""
    if text == UNDEFINED:
        raise PolicyFault("policy_invalid", f"data.airlock.{rule} is undefined for this input")
    if rule == "allow":
        return _read_bare(text, revision)
    try:
        answer = _decode(text)
    except msgspec.DecodeError as error:
        raise PolicyFault("policy_invalid", f"data.airlock.decision: {error}") from error
    return Decision(
        allow=answer.allow,
        reason=answer.reason,
        rule=answer.rule,
        approval=_approval(answer.approval),
        obligations=_obligations(answer.obligations),
        revision=revision,
    )


def _read_bare(text: str, revision: str) -> Decision:
    """A policy of one boolean carries no reason of its own."""
    if text not in {"true", "false"}:
        raise PolicyFault("policy_invalid", "data.airlock.allow is no boolean")
    allow = text == "true"
    reason = "policy_allows" if allow else "policy_denies"
    return Decision(allow=allow, reason=reason, rule="airlock.allow", revision=revision)


def _approval(given: _Approval | None) -> Approval | None:
    return given and Approval(by=given.by, within_s=given.within_s)


def _obligations(given: _Obligations) -> Obligations:
    if given == _Obligations():
        return _NO_OBLIGATIONS
    return Obligations(
        redact=given.redact,
        max_result_bytes=given.max_result_bytes,
        mask_arguments=given.mask_arguments,
        audit=given.audit,
    )
