"""Parked calls across workers: a request that goes on with a call may reach another worker than the one that
holds it. That worker asks for the outcome, again and again until there is one, and policed everything before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from airlock.core.errors import Effect, Fault, Refused, Rejected, Stage
from airlock.gateway.parked import Running
from airlock.gateway.parks import Parks, nowhere
from airlock.model.call import Redacted, Round
from airlock.model.upstream import UpstreamAnswer

POLL = 5.0
"""Seconds for which the owner of a call holds the question for its outcome."""

RESUME, END = "mcp_resume", "mcp_resume_end"

One = Callable[[int, str, dict[str, Any]], Awaitable[dict[str, Any] | None]]
"""Asks the worker of a slot; None where it does not answer."""


class Ferry:
    """One worker's end. `parks` is set by whoever wires both."""

    def __init__(self, *, node: str, one: One) -> None:
        """`node`: the slot of this worker, a dash, and what tells this process from others in its place."""
        self.node = node
        self._one = one
        self._running: dict[str, Running] = {}
        self.parks: Parks | None = None
        self.hears: dict[str, Callable[[Any], Awaitable[object]]] = {RESUME: self._resume, END: self._end}
        """What other workers ask of this one, by the word that asks for it."""

    async def over(self, call: Redacted, said: Round, responses: dict[str, Any]) -> UpstreamAnswer:
        """Go on with a call that another process holds. Raises what that raised, or 41001 if it is gone."""
        slot = said.park.partition("-")[0]
        body = {"park": said.park, "number": said.number, "nonce": said.nonce, "responses": responses}
        try:
            while True:
                told = await self._one(int(slot), RESUME, body) if slot.isdecimal() else None
                if told is None or "gone" in told:
                    return await nowhere(call, said, responses)
                if "pending" not in told:
                    break
                body = {"park": said.park}
        except asyncio.CancelledError:
            await asyncio.shield(self._one(int(slot), END, {"park": said.park}))
            raise
        if "failure" in told:
            raise _failure(told["failure"])
        return msgspec.convert(told["answer"], UpstreamAnswer)

    async def _resume(self, body: dict[str, Any]) -> dict[str, Any]:
        """For another worker: go on with a call that is held here, or say how it stands."""
        park, running = body["park"], self._running.get(body["park"])
        if running is None:
            if self.parks is None or "nonce" not in body or not park.startswith(f"{self.node}."):
                return {"gone": True}
            said = Round(number=body["number"], responses={}, park=park, nonce=body["nonce"])
            work = self.parks.resume(None, said, body["responses"])
            running = self._running[park] = self.parks.hold(work)
        await asyncio.wait({running.outcome}, timeout=POLL)
        if not running.outcome.done():
            return {"pending": True}
        self._running.pop(park, None)
        return _told(running.outcome)

    async def _end(self, body: dict[str, Any]) -> None:
        running = self._running.pop(body["park"], None)
        if running is not None:
            running.task.cancel()


def _told(outcome: asyncio.Future[UpstreamAnswer]) -> dict[str, Any]:
    if outcome.cancelled():
        return {"gone": True}
    failure = outcome.exception()
    if failure is None:
        return {"answer": msgspec.to_builtins(outcome.result())}
    if not isinstance(failure, Refused | Fault):
        return {"gone": True}
    told = {"code": failure.code, "reason": failure.reason, "text": failure.text}
    if isinstance(failure, Rejected):
        return {"failure": {**told, "kind": "rejected", "http": failure.http, "data": failure.data}}
    told["effect"] = failure.effect.value
    if isinstance(failure, Fault):
        return {"failure": {**told, "kind": "fault", "detail": failure.detail}}
    more = {"policy_reason": failure.policy_reason, "scope": failure.scope, "lease": failure.lease}
    return {"failure": {**told, **more, "kind": "refused"}}


def _failure(told: dict[str, Any]) -> Refused | Fault:
    """What `_told` said, to be raised here."""
    code, reason, text = told["code"], told["reason"], told["text"]
    if told["kind"] == "rejected":
        return Rejected(told["http"], code, reason, text, data=told["data"], stage=Stage.FORWARD)
    effect = Effect(told["effect"])
    if told["kind"] == "fault":
        return Fault(Stage.FORWARD, code, reason, text, detail=told["detail"], effect=effect)
    return Refused(
        Stage.FORWARD, code, reason, text,
        policy_reason=told["policy_reason"], scope=told["scope"], lease=told["lease"], effect=effect,
    )  # fmt: skip
