"""The actions that a playbook may call: what each takes, what it does to safety, who must agree.

A closed list: what is not in it cannot be written into a playbook. Every action of a lease is one, with the
fields of its selector as parameters. What may loosen is only proposed, and its step waits for people;
nothing runs a program that a playbook names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from airlock.core import units
from airlock.incident.playbooks.calls import variables
from airlock.model.lease import LONGEST_TEXT, RULES, Action, Unfit, read_selector
from airlock.model.playbook import Call
from airlock.model.proposal import Class

Effect = Literal["tighten", "neutral", "tune", "loosen"]
Kind = Literal["text", "duration", "object"]

Observed = Literal["lease", "event", "proposal", "repeat", "never"]
"""How it is found out after a crash whether a step was done: its lease is there; its line of the timeline is
there, and a second is not written; its proposal is there; nothing is lost by doing it again; or nobody can
know."""


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter. `choices` empty: any text."""

    kind: Kind = "text"
    required: bool = True
    choices: tuple[str, ...] = ()


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One action. Durations in seconds."""

    name: str
    about: str
    """What it does, in a few words."""
    params: Mapping[str, Param]
    effect: Effect
    needs: Class
    """Of a lease, while no dry run says what it hits."""
    observed: Observed
    lease: Action | None = None
    timeout: float = 30.0
    """When it is given up, where the step says nothing else."""
    evidence: bool = False
    """Whether it keeps what a restart would destroy."""


_TEXT = Param()
_OPTIONAL = Param(required=False)
_WINDOW = Param(kind="duration", required=False)

NOTICES: tuple[str, ...] = (
    "notification", "team", "update", "internal", "customer", "resolved", "executive", "breach",
)  # fmt: skip
"""Templates of `airlock incident render`."""

AUDIENCES: tuple[str, ...] = ("war_room", "status_updates", "executive", "customer", "legal")

OWN: tuple[Spec, ...] = (
    Spec(
        name="evidence.snapshot",
        about="keep what a restart would destroy",
        params={"scope": _OPTIONAL, "window": _WINDOW},
        effect="neutral",
        needs="A",
        observed="repeat",
        timeout=300.0,
        evidence=True,
    ),
    Spec(
        name="evidence.bundle",
        about="collect the whole bundle of the incident",
        params={"window": _WINDOW},
        effect="neutral",
        needs="A",
        observed="repeat",
        timeout=900.0,
        evidence=True,
    ),
    Spec(
        name="verify.run",
        about="check the gateway from outside",
        params={"suite": Param(choices=("e2e", "performance", "security"))},
        effect="neutral",
        needs="A",
        observed="repeat",
        timeout=180.0,
    ),
    Spec(
        name="escalate",
        about="call the next level",
        params={"level": Param(choices=("L2", "L3", "L4", "L5")), "reason": _TEXT},
        effect="neutral",
        needs="A",
        observed="event",
    ),
    Spec(
        name="notify.send",
        about="render a notice from the record and send it, or have it approved where it leaves the house",
        params={"template": Param(choices=NOTICES), "audience": Param(required=False, choices=AUDIENCES)},
        effect="neutral",
        needs="A",
        observed="event",
    ),
    Spec(
        name="policy.rollback",
        about="propose a policy that decided before, and wait for people",
        params={"to": _TEXT},
        effect="loosen",
        needs="A",
        observed="proposal",
        timeout=3600.0,
    ),
    Spec(
        name="failmode.set",
        about="propose that calls which only read pass without policy, and wait for two people",
        params={
            "mode": Param(choices=("open",)),
            "tools": Param(choices=("read-only",)),
            "ttl": _WINDOW,
        },
        effect="loosen",
        needs="A",
        observed="proposal",
        timeout=3600.0,
    ),
    Spec(
        name="webhook.call",
        about="ask a program outside, such as an orchestrator",
        params={"target": _TEXT, "body": Param(kind="object", required=False)},
        effect="neutral",
        needs="C",
        observed="never",
    ),
)  # fmt: skip


def catalogue() -> dict[str, Spec]:
    """Every action by its name."""
    return {spec.name: spec for spec in (*(_lease(action) for action in RULES), *OWN)}


def _lease(action: Action) -> Spec:
    rule = RULES[action]
    params = dict.fromkeys(rule.needs, _TEXT)
    params |= dict.fromkeys((*rule.some, *rule.sets, *rule.takes, "reason"), _OPTIONAL)
    return Spec(
        name=action,
        about="a lease" if rule.longest is not None else "a lease without end",
        params=params,
        effect="tune" if rule.alone else "tighten",
        needs="C",
        observed="lease",
        lease=action,
    )


def check(call: Call) -> list[str]:
    """What is wrong with a call, as far as can be said while its variables are not known."""
    spec = catalogue().get(call.action)
    if spec is None:
        return [f"there is no action {call.action}: {', '.join(sorted(catalogue()))}"]
    wrong = [
        f"{call.action} takes {', '.join(spec.params)}, not {key}"
        for key in call.params
        if key not in spec.params
    ]
    wrong += [
        f"{call.action} needs {key}"
        for key, param in spec.params.items()
        if param.required and key not in call.params
    ]
    for key, value in call.params.items():
        if key in spec.params and not variables(value):
            wrong += _value(key, value, spec.params[key])
    if not wrong and spec.lease is not None and not variables(call.params):
        wrong += _unfit(spec.lease, call.params)
    return wrong


def _value(key: str, value: Any, param: Param) -> list[str]:
    if param.kind == "object":
        return [] if isinstance(value, dict) else [f"{key} is an object: {{...}}"]
    if isinstance(value, (dict, list)) or value is None:
        return [f"{key} is a text"]
    if param.choices and value not in param.choices:
        return [f"{key} is one of {', '.join(param.choices)}"]
    if param.kind == "duration":
        try:
            units.duration(text(value))
        except ValueError as error:
            return [f"{key} is {error}: write 30m, 2h"]
    return []


def _unfit(action: Action, params: Mapping[str, Any]) -> list[str]:
    try:
        read_selector(action, selector(params))
    except Unfit as unfit:
        return [unfit.text]
    return []


def selector(params: Mapping[str, Any]) -> dict[str, str]:
    """The pairs of a lease's selector: all parameters but the reason, as texts."""
    return {key: text(value) for key, value in params.items() if key != "reason"}


def text(value: Any) -> str:
    """A plain JSON value as configuration has it: `true`, `5`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[: LONGEST_TEXT + 1]
