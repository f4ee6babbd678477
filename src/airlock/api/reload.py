"""`/admin/policy/reload`: configuration and policy are read again, as by SIGHUP, and what came of it is
said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from airlock.api.entries import INVALID_PARAMS, Entry
from airlock.api.leasing import actor
from airlock.api.policy import World
from airlock.core.errors import Fault, Rejected, Stage
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from airlock.model.reload import Report

Reload = Callable[[str], Awaitable[Report]]
"""Asks for a reload, in somebody's name. Raises `TimeoutError` where nobody answers."""


class ReloadApi:
    """Passes the wish on, and the answer back."""

    def __init__(self, *, reload: Reload, world: World) -> None:
        self._reload = reload
        self._world = world

    async def reload(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """200 when every worker runs what was read, 207 when not all of them said so yet. Raises `Rejected`
        409 `reload_refused` where something is wrong with it: the running plan stays."""
        report = await accepted(self._reload(actor(admin)), self._world)
        told = {
            "desired_sha256": self._world.desired,
            "result": report.result,
            "sections": report.sections,
            "changed": report.changed,
            "replicas_acked": report.acked,
            "replicas_total": report.total,
        }
        return json_response(200 if report.acked == report.total else 207, told)


async def accepted(asked: Awaitable[Report], world: World) -> Report:
    """The report on a reload that was accepted. Raises `Rejected` for one that was refused, `Fault` where
    nobody answers."""
    try:
        report = await asked
    except TimeoutError as late:
        text = "Nobody says what became of the reload: look at the status."
        raise Fault(Stage.ADMIT, 50302, "control_unavailable", text) from late
    if report.result == "refused":
        first = report.problems[0]
        data: dict[str, object] = {
            "problems": msgspec.to_builtins(report.problems),
            "last_error": world.refused,
        }
        text = f"{first.where}: {first.what}. What runs stays."
        raise Rejected(409, INVALID_PARAMS, "reload_refused", text, data=data)
    return report


def rolling(reload: Reload, world: World) -> Callable[[str], Awaitable[dict[str, int]]]:
    """The same for the policy alone: how many workers decide by the one that people went back to."""

    async def roll(by: str) -> dict[str, int]:
        report = await accepted(reload(by), world)
        return {"replicas_acked": report.acked, "replicas_total": report.total}

    return roll


def entries(api: ReloadApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    return (
        Entry(
            method="POST",
            path="/admin/policy/reload",
            permission="gateway.reload",
            summary="Read configuration and policy again.",
            handler=api.reload,
            statuses=(200, 207),
        ),
    )
