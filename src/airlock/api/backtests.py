"""`/api/v1/rules/{id}/backtest`: what a rule, perhaps with other thresholds, would have found in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from airlock.api.beside import Failing, answered
from airlock.api.entries import INVALID_PARAMS, Entry, document, invalid
from airlock.core.clock import Clock
from airlock.core.errors import Rejected
from airlock.core.units import duration
from airlock.incident.detect.backtest import Backtest
from airlock.incident.detect.catalogue import rules
from airlock.incident.detect.hunting import Question
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal

MOST_ROWS = 200_000
"""Rows that are played for the API: some 20 s. `airlock rule backtest` plays five times as many."""

PATIENCE = 120.0
"""Seconds for an answer."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to play: how far back, and thresholds that differ from those of the rule."""

    since: Annotated[str, msgspec.Meta(description="How far back, such as `7d`.")] = "7d"
    thresholds: dict[str, float] = msgspec.field(default_factory=dict[str, float])


class BacktestsApi:
    """Starts a program that reads the log; one at a time in a worker."""

    def __init__(self, *, audit: Path, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._busy = False

    async def backtest(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """What would have been alerts. Raises `Rejected`: 404 for an unknown rule, 409 while another one runs
        here, 422; `Fault` where the log cannot be read."""
        del who
        order = document(request, Order)
        question = self._question(request.params["id"], order)
        if self._busy:
            text = "This worker plays another rule to the log: ask again when that is done."
            raise Rejected(409, INVALID_PARAMS, "backtest_running", text)
        self._busy = True
        try:
            return json_response(200, msgspec.to_builtins(await _asked(question)))
        finally:
            self._busy = False

    def _question(self, id: str, order: Order) -> Question:
        rule = rules().get(id)
        if rule is None:
            text = "There is no rule of this id: `GET /api/v1/rules` lists them."
            raise Rejected(404, INVALID_PARAMS, "rule_unknown", text)
        unknown = sorted(set(order.thresholds) - set(rule.thresholds))
        if unknown:
            has = ", ".join(sorted(rule.thresholds)) or "none"
            raise invalid("threshold_unknown", f"{id} has no threshold {unknown[0][:64]}: it has {has}.")
        now = self._clock.wall()
        try:
            since = now - duration(order.since)
        except ValueError as wrong:
            raise invalid("invalid_params", f"`since` is {wrong}: write `24h` or `7d`.") from wrong
        return Question(
            audit=str(self._audit), rule=id, since=since, now=now, thresholds=order.thresholds, most=MOST_ROWS
        )


_FAILING = Failing(reason="backtest_failed", text="The log could not be played to the rule.")


async def _asked(question: Question) -> Backtest:
    return await answered(
        "airlock.incident.detect.hunting", question, Backtest, patience=PATIENCE, failing=_FAILING
    )


def entries(api: BacktestsApi) -> tuple[Entry, ...]:
    """The address of this part."""
    return (
        Entry(
            method="POST",
            path="/api/v1/rules/{id}/backtest",
            permission="incidents.read",
            summary="Play the audit log to a rule.",
            handler=api.backtest,
            takes=Order,
            gives=Backtest,
        ),
    )
