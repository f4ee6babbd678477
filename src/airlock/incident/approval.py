"""Who must agree to what. Pure: classes of orders, what each needs, and what makes an approval count.

| Class | Needs |
|---|---|
| A | nobody |
| B | nobody where a rule of high confidence asks and a playbook was approved before; else one person |
| C | one person |
| D | two people, each freshly signed in |

A person who may approve and asks for A, B or C has agreed by asking; automation never approves.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from airlock.incident import loosening, rollback
from airlock.mcp import strict
from airlock.model.incident import Actor
from airlock.model.lease import RULES, Action, Unfit, read_action, read_selector, read_ttl
from airlock.model.principal import one_person
from airlock.model.proposal import LOOSENING, Approval, Class, Order, Prediction, Proposal

USERS: Final = 25
"""People that a narrow action may hit, by the replay."""

LONGEST: Final = 3600.0
"""Seconds that a narrow action may last."""

UNKNOWN: Final = 0.05
"""Share of calls of which the replay cannot say anything; above, an action needs more."""

VALID: Final = 600.0
"""Seconds that an approval lives."""

FRESH: Final = 300.0
"""Seconds since the sign-in of somebody who agrees to loosen."""

SKEW: Final = 60.0
"""Seconds that the clock of an issuer may be ahead."""

OPEN: Final = 24 * 3600.0
"""Seconds that a proposal waits."""

PEOPLE: Final = {"A": 0, "B": 1, "C": 1, "D": 2}

QUIET: Final[frozenset[Action]] = frozenset(("logging.enhance", "monitoring.enhance"))
"""Refuse nothing to anybody."""

NARROW: Final[frozenset[Action]] = frozenset(
    ("ip.block", "subject.suspend", "token.revoke", "session.terminate", "tool.quarantine")
)
"""About one address, person, credential or tool."""

SCOPED: Final[frozenset[Action]] = frozenset(
    ("stepup.require", "egress.restrict", "redaction.strengthen", "policy.deny_overlay")
)
"""Narrow where they name one person or one tool of a server."""

PACING: Final[frozenset[Action]] = frozenset(("ratelimit.tighten",))
"""Narrow where they name one person."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who asks or agrees, as their credential says."""

    issuer: str
    subject: str
    approver: bool
    """Whether they may approve at all."""
    machine: bool = False
    """A service account, or a program that acts for somebody."""
    auth_time: int | None = None
    acr: str = ""

    @property
    def id(self) -> str:
        return f"{self.issuer}|{self.subject}" if self.issuer else self.subject


class Judged(msgspec.Struct, frozen=True):
    """A class, and what made it that."""

    needs: Class
    why: tuple[str, ...] = ()


def checked(order: Order) -> Order:
    """The order with its selector normalised. Raises `Unfit` for what no lease could be."""
    if order.action == loosening.ACTION:
        return loosening.checked(order)
    if order.action == rollback.ACTION:
        return rollback.checked(order)
    if order.action in LOOSENING:
        needed = "server" if order.action == "server.restore" else "lease"
        if order.selector.keys() != {needed} or order.ttl is not None:
            raise Unfit("selector_invalid", f"{order.action} takes {needed}=NAME, and no duration.")
        return order
    action = read_action(order.action)
    read_ttl(action, order.ttl)
    selector = msgspec.to_builtins(read_selector(action, order.selector))
    return msgspec.structs.replace(order, selector=selector)


def judge(order: Order, prediction: Prediction | None) -> Judged:
    """The class of a checked order; without a prediction nothing is known of what it hits."""
    if order.action == "lease.release":
        return Judged("C", ("it takes containment back",))
    if order.action == loosening.ACTION:
        return Judged("D", ("calls pass although policy answers nothing",))
    if order.action == rollback.ACTION:
        why = rollback.loosens(prediction, UNKNOWN)
        return Judged("D" if why else "C", why or ("another policy decides, for everybody",))
    if order.action in LOOSENING:
        return Judged("D", ("it puts back what an incident took out of service",))
    action = read_action(order.action)
    if action in QUIET:
        return Judged("A")
    why = _broad(action, order)
    if prediction is not None and prediction.users > USERS:
        why.append(f"the replay hits {prediction.users} people, more than {USERS}")
    if prediction is not None and prediction.unknown_share > UNKNOWN:
        why.append(f"of {prediction.unknown_share:.0%} of the calls nobody can say")
    return Judged("C", tuple(why)) if why else Judged("B")


def alone(judged: Judged, *, confident: bool, prepared: bool) -> bool:
    """Whether automation may do it without asking anybody. `confident`: a rule of high confidence asks;
    `prepared`: the playbook behind it was approved before."""
    return judged.needs == "A" or (judged.needs == "B" and confident and prepared)


def by_asking(judged: Judged, who: Person) -> bool:
    """Whether whoever asks has agreed by that."""
    return judged.needs == "A" or (judged.needs in ("B", "C") and who.approver and not who.machine)


def digest(order: Order, prediction: Prediction | None) -> str:
    """What an approval covers: every word of the order, and what it was predicted to do."""
    seen = None if prediction is None else msgspec.to_builtins(prediction)
    return hashlib.sha256(strict.canonical([msgspec.to_builtins(order), seen])).hexdigest()


def propose(id: str, order: Order, by: Actor, prediction: Prediction | None, now: float) -> Proposal:
    """A proposal of a checked order."""
    judged = judge(order, prediction)
    return Proposal(
        id=id,
        order=order,
        by=by,
        created_at=now,
        state="PROPOSED" if prediction is None else "DRY_RUN",
        needs=judged.needs,
        why=judged.why,
        prediction=prediction,
        digest=digest(order, prediction),
    )


def predicted(proposal: Proposal, prediction: Prediction, now: float) -> Proposal:
    """The proposal after another dry run: who agreed has agreed to something else. Raises `Unfit`."""
    _waits(proposal, now)
    judged = judge(proposal.order, prediction)
    return msgspec.structs.replace(
        proposal,
        state="DRY_RUN",
        prediction=prediction,
        needs=judged.needs,
        why=judged.why,
        digest=digest(proposal.order, prediction),
        approvals=(),
    )


def approve(proposal: Proposal, seen: str, who: Person, now: float) -> Proposal:
    """The proposal with this approval; `APPROVED` once it has all that it needs. `seen`: the digest that
    this person saw.

    Raises `Unfit`: `proposal_ended`, `approval_void` for another digest, `approver_required`,
    `approver_automation`, `approved_already` by the same person, also under another issuer,
    `login_insufficient` where it loosens and the sign-in is not fresh.
    """
    _waits(proposal, now)
    if seen != proposal.digest:
        raise Unfit("approval_void", "It is not what you saw: look at it again, and decide again.")
    _may(proposal, who, now)
    living = valid(proposal, now)
    for one in living:
        if one_person(one.person, who.id):
            raise Unfit("approved_already", f"{one.person} has approved this: it takes somebody else.")
    given = Approval(person=who.id, at=now, digest=seen, auth_time=who.auth_time, acr=who.acr)
    approvals = (*living, given)
    enough = len(approvals) >= PEOPLE[proposal.needs]
    state = "APPROVED" if enough else proposal.state
    return msgspec.structs.replace(proposal, approvals=approvals, state=state)


def valid(proposal: Proposal, now: float) -> tuple[Approval, ...]:
    """Approvals that still count."""
    return tuple(one for one in proposal.approvals if one.digest == proposal.digest and now < one.at + VALID)


def carried_out(proposal: Proposal, lease: str, by: str, now: float) -> Proposal:
    """The proposal once it was done: its approvals are used up."""
    return msgspec.structs.replace(proposal, state="ACTIVE", lease=lease, ended_at=now, ended_by=by)


def reject(proposal: Proposal, who: Person, reason: str, now: float) -> Proposal:
    """The proposal, declined for good. Raises `Unfit` `proposal_ended`, `approver_required`."""
    _waits(proposal, now)
    if not who.approver:
        raise Unfit("approver_required", "Declining takes the role approver or admin.")
    return msgspec.structs.replace(
        proposal, state="REJECTED", ended_at=now, ended_by=who.id, end_reason=reason
    )


def standing(proposal: Proposal, now: float) -> Proposal:
    """The proposal as it stands at this time: it may have waited too long although nobody noted it."""
    over = proposal.created_at + OPEN
    if proposal.state not in ("PROPOSED", "DRY_RUN") or now < over:
        return proposal
    return msgspec.structs.replace(proposal, state="EXPIRED", ended_at=over, end_reason="it waited too long")


def _broad(action: Action, order: Order) -> list[str]:
    """What makes an order broad by its words alone."""
    why: list[str] = []
    if action in SCOPED:
        named = order.selector.keys() & {"subject"} or order.selector.keys() >= {"server", "tool"}
        if not named:
            why.append(f"{action} names neither a person nor one tool of a server")
    elif action not in NARROW and not (action in PACING and "subject" in order.selector):
        why.append(f"{action} is about many callers")
    lasts = read_ttl(action, order.ttl)
    if RULES[action].longest is not None and lasts is not None and lasts > LONGEST:
        why.append("it lasts longer than an hour")
    return why


def _may(proposal: Proposal, who: Person, now: float) -> None:
    if who.machine:
        raise Unfit("approver_automation", "A program never approves: it takes a person.")
    if not who.approver:
        raise Unfit("approver_required", "Approving takes the role approver or admin.")
    if proposal.needs != "D":
        return
    if who.auth_time is None or not -SKEW <= now - who.auth_time <= FRESH:
        text = f"What loosens takes a sign-in of the last {FRESH / 60:g} minutes: sign in again."
        raise Unfit("login_insufficient", text)


def _waits(proposal: Proposal, now: float) -> None:
    state = standing(proposal, now).state
    if state not in ("PROPOSED", "DRY_RUN"):
        raise Unfit("proposal_ended", f"This proposal is {state.lower()}.")
