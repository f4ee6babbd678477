"""`/api/v1/proposals`: actions that wait for people, tried on recorded calls before anybody agrees.

1 the order is fit for a lease, and locks nobody out who must stay in
2 it is replayed over recorded calls; what that shows decides who must agree
3 it is kept; an approval covers exactly this order and this replay
4 the last approval that it needs carries it out, and the answer says who enforces it
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from airlock.api import lease_shown, leasing, proposal_shown
from airlock.api.entries import INVALID_PARAMS, Entry, document, etag, invalid, optional, query
from airlock.api.leasing import NO_REASON, Leasing, actor, fit
from airlock.api.persons import person
from airlock.audit import past
from airlock.core.clock import Clock, rfc3339
from airlock.core.config import Config
from airlock.core.errors import ConfigError, Rejected
from airlock.incident import approval, proposals, rollback
from airlock.incident.approval import Judged, Person
from airlock.incident.proposals import Outcome
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import Actor
from airlock.model.lease import LONGEST_TEXT, read_action, read_selector
from airlock.model.principal import Principal
from airlock.model.proposal import LOOSENING, Order, Prediction, Proposal
from airlock.policy import kept as policies
from airlock.store import proposals as kept

Roll = Callable[[str], Awaitable[dict[str, int]]]
"""Lets every worker take over the policy that the store says, in somebody's name: `replicas_acked` of
`replicas_total` do. Raises `Rejected`, `Fault`."""

Minutes = Annotated[int, Meta(ge=1, le=1440)]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /api/v1/proposals` takes. `minutes` of recorded calls are replayed."""

    action: str
    selector: dict[str, str] = {}
    ttl: str = ""
    reason: str
    incident: str = ""
    minutes: Minutes = proposals.MINUTES


class Again(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a repeated dry run takes."""

    minutes: Minutes = proposals.MINUTES


class Approve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an approval takes: the digest of what was looked at."""

    digest: str


class Reject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What declining takes."""

    reason: str = ""


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which proposals are listed."""

    incident: str = ""


class One(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal. With `lease`, it was carried out, and `enforced` says by whom; a rollback of policy says
    from what `to` what, and how many workers decide by it."""

    proposal: dict[str, Any]
    lease: dict[str, Any] | None = None
    enforced: dict[str, Any] | None = None
    before: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    replicas_acked: int | None = None
    replicas_total: int | None = None


class Listed(msgspec.Struct, frozen=True):
    """Proposals, the newest first."""

    proposals: list[dict[str, Any]]


async def _nobody(_: str) -> dict[str, int]:
    return {"replicas_acked": 0, "replicas_total": 0}


class ProposalsApi:
    """Proposals, for those who contain."""

    def __init__(
        self, *, leasing: Leasing, base: Callable[[], Config], clock: Clock, roll: Roll | None = None
    ) -> None:
        """`roll` lets the policy that people went back to decide; None where no gateway runs."""
        self._leasing = leasing
        self._roll = roll or _nobody
        self._base = base
        self._clock = clock

    async def propose(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Keep an order with what it would have done. It waits for somebody in every case."""
        asked = document(request, Asked)
        order = Order(
            action=asked.action,
            selector=asked.selector,
            ttl=leasing.seconds(asked.ttl),
            reason=worded(asked.reason),
            incident=leasing.incident(asked.incident),
        )
        proposal = await self.kept(request, who, order, minutes=asked.minutes)
        return self._answer(201, proposal)

    async def kept(
        self, request: HttpRequest, who: Principal, order: Order, *, minutes: int = proposals.MINUTES
    ) -> Proposal:
        """1 to 3. Raises `Rejected`."""
        by, now = person(who), self._clock.wall()
        data = Path(self._base().data_dir)
        order = await asyncio.to_thread(
            lambda: fit(lambda: proposals.completed(self._leasing.store, data, order))
        )
        self._harmless(request, order)
        prediction = await self._predicted(order, minutes, now)
        actor = Actor(type="agent" if by.machine else "human", id=by.id)
        return await asyncio.to_thread(
            lambda: fit(
                lambda: proposals.propose(
                    self._leasing.store, order, by=actor, now=now, prediction=prediction
                )
            )
        )

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Every proposal, or those of one incident."""
        incident, now = query(request, Filter).incident, self._clock.wall()
        found = await asyncio.to_thread(kept.listing, self._leasing.store, incident=incident)
        return json_response(200, {"proposals": [proposal_shown.shown(each, now) for each in found]})

    async def show(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """One proposal; once it is carried out, with how many calls it has hit since."""
        proposal = await self._found(request.params["id"])
        told = proposal_shown.shown(proposal, self._clock.wall())
        if proposal.state == "ACTIVE" and proposal.order.action not in LOOSENING:
            told["actual"] = await self._actual(proposal)
        return json_response(200, {"proposal": told}, etag(proposal.version))

    async def again(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Replay the calls of now. Approvals of what was shown before are void."""
        minutes, now, by = optional(request, Again).minutes, self._clock.wall(), person(who)
        proposal = await self._found(request.params["id"])
        prediction = await self._predicted(proposal.order, minutes, now)
        if prediction is None:
            raise invalid("dry_run_unavailable", "There is nothing that it could be tried on.")
        actor = Actor(type="agent" if by.machine else "human", id=by.id)
        again = await asyncio.to_thread(
            lambda: fit(
                lambda: proposals.again(self._leasing.store, proposal.id, prediction, by=actor, now=now)
            )
        )
        return self._answer(200, again)

    async def approve(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Agree. 202 while it waits for somebody else; else it is carried out."""
        seen, by, id = document(request, Approve).digest, person(who), request.params["id"]
        order = (await self._found(id)).order
        self._harmless(request, order)
        await asyncio.to_thread(self._there_still, order)
        outcome = await asyncio.to_thread(lambda: fit(lambda: self._approved(id, seen, by)))
        if outcome.proposal.state == "ACTIVE" and outcome.proposal.order.action == rollback.ACTION:
            return await self.rolled(outcome.proposal, who)
        if not outcome.changed:
            if outcome.proposal.state != "ACTIVE":
                return self._answer(202, outcome.proposal)
            await self._leasing.look()
            return self._answer(200, outcome.proposal)
        enforced = await self._leasing.enforced(outcome.changed)
        now = self._clock.wall()
        told = {
            "proposal": proposal_shown.shown(outcome.proposal, now),
            "lease": lease_shown.shown(enforced.leases[0], now),
            "enforced": enforced.told,
        }
        return json_response(enforced.status, told, etag(outcome.proposal.version))

    async def agreed(self, proposal: Proposal, who: Principal) -> Proposal | None:
        """The proposal, carried out because who asked for it may approve it alone; None: it waits."""
        by = person(who)
        if not approval.by_asking(Judged(proposal.needs), by):
            return None
        done = await asyncio.to_thread(lambda: fit(lambda: self._approved(proposal.id, proposal.digest, by)))
        return done.proposal

    async def rolled(self, proposal: Proposal, who: Principal) -> HttpResponse:
        """4 for a policy that people went back to: every worker decides by it, or the answer says who."""
        told: dict[str, Any] = {"proposal": proposal_shown.shown(proposal, self._clock.wall())}
        told |= proposal.order.selector
        told |= await self._roll(actor(who))
        status = 200 if told["replicas_acked"] == told["replicas_total"] else 207
        return json_response(status, told, etag(proposal.version))

    async def reject(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Decline for good."""
        reason, now = optional(request, Reject).reason or NO_REASON, self._clock.wall()
        id, by = request.params["id"], person(who)
        proposal = await asyncio.to_thread(
            lambda: fit(lambda: proposals.reject(self._leasing.store, id, by, worded(reason), now=now))
        )
        return self._answer(200, proposal)

    def _harmless(self, request: HttpRequest, order: Order) -> None:
        """1. Who agrees comes from another address than who asked."""
        if order.action not in LOOSENING:
            self._leasing.harmless(request, read_selector(read_action(order.action), order.selector))

    def _there_still(self, order: Order) -> None:
        """An order that no gateway could follow would keep the next one from starting."""
        if order.action == rollback.ACTION:
            try:
                policies.load(Path(self._base().data_dir), order.selector["to"])
            except ConfigError as gone:
                raise _not_kept(gone) from gone

    def _approved(self, id: str, seen: str, by: Person) -> Outcome:
        return proposals.approve(self._leasing.store, id, seen, by, now=self._clock.wall())

    async def _predicted(self, order: Order, minutes: int, now: float) -> Prediction | None:
        """2. Without a log there is nothing to replay."""
        try:
            return await asyncio.to_thread(
                lambda: fit(
                    lambda: proposals.predict(self._leasing.store, self._log, order, now=now, minutes=minutes)
                )
            )
        except sqlite3.Error:
            return None
        except ConfigError as gone:
            raise _not_kept(gone) from gone

    async def _actual(self, proposal: Proposal) -> dict[str, Any] | None:
        since = proposal.ended_at or proposal.created_at
        try:
            hits = await asyncio.to_thread(past.hits, self._log, lease=proposal.lease, since=since)
        except sqlite3.Error:
            return None
        return {"since": rfc3339(since), "hits": hits}

    @property
    def _log(self) -> Path:
        return Path(self._base().data_dir) / "audit.db"

    async def _found(self, id: str) -> Proposal:
        found = await asyncio.to_thread(kept.get, self._leasing.store, id)
        return fit(lambda: _there(found))

    def _answer(self, status: int, proposal: Proposal) -> HttpResponse:
        told = {"proposal": proposal_shown.shown(proposal, self._clock.wall())}
        return json_response(status, told, etag(proposal.version))


def _not_kept(gone: ConfigError) -> Rejected:
    return Rejected(409, INVALID_PARAMS, "revision_unknown", str(gone))


def _there(found: Proposal | None) -> Proposal:
    if found is None:
        raise kept.unknown()
    return found


def worded(text: str) -> str:
    """The text as a reason. Raises `Rejected` 422 `reason_invalid`."""
    if not text.strip() or len(text) > LONGEST_TEXT or not text.isprintable():
        raise invalid("reason_invalid", f"Say why, in 1 to {LONGEST_TEXT} printable characters.")
    return text


def entries(api: ProposalsApi) -> tuple[Entry, ...]:
    """The addresses of proposals."""
    return (
        Entry(
            method="POST",
            path="/api/v1/proposals",
            permission="leases.write",
            summary="Propose a lease, and replay the last calls under it.",
            handler=api.propose,
            takes=Asked,
            gives=One,
            statuses=(201,),
        ),
        Entry(
            method="GET",
            path="/api/v1/proposals",
            permission="incidents.read",
            summary="List proposals.",
            handler=api.list,
            asks=Filter,
            gives=Listed,
        ),
        Entry(
            method="GET",
            path="/api/v1/proposals/{id}",
            permission="incidents.read",
            summary="Show a proposal, with its predicted and its actual effect.",
            handler=api.show,
            gives=One,
        ),
        Entry(
            method="POST",
            path="/api/v1/proposals/{id}/dry-run",
            permission="leases.write",
            summary="Replay the last calls once more.",
            handler=api.again,
            takes=Again,
            optional=True,
            gives=One,
        ),
        Entry(
            method="POST",
            path="/api/v1/proposals/{id}/approve",
            permission="proposals.approve",
            summary="Agree to exactly what the digest names.",
            handler=api.approve,
            takes=Approve,
            gives=One,
            statuses=(200, 202, 207),
        ),
        Entry(
            method="POST",
            path="/api/v1/proposals/{id}/reject",
            permission="proposals.approve",
            summary="Decline a proposal for good.",
            handler=api.reject,
            takes=Reject,
            optional=True,
            gives=One,
        ),
    )
