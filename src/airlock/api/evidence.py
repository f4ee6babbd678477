"""`/api/v1/incidents/{id}/evidence` and `/api/v1/evidence`: bundles asked for, described, and who had them.

A bundle is made by the engine: whoever asks gets 202 and its id. Looking at one is written into its custody
log, into the audit log and on the timeline of its incident.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

import msgspec

from airlock.api.entries import INVALID_PARAMS, Entry, document, invalid, optional
from airlock.api.leasing import actor, seconds
from airlock.core.clock import Clock, rfc3339
from airlock.core.errors import Rejected
from airlock.model.evidence import Asked, Bundle, CustodyEvent
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import LONGEST_TEXT, Unfit
from airlock.model.principal import Principal
from airlock.store import bundles
from airlock.store.database import Store

_HTTP = {"bundle_unknown": 404, "bundle_gone": 404, "bundle_sealed": 409}
"""Status of what is unfit by its word; everything else is 422."""

_Given = TypeVar("_Given")


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to collect. `window` and `logs` are durations; empty: two hours."""

    window: str = ""
    logs: str = ""
    quick: bool = False
    tenant: str = ""
    role: str = ""
    reason: str = ""


class Why(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In which role, and why."""

    role: str = ""
    reason: str = ""


class Handed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done with a bundle outside of the gateway. `to`: who got it."""

    event: Literal["copied", "transferred", "released"]
    to: str = ""
    role: str = ""
    reason: str


class Shown(TypedDict):
    """A bundle as answers have it. Times in RFC 3339; `wanted` empty: nobody works on it."""

    id: str
    incident: str
    state: str
    wanted: str
    created_at: str
    collected_at: str | None
    sealed_at: str | None
    verified_at: str | None
    verified_exit: int | None
    whole: bool
    digest: str
    key: str
    files: int
    size: int
    tenant: str
    not_proven: list[str]
    problem: str


class One(TypedDict):
    """A bundle."""

    bundle: Shown


class Several(TypedDict):
    """Bundles, oldest first."""

    bundles: list[Shown]


class Custody(TypedDict):
    """The statements of a custody log, oldest first. Their signatures stand in the bundle; `problem` says
    where they do not hold, and is empty where they do."""

    bundle: str
    lines: list[dict[str, Any]]
    problem: str


class EvidenceApi:
    """Handlers behind the door. `data_dir` is where bundles are."""

    def __init__(self, *, store: Store, data_dir: Path, clock: Clock) -> None:
        self._store = store
        self._data_dir = data_dir
        self._clock = clock

    async def list(self, request: HttpRequest, _: Principal) -> HttpResponse:
        found = await asyncio.to_thread(bundles.of, self._store, request.params["id"])
        return json_response(200, {"bundles": [shown(each) for each in found]})

    async def collect(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """202: it will be made. Raises `Rejected`."""
        order = optional(request, Order)
        asked = Asked(
            window=seconds(order.window) or 7200.0,
            logs=seconds(order.logs) or 7200.0,
            tenant=_text("tenant", order.tenant),
            who=actor(who),
            role=_text("role", order.role),
            reason=_text("reason", order.reason),
        )

        def ask() -> Bundle:
            incident = request.params["id"]
            return bundles.request(self._store, incident, asked, quick=order.quick, now=self._clock.wall())

        return json_response(202, {"bundle": shown(await _fit(ask))})

    async def show(self, request: HttpRequest, who: Principal) -> HttpResponse:
        bundle = await _fit(lambda: self._had(request, "viewed", actor(who), Why()))
        return json_response(200, {"bundle": shown(bundle)})

    async def seal(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """202: it will be sealed. Raises `Rejected`."""
        why = optional(request, Why)
        role, reason = _text("role", why.role), _text("reason", why.reason)

        def ask() -> Bundle:
            id = request.params["bundle"]
            return bundles.ask(self._store, id, "seal", who=actor(who), role=role, reason=reason)

        return json_response(202, {"bundle": shown(await _fit(ask))})

    async def custody(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Who had it; asking is a view of its own. Raises `Rejected`."""
        bundle = await _fit(lambda: self._had(request, "viewed", actor(who), Why()))
        return json_response(200, await asyncio.to_thread(self._custody, bundle))

    async def hand(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Note what was done with a bundle. Raises `Rejected`."""
        handed = document(request, Handed)
        if not handed.reason.strip():
            raise invalid("invalid_params", "Say in `reason` why it was handed on.")
        if handed.event == "transferred" and not handed.to.strip():
            raise invalid("invalid_params", "Say in `to` who got it.")
        why = Why(role=_text("role", handed.role), reason=_text("reason", handed.reason))
        to = _text("to", handed.to)
        bundle = await _fit(lambda: self._had(request, handed.event, actor(who), why, to))
        return json_response(200, await asyncio.to_thread(self._custody, bundle))

    def _had(self, request: HttpRequest, event: CustodyEvent, who: str, why: Why, to: str = "") -> Bundle:
        """Write down that somebody had a bundle that was made. Raises `Unfit` `bundle_unknown` or
        `bundle_gone`, `AuditFault`."""
        from airlock.incident.evidence.report import had

        bundle = bundles.get(self._store, request.params["bundle"])
        if bundle is None:
            raise bundles.unknown(request.params["bundle"])
        if not bundle.digest:
            return bundle
        return had(
            self._store,
            self._data_dir,
            bundle,
            event,
            who=who,
            role=why.role,
            reason=why.reason,
            to=to,
            now=self._clock.wall(),
        )

    def _custody(self, bundle: Bundle) -> Custody:
        from airlock.incident.evidence import custody
        from airlock.incident.evidence.collect import folder
        from airlock.incident.evidence.signing import Signer

        if not bundle.digest:
            return Custody(bundle=bundle.id, lines=[], problem="")
        bag = folder(self._data_dir, bundle.id)
        lines = [msgspec.to_builtins(line) for line in custody.statements(bag)]
        problem = custody.unsound(bag, Signer.of(self._data_dir).public)
        return Custody(bundle=bundle.id, lines=lines, problem=problem)


def entries(api: EvidenceApi) -> tuple[Entry, ...]:
    """The addresses of evidence."""
    of_incident, one = "/api/v1/incidents/{id}/evidence", "/api/v1/evidence/{bundle}"
    return (
        Entry(
            method="GET",
            path=of_incident,
            permission="evidence.read",
            summary="List the bundles of evidence of an incident.",
            handler=api.list,
            gives=Several,
        ),
        Entry(
            method="POST",
            path=of_incident,
            permission="evidence.collect",
            summary="Collect evidence; the engine makes the bundle.",
            handler=api.collect,
            takes=Order,
            optional=True,
            gives=One,
            statuses=(202,),
        ),
        Entry(
            method="GET",
            path=one,
            permission="evidence.read",
            summary="Describe a bundle; the view is written into its custody log.",
            handler=api.show,
            gives=One,
        ),
        Entry(
            method="POST",
            path=f"{one}/seal",
            permission="evidence.collect",
            summary="Seal a bundle with the record as it is, and verify it again.",
            handler=api.seal,
            takes=Why,
            optional=True,
            gives=One,
            statuses=(202,),
        ),
        Entry(
            method="GET",
            path=f"{one}/custody",
            permission="evidence.read",
            summary="Who had a bundle.",
            handler=api.custody,
            gives=Custody,
        ),
        Entry(
            method="POST",
            path=f"{one}/custody",
            permission="evidence.collect",
            summary="Note that a bundle was copied, transferred or released.",
            handler=api.hand,
            takes=Handed,
            gives=Custody,
        ),
    )


def shown(bundle: Bundle) -> Shown:
    """As answers have it."""
    return Shown(
        id=bundle.id,
        incident=bundle.incident,
        state=bundle.state,
        wanted=bundle.wanted,
        created_at=rfc3339(bundle.created_at),
        collected_at=_moment(bundle.collected_at),
        sealed_at=_moment(bundle.sealed_at),
        verified_at=_moment(bundle.verified_at),
        verified_exit=bundle.verified_exit,
        whole=bundle.whole,
        digest=bundle.digest,
        key=f"sha256:{bundle.key}" if bundle.key else "",
        files=bundle.files,
        size=bundle.size,
        tenant=bundle.asked.tenant,
        not_proven=[*bundle.not_proven],
        problem=bundle.problem,
    )


def _moment(wall: float | None) -> str | None:
    return None if wall is None else rfc3339(wall)


def _text(name: str, text: str) -> str:
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise invalid("invalid_params", f"{name} takes up to {LONGEST_TEXT} printable characters.")
    return text


async def _fit(act: Callable[[], _Given]) -> _Given:
    """What `act` gives, from a thread of its own. Raises `Rejected` for what is unfit."""
    try:
        return await asyncio.to_thread(act)
    except Unfit as unfit:
        raise Rejected(_HTTP.get(unfit.reason, 422), INVALID_PARAMS, unfit.reason, unfit.text) from unfit
