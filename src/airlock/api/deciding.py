"""Changes of incidents over HTTP: what every address that makes one has in common.

1 the order is read; times in it are Unix seconds, or text such as `2026-11-28T21:07:00Z`
2 what is true outside of the record is gathered
3 the decision is applied to the record at the version that the caller saw, with its events, at once
4 the answer is the record as it is after that, with its version as ETag
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from airlock.api.entries import INVALID_PARAMS, Guarded, complaint, expected, invalid, mismatch, versioned
from airlock.api.leasing import actor
from airlock.core.clock import Clock, moment, rfc3339
from airlock.core.errors import Rejected
from airlock.incident import clocks, lifecycle
from airlock.incident.guard import GuardFailed
from airlock.incident.notice import notice
from airlock.incident.occasion import Facts, Occasion
from airlock.incident.regulation import Law
from airlock.mcp import strict
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.incident import Actor, Decided, Incident
from airlock.model.lease import Unfit
from airlock.model.principal import Principal
from airlock.store import incidents
from airlock.store.changes import INCIDENTS, Change
from airlock.store.database import Store
from airlock.store.incidents import Changed

_HTTP = {
    "incident_unknown": 404,
    "counterfactuals_unknown": 404,
    "incident_exists": 409,
    "incident_ended": 409,
    "alert_unknown": 404,
    "alert_state": 409,
    "message_unknown": 404,
    "message_state": 409,
    "approver_repeated": 409,
    "approval_void": 409,
    "version_conflict": 412,
}
"""Status of what is unfit by its word; everything else is 422."""

MOMENTS = frozenset(("at", "detected_at", "due_at", "estimated_start", "occurred_at", "scheduled_for"))
"""Members of orders that are times."""

TIMES = frozenset(("estimated_start", "clocks_from", "scheduled_for"))
"""Members of records that are times and do not end with `_at`."""

BY_NAME = frozenset(("deadlines", "met", "escalated", "answered"))
"""Members of records that hold times by name."""

_Order = TypeVar("_Order", bound=msgspec.Struct)
_Given = TypeVar("_Given")

Gather = Callable[[Store, Incident, float], Facts]
"""What is true outside of a record at a time (Unix seconds), for a decision about it. Raises `Fault`."""


class One(msgspec.Struct, frozen=True):
    """An incident: the members of the record, times in RFC 3339, and what is computed from it."""

    incident: dict[str, Any]


class Deciding:
    """Applies decisions to the records in the store."""

    def __init__(self, *, store: Store, gather: Gather, law: Callable[[], Law], clock: Clock) -> None:
        """`law` gives the duties to notify that are known."""
        self.store = store
        self.clock = clock
        self.law = law
        self._gather = gather

    def handler(
        self,
        kind: type[_Order],
        decide: Callable[[Incident, _Order, Occasion], Decided],
        *,
        within: dict[str, str] | None = None,
        themselves: str = "",
    ) -> Guarded:
        """A handler that reads a `kind` and applies `decide`. `within` maps members of the order to variable
        parts of the path; `themselves` is a member that is whoever asks unless the body says otherwise."""

        async def handle(request: HttpRequest, who: Principal) -> HttpResponse:
            given = {member: request.params[part] for member, part in (within or {}).items()}
            asked = order(request, kind, given, {themselves: actor(who)} if themselves else {})  # 1
            changed = await self.apply(request, who, lambda record, when: decide(record, asked, when))
            return self.answer(200, changed.incident)  # 4

        return handle

    async def apply(
        self,
        request: HttpRequest,
        who: Principal,
        decide: Callable[[Incident, Occasion], Decided],
        *,
        first: Callable[[Change, Occasion], None] | None = None,
    ) -> Changed:
        """Apply a decision to the record that the path names; `first` is done before it, in the same
        transaction. Raises `Rejected`."""
        id, version, now = request.params["id"], expected(request), self.clock.wall()

        def work() -> Changed:
            with self.store.change(INCIDENTS) as change:  # nobody changes what is true before 3 is done
                record = found(self.store, id)
                when = Occasion(actor=human(who), now=now, facts=self._gather(self.store, record, now))  # 2
                if first is not None:
                    first(change, when)
                return incidents.change(change, id, lambda one: decide(one, when), expected=version)  # 3

        return await asyncio.to_thread(lambda: fit(work))

    async def find(self, id: str) -> Incident:
        """One record, once whoever reads it has written down what is late by now. Raises `Rejected` 404
        `incident_unknown`."""
        now = self.clock.wall()
        return await asyncio.to_thread(lambda: fit(lambda: notice(self.store, id, self.law(), now)))

    def answer(self, status: int, incident: Incident) -> HttpResponse:
        """The record, with its ETag."""
        return versioned(status, {"incident": shown(incident)}, incident.version)


def order(
    request: HttpRequest,
    kind: type[_Order],
    given: Mapping[str, str] = MappingProxyType({}),
    usual: Mapping[str, str] = MappingProxyType({}),
) -> _Order:
    """The body as an order. `given` are members that come from elsewhere whatever it says, `usual` those that
    it need not have. Without a body it has these alone.

    Raises `Rejected`: 400 for what is no JSON object, 422 for a wrong member.
    """
    value: Any = strict.parse(request.body) if request.body else {}
    if not strict.is_object(value):
        raise Rejected(400, strict.INVALID_REQUEST, "not_an_object", "The body is not a JSON object.")
    members: dict[str, Any] = {name: _moment(name, each) for name, each in value.items()}
    try:
        return msgspec.convert({**usual, **members, **given}, kind)
    except msgspec.ValidationError as wrong:
        raise invalid("invalid_params", complaint(wrong, kind)) from wrong


def fit(make: Callable[[], _Given]) -> _Given:
    """What `make` gives. Raises `Rejected`: 409 `guard_failed` with what is `missing`, or the word of what is
    unfit."""
    try:
        return make()
    except GuardFailed as failed:
        text = "Something has to be there first: " + "; ".join(each.text for each in failed.missing)
        missing = [{"key": each.key, "text": each.text} for each in failed.missing]
        data: dict[str, object] = {"event": failed.event, "missing": missing}
        raise Rejected(409, INVALID_PARAMS, "guard_failed", text, data=data) from failed
    except Unfit as unfit:
        if unfit.reason == "version_conflict":
            raise mismatch() from unfit
        raise Rejected(_HTTP.get(unfit.reason, 422), INVALID_PARAMS, unfit.reason, unfit.text) from unfit


def found(store: Store, id: str) -> Incident:
    """One record. Raises `Unfit` `incident_unknown`."""
    record = incidents.get(store, id)
    if record is None:
        raise incidents.unknown(id)
    return record


def human(who: Principal) -> Actor:
    """Who asks, as a timeline names it."""
    return Actor(type="agent" if who.actor else "human", id=actor(who))


def shown(incident: Incident) -> dict[str, Any]:
    """A record as answers have it: times in RFC 3339, the public status, and when an update is due."""
    told: dict[str, Any] = dated(built(incident))
    due = dated(clocks.next_update(incident), "next_update_at")
    return {**told, "public_status": lifecycle.public_status(incident.status), "next_update_due": due}


def built(value: object) -> Any:
    """Objects, arrays and scalars, as JSON has them."""
    return msgspec.json.decode(msgspec.json.encode(value))


def dated(value: Any, name: str = "") -> Any:
    """The same with every time in RFC 3339. `name` is that of the member."""
    if strict.is_object(value):
        return {key: dated(each, "due_at" if name in BY_NAME else key) for key, each in value.items()}
    if strict.is_array(value):
        return [dated(each) for each in value]
    if isinstance(value, float) and (name.endswith("_at") or name in TIMES):
        return rfc3339(value)
    return value


def _moment(name: str, value: Any) -> Any:
    if name not in MOMENTS or not isinstance(value, str):
        return value
    try:
        return moment(value)
    except ValueError as wrong:
        raise invalid("invalid_params", f"{name} is {wrong}: write 2026-11-28T21:07:00Z.") from wrong
