"""`/api/v1/alerts`: what was found, who has seen it, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from airlock.api.deciding import Deciding, fit, human
from airlock.api.entries import Entry, document, expected, optional, query, versioned
from airlock.api.leasing import seconds
from airlock.core.clock import rfc3339
from airlock.core.errors import Rejected
from airlock.incident import alerts as states
from airlock.incident import declaring
from airlock.incident.detect import catalogue
from airlock.mcp import strict
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import Alert, AlertState, Verdict
from airlock.model.principal import Principal
from airlock.store import alerts

MOST = 1000
"""Alerts of one answer."""

WAITING: tuple[AlertState, ...] = ("NEW", "ACKNOWLEDGED", "SUPPRESSED")


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`state`: one of them, `waiting` for those that wait for somebody, or `all`."""

    state: str = "waiting"
    incident: str = ""
    rule: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 100


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No members."""


class Title(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the incident is to be called; empty: as its rule."""

    title: str = ""


class Into(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The incident that it belongs to."""

    incident: str


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it was."""

    verdict: Verdict


class Silence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long nobody wants to hear of it, such as `2h`."""

    duration: str


class One(msgspec.Struct, frozen=True):
    """An alert, times in RFC 3339."""

    alert: dict[str, Any]


class Several(msgspec.Struct, frozen=True):
    """Alerts, those with the newest findings first."""

    alerts: list[dict[str, Any]]


class AlertsApi:
    """The alerts. Whoever may read incidents may read them."""

    def __init__(self, deciding: Deciding) -> None:
        self._store = deciding.store
        self._clock = deciding.clock

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Alerts, those with the newest findings first."""
        asked, now = query(request, Filter), self._clock.wall()
        chosen = _states(asked.state)
        found = await asyncio.to_thread(
            lambda: alerts.listing(
                self._store, states=chosen, incident=asked.incident, rule=asked.rule, limit=asked.limit
            )
        )
        read = [states.as_read(alert, now) for alert in found]
        return json_response(200, Several(alerts=[shown(alert) for alert in read]))

    async def show(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """One alert."""
        alert = await asyncio.to_thread(lambda: fit(lambda: self._found(request.params["id"])))
        return _answer(states.as_read(alert, self._clock.wall()))

    async def acknowledge(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Somebody has seen it."""
        optional(request, Nothing)
        return await self._step(request, who, "alert_acknowledged", states.acknowledge)

    async def dismiss(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """It is nothing, and why."""
        asked = document(request, Judged)
        return await self._step(
            request,
            who,
            "alert_dismissed",
            lambda alert, by, now: states.dismiss(alert, asked.verdict, by, now),
        )

    async def suppress(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Nobody wants to hear of it for a while."""
        until = self._clock.wall() + (seconds(document(request, Silence).duration) or 0.0)
        return await self._step(
            request, who, "alert_suppressed", lambda alert, by, now: states.suppress(alert, until, by, now)
        )

    async def declare(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Begin an incident with it."""
        named, id, version = optional(request, Title).title, request.params["id"], expected(request)
        actor, now = human(who), self._clock.wall()

        def work() -> Alert:
            called = named or title(self._found(id).finding.rule)
            return declaring.declare(self._store, id, called, actor, now=now, expected=version)

        return _answer(await asyncio.to_thread(lambda: fit(work)))

    async def attach(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Let it belong to an incident, which is opened again where it seemed to be over."""
        into, id, version = document(request, Into).incident, request.params["id"], expected(request)
        actor, now = human(who), self._clock.wall()

        def work() -> Alert:
            return declaring.attach(self._store, id, into, actor, now=now, expected=version)

        return _answer(await asyncio.to_thread(lambda: fit(work)))

    async def _step(
        self, request: HttpRequest, who: Principal, word: str, decide: Callable[[Alert, str, float], Alert]
    ) -> HttpResponse:
        id, version, now, actor = request.params["id"], expected(request), self._clock.wall(), human(who).id

        def work() -> Alert:
            return alerts.change(
                self._store,
                id,
                lambda alert: decide(alert, actor, now),
                actor=actor,
                word=word,
                now=now,
                expected=version,
            )

        return _answer(await asyncio.to_thread(lambda: fit(work)))

    def _found(self, id: str) -> Alert:
        alert = alerts.get(self._store, id)
        if alert is None:
            raise alerts.unknown(id)
        return alert


def shown(alert: Alert) -> dict[str, Any]:
    """An alert as answers have it: times in RFC 3339."""
    told: dict[str, Any] = msgspec.to_builtins(alert)
    for name in ("first_seen", "last_seen", "acknowledged_at", "suppressed_until"):
        told[name] = None if told[name] is None else rfc3339(told[name])
    for name in ("since", "until"):
        told["finding"][name] = rfc3339(told["finding"][name])
    return told


def _answer(alert: Alert) -> HttpResponse:
    return versioned(200, One(alert=shown(alert)), alert.version)


def _states(word: str) -> tuple[AlertState, ...]:
    """Raises `Rejected` 422 for a word that is no state."""
    if word == "all":
        return ()
    if word == "waiting":
        return WAITING
    try:
        return (msgspec.convert(word, AlertState),)
    except msgspec.ValidationError as wrong:
        known = ", ".join(("waiting", "all", *AlertState.__args__))
        raise Rejected(422, strict.INVALID_REQUEST, "invalid_params", f"state is one of {known}.") from wrong


def title(rule: str) -> str:
    """What an incident is called that an alert of this rule begins."""
    known = catalogue.rules().get(rule)
    return known.title if known is not None else rule


def entries(api: AlertsApi) -> tuple[Entry, ...]:
    """The addresses of this part."""

    def step(name: str, summary: str, handler: Any, takes: type[msgspec.Struct], *, optional: bool) -> Entry:
        return Entry(
            method="POST",
            path=f"/api/v1/alerts/{{id}}/{name}",
            permission="alerts.write",
            summary=summary,
            handler=handler,
            takes=takes,
            optional=optional,
            gives=One,
            versioned=True,
        )

    return (
        Entry(
            method="GET",
            path="/api/v1/alerts",
            permission="incidents.read",
            summary="List alerts.",
            handler=api.list,
            asks=Filter,
            gives=Several,
        ),
        Entry(
            method="GET",
            path="/api/v1/alerts/{id}",
            permission="incidents.read",
            summary="Show an alert.",
            handler=api.show,
            gives=One,
            versioned=True,
        ),
        step("ack", "Say that somebody has seen it.", api.acknowledge, Nothing, optional=True),
        step("declare", "Begin an incident with it.", api.declare, Title, optional=True),
        step("attach", "Let it belong to an incident.", api.attach, Into, optional=False),
        step("dismiss", "Say that it is nothing.", api.dismiss, Judged, optional=False),
        step("suppress", "Keep it quiet for a while.", api.suppress, Silence, optional=False),
    )
