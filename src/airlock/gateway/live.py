"""What is running in this worker right now, so that it can be cut.

A call is cut by cancelling its task with a reason; `Live.running` turns that cancellation into the
refusal which the caller hears and the log records. Every worker cuts its own calls when its snapshot
changes, and a call that was allowed under an older snapshot looks again before it is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType

from airlock.core.errors import Effect, Refused, Stage
from airlock.gateway import contain, echo
from airlock.model.call import Redacted, Routed
from airlock.model.snapshot import Snapshot

LEASES, SESSIONS = 64, 10_000
"""Leases of which is told what they cut, and sessions of each: every process holds them."""


class LiveCall:
    """One call that is sent upstream and not answered yet: live while this context lasts, which raises the
    `Refused` that the call was cut with."""

    __slots__ = ("_among", "call", "cut", "task")

    def __init__(self, call: Redacted, among: set[LiveCall]) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call runs in a task")
        self._among = among
        self.call = call
        self.task = task
        self.cut: Refused | None = None

    def __enter__(self) -> None:
        self._among.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._among.discard(self)
        if self.cut is not None and (kind is None or kind is asyncio.CancelledError):
            self.task.uncancel()
            raise self.cut from None


class Live:
    """The calls of this worker. Used on the event loop only."""

    def __init__(self) -> None:
        self._calls: set[LiveCall] = set()
        self._ended: OrderedDict[str, tuple[int, set[str]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def running(self, call: Redacted) -> LiveCall:
        """A context in which `call` is registered, in the task that runs now."""
        return LiveCall(call, self._calls)

    def cut(self, why: Callable[[Redacted], Refused | None]) -> int:
        """Cut every call for which `why` gives a refusal; returns how many. Each was sent, so its effect is
        `possible`, and its record says that it was in flight."""
        cut = 0
        for live in self._calls:
            refusal = why(live.call)
            if refusal is not None and live.cut is None:
                self._note(refusal.lease, live.call)
                live.cut = in_flight(refusal)
                live.task.cancel()
                cut += 1
        return cut

    def cancel(self, why: Callable[[Redacted], Refused | None]) -> None:
        """End every call for which `why` gives what its client hears. Each was sent."""
        for live in self._calls:
            said = why(live.call)
            if said is not None and live.cut is None:
                said.effect = Effect.POSSIBLE
                live.cut = said
                live.task.cancel()

    def _note(self, lease: str, call: Redacted) -> None:
        number, sessions = self._ended.pop(lease, (0, set[str]()))
        session = call.allowed.admitted.routed.identified.client.session
        if session and len(sessions) < SESSIONS:
            sessions.add(hashlib.sha256(session.encode()).hexdigest())
        self._ended[lease] = number + 1, sessions
        if len(self._ended) > LEASES:
            self._ended.popitem(last=False)

    async def told(self) -> dict[str, tuple[int, list[str]]]:
        """By lease, of the last ones: how many calls it cut here, and the digests of their sessions."""
        return {lease: (number, sorted(sessions)) for lease, (number, sessions) in self._ended.items()}

    def review(self, now: Snapshot, wall: float) -> int:
        """Cut every call that this snapshot would not let begin; returns how many. `wall` in Unix seconds."""
        return self.cut(lambda call: no_longer(call, now, wall))


def in_flight(refusal: Refused) -> Refused:
    """The refusal of a call that was sent already."""
    refusal.effect, refusal.stage, refusal.reason = Effect.POSSIBLE, Stage.FORWARD, "contained_in_flight"
    return refusal


def no_longer(call: Redacted, now: Snapshot, wall: float) -> Refused | None:
    """Why a call that was allowed under its own snapshot may not go on under this one; None while it may.
    `wall` in Unix seconds."""
    routed = call.allowed.admitted.routed
    principal, server = routed.identified.caller.principal, routed.server.entry
    found = echo.server_for(principal, now, server.name)
    if found is None or found.entry != server:
        text = f"The server {server.name} was taken out of service."
        return Refused(
            Stage.FORWARD, 40302, "contained", text, scope={"kind": "server", "server": server.name}
        )
    owner = (principal.tenant, principal.issuer, principal.subject)
    if principal.token_id in now.revocations.token_ids or owner in now.revocations.subjects:
        text = "The credential of this call was revoked."
        return Refused(Stage.FORWARD, 40302, "contained", text, scope={"kind": "principal"})
    return _by_lease(routed, now, wall)


def _by_lease(routed: Routed, now: Snapshot, wall: float) -> Refused | None:
    index = now.leases.index
    if index is None:
        return None
    identified = routed.identified
    caller = identified.caller
    return (
        contain.of_caller(index, caller.principal, caller.inbound.source_ip, wall)
        or contain.of_tool(index, routed.item, caller.principal.tenant, wall)
        or contain.of_credential(index, caller.principal, identified.client.session, wall)
    )
