"""The processes of stdio servers that serve one owner alone: which one runs a call, and when each is stopped.

A process belongs to a server, an owner (a principal, or a session of its) and what the owner's client can do,
of which a legacy server hears only once. Where a principal's call waits for a client's answer, its next one
gets a further process: nobody's silence holds up other calls. A session has one process, whose state it
relies on, and its calls wait. The runner bounds how many there are; the oldest idle one makes place.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.dialogue import MODERN
from airlock.upstream.frames import TurnedAway
from airlock.upstream.lives import Owner
from airlock.upstream.sessions import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.core.clock import Clock
    from airlock.core.config import ServerEntry
    from airlock.upstream.frames import Request
    from airlock.upstream.servers import Server

MOST_OF_PRINCIPAL = 16
"""Processes of one principal, of all servers together."""
MOST_ENDING = 64
"""Processes that are being stopped; until one of them is gone no further one begins. Of one principal
there are at most as many as run."""
AGAIN = 5
"""Seconds after which there may be place."""


def principal_of(owner: str) -> str:
    """The principal whose process, or whose session's, it is."""
    return owner.partition("\0")[0]


class _Held:
    __slots__ = ("owner", "principal", "server", "task", "used_at")

    def __init__(self, server: Server, task: asyncio.Task[None], owner: str, now: float) -> None:
        self.server = server
        self.task = task
        self.owner = owner
        self.principal = principal_of(owner)
        self.used_at = now


class Owned:
    """Those of one runner. Everything is called on one loop and returns at once."""

    def __init__(
        self,
        *,
        begin: Callable[[ServerEntry, Owner], tuple[Server, asyncio.Task[None]]],
        room: Callable[[], int],
        clock: Clock,
        idle: float,
    ) -> None:
        """`begin` starts a server for an owner: the task is its life, and cancelling it ends it. `room` says
        how many there may be; `idle` is in seconds."""
        self._begin = begin
        self._room = room
        self._clock = clock
        self._idle = idle
        self._held: dict[tuple[str, str, bytes], list[_Held]] = {}
        self._ending: dict[asyncio.Task[None], str] = {}
        """Whose they were."""

    def servers(self) -> list[Server]:
        """All of them, without those that are being stopped."""
        return [held.server for held in self._all()]

    def of(self, name: str, owner: str) -> list[Server]:
        """An owner's processes of a server."""
        return [held.server for key, each in self._held.items() if key[:2] == (name, owner) for held in each]

    def take(self, shared: Server, order: Request) -> Server:
        """The process for a call, started if need be. `shared` is the one of which the catalog is read.

        Raises `TurnedAway` where there is no place.
        """
        said = {} if shared.era == MODERN else order.capabilities
        owner, digest = key_of(order.owner, said)
        now = self._clock.monotonic()
        key = (shared.entry.name, owner, digest)
        for held in self._held.get(key, ()):
            if order.single or not held.server.asking:
                held.used_at = now
                return held.server
        self._make_room(principal_of(owner))
        server, task = self._begin(shared.entry, Owner(key=owner, capabilities=said))
        self._held.setdefault(key, []).append(_Held(server, task, owner, now))
        return server

    def sweep(self) -> None:
        """Stop those that nobody uses."""
        now = self._clock.monotonic()
        for held in self._all():
            if held.server.busy:
                held.used_at = now
            elif now - held.used_at >= self._idle:
                self._stop(held)

    def leave(self, session: str) -> None:
        """A session of a client is over."""
        for held in self._all():
            if held.owner.endswith(f"\0{session}"):
                self._stop(held)

    def forget(self, name: str) -> None:
        """A server is configured differently, or not at all."""
        for held in self._all():
            if held.server.entry.name == name:
                self._stop(held)

    def close(self) -> None:
        """Stop all of them."""
        for held in self._all():
            self._stop(held)

    def _all(self) -> list[_Held]:
        return [held for each in self._held.values() for held in each]

    def _make_room(self, principal: str) -> None:
        ending = list(self._ending.values())
        if len(ending) >= MOST_ENDING or ending.count(principal) >= MOST_OF_PRINCIPAL:
            raise _no_place("too many processes are being stopped")
        while len(own := [held for held in self._all() if held.principal == principal]) >= MOST_OF_PRINCIPAL:
            self._displace(own, f"all {MOST_OF_PRINCIPAL} processes of this caller are in use")
        while len(every := self._all()) >= self._room():
            self._displace(every, "all processes that the gateway may run are in use")

    def _displace(self, among: list[_Held], why: str) -> None:
        idle = [held for held in among if not held.server.busy]
        if not idle:
            raise _no_place(why)
        self._stop(min(idle, key=lambda held: held.used_at))

    def _stop(self, held: _Held) -> None:
        for key, each in list(self._held.items()):
            if held in each:
                each.remove(held)
                if not each:
                    del self._held[key]
        self._ending[held.task] = held.principal
        held.task.add_done_callback(self._ending.pop)
        held.task.cancel()


def _no_place(why: str) -> UpstreamFault:
    return TurnedAway.unavailable(why, effect=Effect.NONE, retry_after=AGAIN)
