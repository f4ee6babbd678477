"""The way of a call, on one screen.

1 authenticate   token -> principal, then strict JSON and the client's era
2 resolve        name -> canonical tool of a server that the tenant can see
3 admit          the caller and the tool not contained, within limits; definition approved, arguments fit
4 authorize      policy decides: allow, or the reason why not
5 redact         the request, by obligation
  intend         durable BEFORE the side effect
6 forward        to the upstream, with its own credentials, in its own era
7 redact         the response; cap it, give it the client's shape
  seal           durable BEFORE the reply leaves

Whatever a stage raises ends the call and is recorded, once, before anybody hears of it. A crash between
`intend` and `seal` leaves an intent without outcome, which recovery closes as `outcome_unknown`.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from typing import Protocol

import msgspec

from airlock.core.errors import AuditFault, Effect, Fault, Refused, Stage
from airlock.gateway.aside import aside
from airlock.model.call import (
    Admitted,
    Allowed,
    Authenticated,
    Identified,
    Inbound,
    Reached,
    Redacted,
    Reply,
    Routed,
)
from airlock.model.upstream import Notify, UpstreamAnswer

Failure = Refused | Fault


class Record(Protocol):
    """The audit envelope. Every method returns when what it wrote is durable, or raises `AuditFault`."""

    async def intend(self, call: Redacted) -> None: ...
    async def seal(self, call: Redacted, reply: Reply) -> None: ...
    async def refuse(self, reached: Reached, failure: Failure) -> None: ...


class Way:
    """How far one message came; the record and the answer to a failure are made from it."""

    __slots__ = ("reached",)

    def __init__(self, inbound: Inbound) -> None:
        self.reached: Reached = inbound


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """The stages, composed once."""

    authenticate: Callable[[Inbound], Authenticated]
    read: Callable[[Authenticated], Identified]
    permit: Callable[[Identified], None]
    """3 for the caller, whatever it asks: containment and rates. Raises `Refused`."""
    resolve: Callable[[Identified], Routed]
    admit: Callable[[Routed], Admitted]
    authorize: Callable[[Admitted], Allowed]
    redact_request: Callable[[Allowed], Redacted]
    """5 and 7 run in a thread where the message is large (`aside`)."""
    forward: Callable[[Redacted, Notify], Awaitable[UpstreamAnswer]]
    redact_response: Callable[[Redacted, UpstreamAnswer], Reply]
    record: Record
    owns: Callable[[Identified], bool]
    """Whether no upstream needs to hear of the message: lists and searches, discovery, handshake, ping."""
    answer: Callable[[Identified, Notify], Awaitable[Reply]]
    explain: Callable[[Reached, Failure], Reply]
    """A failure as this caller may hear it."""
    measure: Callable[[Reached, Reply | None, Failure | None], None]
    """Told how each message ended; without a reply where the client went away."""

    async def govern(self, inbound: Inbound, notify: Notify) -> Reply:
        """Carry one message from bytes to a reply that may leave."""
        way = Way(inbound)
        try:
            reply = await self._carry(way, inbound, notify)
        except (Refused, Fault) as failure:
            reply = self.explain(way.reached, failure)
            self.measure(way.reached, reply, failure)
        except asyncio.CancelledError:
            self.measure(way.reached, None, None)
            raise
        else:
            self.measure(way.reached, reply, None)
        return reply

    async def _carry(self, way: Way, inbound: Inbound, notify: Notify) -> Reply:
        try:
            way.reached = caller = self.authenticate(inbound)  # 1
            way.reached = identified = self.read(caller)
            self.permit(identified)  # 3
            if self.owns(identified):
                return await self.answer(identified, notify)
            way.reached = routed = self.resolve(identified)  # 2
            way.reached = admitted = self.admit(routed)  # 3
            way.reached = allowed = self.authorize(admitted)  # 4
            way.reached = redacted = await aside(len(inbound.body), self.redact_request, allowed)  # 5
            await self.record.intend(redacted)
            answer = await self.forward(redacted, notify)  # 6
            reply = await aside(answer.size, self.redact_response, redacted, answer)  # 7
        except (Refused, Fault) as failure:
            await self.record.refuse(way.reached, failure)
            raise
        except asyncio.CancelledError:
            with contextlib.suppress(AuditFault):  # nobody is left who could be told
                await asyncio.shield(self.record.refuse(way.reached, _gone(way.reached)))
            raise
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as defect:  # engines in other languages panic beside `Exception`
            fault = _defect(way.reached, defect)
            await self.record.refuse(way.reached, fault)
            raise fault from defect
        await self.record.seal(redacted, reply)
        return reply


def _effect(reached: Reached) -> Effect:
    return Effect.POSSIBLE if isinstance(reached, Redacted) else Effect.NONE


def _gone(reached: Reached) -> Fault:
    text = "The client went away."
    return Fault(Stage.FORWARD, -32603, "client_disconnected", text, effect=_effect(reached))


def _defect(reached: Reached, defect: BaseException) -> Fault:
    """Unknown means no: a defect of ours ends the call like any refusal, and is said to be ours.

    The log gets the kind of the defect and its place, not its message, which may quote the call.
    """
    text = "Airlock failed to carry out this call."
    place = traceback.extract_tb(defect.__traceback__)[-1]
    detail = f"{type(defect).__name__} at {PurePath(place.filename).name}:{place.lineno}"
    return Fault(Stage.FORWARD, -32603, "internal_error", text, detail=detail, effect=_effect(reached))
