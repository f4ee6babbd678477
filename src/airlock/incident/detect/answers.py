"""From a finding to what may be done about it, and whether that may happen without a person. Pure.

Containment must not become the weapon of whoever is contained: everything here that is in doubt is only
proposed, with the reasons, and a person decides.
"""

from __future__ import annotations

import msgspec

from airlock.incident import approval
from airlock.incident.detect.catalogue import Answer, Rule
from airlock.model.detection import Mode
from airlock.model.incident import Finding
from airlock.model.lease import RULES, Action
from airlock.model.network import network
from airlock.model.proposal import Order

SHARE = 0.01
"""Part of the active principals that may be contained without a person, but one of them always."""

_ALIASES = {"cidr": "source_ip"}
"""Fields of selectors that findings call otherwise."""

_PRINCIPALS: frozenset[Action] = frozenset(
    ("subject.suspend", "session.terminate", "token.revoke", "ratelimit.tighten", "stepup.require")
)
"""Actions that are about one principal."""


class Footing(msgspec.Struct, frozen=True, kw_only=True):
    """What is true outside of the finding."""

    mode: Mode
    approved: bool
    """Whether containment by this rule was approved in advance."""
    known: bool = True
    """Whether the audit log could be asked for what follows."""
    keyless: bool = False
    """Whether the keys of an identity provider cannot be fetched: who is refused may be somebody else."""
    people: int = 0
    """Principals who called from the address within a day, for a block of one."""
    verified: bool = True
    """Whether the subject was ever named in a token that counted."""
    active: int = 0
    """Principals who called within a day."""
    contained: int = 0
    """Principals who are contained without a person's word by now."""


def of_principal(action: Action) -> bool:
    """Whether a lease contains one principal."""
    return action in _PRINCIPALS


def action_of(answer: Answer) -> Action | None:
    """The lease action of an answer; None for what is no lease."""
    for action in RULES:
        if action == answer.action:
            return action
    return None


def orders(rule: Rule, finding: Finding) -> list[tuple[Order, bool]]:
    """What the rule would have done about the finding, and whether it says that it may act alone. What the
    finding does not name enough for, and what is no lease, is left out."""
    found: list[tuple[Order, bool]] = []
    for answer in rule.responses:
        order = _order(rule, answer, finding)
        if order is not None:
            found.append((order, answer.automatic))
    return found


def _order(rule: Rule, answer: Answer, finding: Finding) -> Order | None:
    action = action_of(answer)
    if action is None:
        return None
    takes = RULES[action]
    named = {**finding.group, "tenant": finding.tenant}
    wanted = (*takes.needs, *takes.some, *takes.takes)
    selector = {key: value for key in wanted if (value := named.get(_ALIASES.get(key, key), ""))}
    selector |= answer.params
    lacking = any(key not in selector for key in takes.needs)
    scoped = {*takes.some, *takes.sets}
    if lacking or (scoped and not scoped & selector.keys()):
        return None
    ttl = None if takes.longest is None else answer.ttl
    return Order(action=action, selector=selector, ttl=ttl, reason=f"{rule.id}: {rule.title}")


def doubts(order: Order, finding: Finding, *, automatic: bool, footing: Footing) -> list[str]:
    """Why a checked order needs a person; empty where it may happen at once."""
    judged = approval.judge(order, None)
    found: list[str] = []
    if not automatic:
        found.append("the rule leaves this to a person")
    if footing.mode != "active":
        found.append(f"the rule is in mode {footing.mode}")
    if not footing.approved:
        found.append("containment by this rule was not approved in advance")
    if finding.confidence != "high":
        found.append(f"the confidence is {finding.confidence}")
    if judged.needs not in ("A", "B"):
        found += judged.why or (f"it is of class {judged.needs}",)
    return found + _harm(order, footing)


def _harm(order: Order, footing: Footing) -> list[str]:
    """Whom it could hit that did nothing."""
    found: list[str] = []
    if not footing.known:
        found.append("the audit log cannot be asked who else it would hit")
    if footing.keyless:
        found.append("the keys of an identity provider cannot be fetched (MCP-026)")
    if "cidr" in order.selector and network(order.selector["cidr"]).num_addresses > 1:
        found.append("it is a network: nobody can say who else is behind it")
    if "cidr" in order.selector and footing.people:
        found.append(f"{footing.people} principals called from this address within 24 h")
    if "subject" in order.selector and not footing.verified:
        found.append("no token that counted ever named this subject")
    if order.action in _PRINCIPALS and footing.contained >= max(1, int(footing.active * SHARE)):
        found.append(f"{footing.contained} of {footing.active} active principals are contained already")
    return found
