"""Calls of several rounds: what a server wants to be told again travels through the client sealed.

A server may answer with a question and with a state that it wants back. The state is sealed with the caller,
the server, the method, the parameters and a time, so nobody reads it, changes it, or hands it in for another
call. Whatever does not fit is refused in one sentence that does not say what did not fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import Rejected, Stage
from airlock.core.sealed import SealBroken, Sealer
from airlock.mcp import rounds
from airlock.model.call import Admitted, Redacted, Round, Routed
from airlock.model.upstream import Park

Admit = Callable[[Routed], Admitted]

LIFETIME = 600
"""Seconds for which a client may think about a question."""

_PURPOSE = "request-state"


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """The call that a state belongs to: the same in every round, and in no other call."""

    principal: str
    tenant: str
    server: str
    digest: str
    """`mcp.rounds.digest` of method and parameters, in the server's own names."""


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a sealed state holds."""

    bound: Bound
    number: int
    """Rounds that the call has had."""
    exp: int
    """Unix seconds."""
    inner: str | None = None
    """The server's own state."""
    park: str = ""
    """The call that waits for the answers; empty where the server waits for nothing."""
    nonce: str = ""
    """Of a state that counts once."""


_decode = msgspec.json.Decoder(State).decode


def invalid() -> Rejected:
    """One answer for a state that is altered, moved, expired, used up, or not ours."""
    text = "`params.requestState` does not belong to this request: call again without it."
    return Rejected(200, -32602, "request_state_invalid", text, stage=Stage.ADMIT)


class States:
    """Seals and opens. Stateless: every worker can do both."""

    def __init__(self, *, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    def seal(
        self,
        bound: Bound,
        *,
        number: int,
        inner: str | None = None,
        park: str = "",
        nonce: str = "",
        lifetime: int = LIFETIME,
    ) -> str:
        """The state as a client carries it: visible ASCII. `lifetime` in seconds."""
        exp = int(self._clock.wall()) + lifetime
        state = State(bound=bound, number=number, exp=exp, inner=inner, park=park, nonce=nonce)
        return self._sealer.seal(_PURPOSE, msgspec.json.encode(state))

    def read(self, text: str) -> State:
        """A state that has not expired, of whichever call. Raises `Rejected` -32602."""
        try:
            state = _decode(self._sealer.open(_PURPOSE, text))
        except (SealBroken, msgspec.DecodeError) as broken:
            raise invalid() from broken
        if state.exp <= self._clock.wall():
            raise invalid()
        return state


class Rounds:
    """What the stages of a call need of this: 3 a retry is let in, 7 a question gets its state."""

    def __init__(self, states: States) -> None:
        self._states = states
        self.forget: Callable[[str], None] = _nothing
        """Told of a parked call whose own caller came back with another call in its place."""

    def admitting(self, admit: Admit) -> Admit:
        """The stage, with the state of a request that goes on with a call."""

        def admitted(routed: Routed) -> Admitted:
            if rounds.begins(routed.identified.message.params):
                return admit(routed)
            found = admit(routed)
            return msgspec.structs.replace(found, round=self._round(found.routed))

        return admitted

    def sealed(self, call: Redacted, inner: str | None, park: Park | None) -> str:
        """What a client carries to the next round: the server's own state, or the call that waits."""
        before = call.allowed.admitted.round
        return self._states.seal(
            bound_to(call.allowed.admitted.routed),
            number=1 + (before.number if before else 0),
            inner=inner,
            park=park.id if park else "",
            nonce=park.nonce if park else "",
            lifetime=park.lifetime if park else LIFETIME,
        )

    def _round(self, routed: Routed) -> Round | None:
        """None for a legacy client, whose era knows no such thing: its words mean nothing."""
        if not routed.identified.client.modern:
            return None
        params = routed.identified.message.params
        responses: dict[str, Any] = params.get(rounds.RESPONSES, {})
        text: str | None = params.get(rounds.STATE)
        if text is None:
            return Round(number=0, responses=responses)
        state, bound = self._states.read(text), bound_to(routed)
        if state.bound != bound:
            if state.park and state.bound.principal == bound.principal:
                self.forget(state.park)
            raise invalid()
        return Round(
            number=state.number,
            responses=responses,
            inner=state.inner,
            park=state.park,
            nonce=state.nonce,
            digest=hashlib.sha256(text.encode()).hexdigest(),
        )


def _nothing(park: str) -> None:
    """Nothing is parked."""


def bound_to(routed: Routed) -> Bound:
    """The call, whatever route and name its client takes to it."""
    principal = routed.identified.caller.principal
    params = {"name": routed.item.name, "uri": routed.uri, "arguments": routed.arguments}
    return Bound(
        principal=principal.key,
        tenant=principal.tenant,
        server=routed.item.server,
        digest=rounds.digest(routed.identified.message.method, params),
    )
