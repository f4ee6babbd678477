"""`/api/v1/rules`: the detection rules, and what an operator changes of them: mode and thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from airlock.api.deciding import Deciding
from airlock.api.entries import INVALID_PARAMS, Entry, document, invalid
from airlock.api.leasing import actor
from airlock.core.clock import Clock, rfc3339, timestamp
from airlock.core.errors import Rejected
from airlock.incident.detect import catalogue, windows
from airlock.incident.detect.catalogue import Rule
from airlock.mcp import strict
from airlock.model.detection import Mode, Setting, Settings
from airlock.model.entry import Event, Personal
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import LONGEST_TEXT
from airlock.model.principal import Principal
from airlock.store import drills, rule_settings


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be set. What is left out stays; a mode that is empty, and no thresholds, are as shipped."""

    mode: Mode | Literal[""] | msgspec.UnsetType = msgspec.UNSET
    thresholds: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    tenant: str = ""
    """Empty: everywhere."""
    reason: str


class One(msgspec.Struct, frozen=True):
    """A rule: as it ships, and as it is set."""

    rule: dict[str, Any]


class Several(msgspec.Struct, frozen=True):
    """Every rule, in the order of the ids."""

    rules: list[dict[str, Any]]


class RulesApi:
    """The rules. A change counts within a second, in the engine."""

    def __init__(self, deciding: Deciding) -> None:
        self._store = deciding.store
        self._clock: Clock = deciding.clock

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Every rule."""
        settings, proven = await asyncio.to_thread(self._known)
        every = catalogue.rules().values()
        return json_response(200, Several(rules=[shown(rule, settings, proven) for rule in every]))

    async def show(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """One rule."""
        rule = _found(request.params["id"])
        settings, proven = await asyncio.to_thread(self._known)
        return json_response(200, One(rule=shown(rule, settings, proven)))

    async def change(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Set mode or thresholds, everywhere or for one tenant."""
        rule, asked = _found(request.params["id"]), document(request, Change)
        _check(rule, asked)
        await asyncio.to_thread(lambda: self._changed(rule, asked, actor(who)))
        settings, proven = await asyncio.to_thread(self._known)
        return json_response(200, One(rule=shown(rule, settings, proven)))

    def _known(self) -> tuple[Settings, dict[str, float]]:
        """What is set, and when each rule last passed its drill."""
        return rule_settings.load(self._store), drills.proven(self._store)

    def _changed(self, rule: Rule, asked: Change, who: str) -> None:
        now = self._clock.wall()
        before = rule_settings.load(self._store).get((rule.id, asked.tenant), Setting())
        after = Setting(
            mode=before.mode if asked.mode is msgspec.UNSET else asked.mode,
            thresholds=before.thresholds if asked.thresholds is msgspec.UNSET else asked.thresholds,
        )
        event = row_of(rule, asked, before=before, after=after, who=who, now=now)
        rule_settings.put(self._store, rule=rule.id, tenant=asked.tenant, setting=after, event=event, now=now)


def row_of(rule: Rule, asked: Change, *, before: Setting, after: Setting, who: str, now: float) -> Event:
    """The row of a change: what it was and is. Who did it, and why, can be erased."""
    return Event(
        event_type="admin",
        action="config_change",
        tenant=asked.tenant,
        reason="rule_changed",
        severity="MEDIUM",
        occurred_at=timestamp(now),
        metadata={
            "rule": rule.id,
            "before": _exact(before),
            "after": _exact(after),
        },
        personal=Personal(subject=who, arguments=strict.canonical({"reason": asked.reason})),
    )


def _exact(setting: Setting) -> dict[str, Any]:
    """With its thresholds as text: the log has no fractions."""
    told: dict[str, Any] = msgspec.to_builtins(setting)
    return told | {"thresholds": {name: repr(value) for name, value in setting.thresholds.items()}}


def shown(rule: Rule, settings: Settings, proven: Mapping[str, float]) -> dict[str, Any]:
    """A rule as answers have it: mode and thresholds that hold everywhere, settings by tenant, and when it
    last passed its drill."""
    told: dict[str, Any] = msgspec.to_builtins(rule)
    told.pop("fires")
    own = {tenant: setting for (id, tenant), setting in settings.items() if id == rule.id}
    return {
        **told,
        "mode": windows.mode(rule, settings),
        "thresholds": windows.thresholds(rule, settings),
        "shipped": {"mode": rule.mode, "thresholds": rule.thresholds},
        "last_proven": rfc3339(proven[rule.id]) if rule.id in proven else None,
        "tenants": {tenant: msgspec.to_builtins(each) for tenant, each in own.items() if tenant},
    }


def _check(rule: Rule, asked: Change) -> None:
    """Raise `Rejected` 422 for what cannot be set."""
    if not asked.reason.strip() or len(asked.reason) > LONGEST_TEXT or not asked.reason.isprintable():
        raise invalid("reason_invalid", f"Say why, in 1 to {LONGEST_TEXT} printable characters.")
    if len(asked.tenant) > LONGEST_TEXT or not asked.tenant.isprintable():
        raise invalid("invalid_params", f"tenant takes up to {LONGEST_TEXT} printable characters.")
    for name, value in ({} if asked.thresholds is msgspec.UNSET else asked.thresholds).items():
        if name not in rule.thresholds:
            has = ", ".join(sorted(rule.thresholds)) or "none"
            raise invalid("threshold_unknown", f"{rule.id} has no threshold {name[:64]}: it has {has}.")
        if not value > 0:
            raise invalid("invalid_params", f"{name} is {value:g}: a threshold is more than 0.")


def _found(id: str) -> Rule:
    rule = catalogue.rules().get(id)
    if rule is None:
        text = "There is no rule of this id: `GET /api/v1/rules` lists them."
        raise Rejected(404, INVALID_PARAMS, "rule_unknown", text)
    return rule


def entries(api: RulesApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    return (
        Entry(
            method="GET",
            path="/api/v1/rules",
            permission="incidents.read",
            summary="List the detection rules.",
            handler=api.list,
            gives=Several,
        ),
        Entry(
            method="GET",
            path="/api/v1/rules/{id}",
            permission="incidents.read",
            summary="Show a detection rule.",
            handler=api.show,
            gives=One,
        ),
        Entry(
            method="PATCH",
            path="/api/v1/rules/{id}",
            permission="rules.write",
            summary="Set mode or thresholds of a rule.",
            handler=api.change,
            takes=Change,
            gives=One,
        ),
    )
