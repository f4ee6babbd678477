"""Who holds a stream open in this worker, and whether each still may: asked whenever the world changes.

1 every caller is judged anew, once for all its streams; whoever may not go on hears the end of its stream
2 behind the last of them, what these streams held is put away
3 after a calm moment the others see what is new for them

All in slices: nobody else waits long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from airlock.core.errors import Fault, Refused
from airlock.gateway.slices import in_slices
from airlock.model.call import Authenticated, Inbound
from airlock.model.snapshot import Current

CALM = 0.1
"""Seconds between two looks at what is new."""

FEW = 8
"""How many look between two looks at the network: verdicts go before."""

_Caller = tuple[str | None, str, str]
"""What a verdict depends on: the token as sent, the route, the address."""


class Hearer(Protocol):
    """One open stream."""

    @property
    def inbound(self) -> Inbound:
        """What opened it."""
        ...

    def may(self, caller: Authenticated) -> bool:
        """Whether this caller, who is let in, may hear it on."""
        ...

    def leave(self) -> None:
        """Let the client hear that it is over, where it can be told at once."""
        ...

    def put_away(self) -> None:
        """End what still runs for it. Follows `leave`."""
        ...

    def look(self) -> None:
        """Something may be new."""
        ...


class Audience:
    """Those of one worker. Used on the event loop only."""

    def __init__(
        self,
        *,
        authenticate: Callable[[Inbound], Authenticated],
        permit: Callable[[Authenticated], None],
        current: Current,
    ) -> None:
        """`permit` raises for a caller that is contained."""
        self._authenticate = authenticate
        self._permit = permit
        self._current = current
        self._hearers: set[Hearer] = set()
        self._due: asyncio.TimerHandle | None = None
        self.draining = False
        """Nobody may hear anything any more."""
        current.told.append(self.look)

    def __len__(self) -> int:
        return len(self._hearers)

    def enter(self, hearer: Hearer) -> None:
        """A stream is open. Whoever lets it in looks after this once more."""
        self._hearers.add(hearer)

    def forget(self, hearer: Hearer) -> None:
        """A stream is closed."""
        self._hearers.discard(hearer)

    def judge(self, inbound: Inbound) -> Authenticated | None:
        """The caller as the world sees it now; None where nothing would be opened for it."""
        if self.draining:
            return None
        try:
            caller = self._authenticate(inbound)
            self._permit(caller)
        except (Refused, Fault):
            return None
        return caller

    def drain(self) -> None:
        """End all of them, and let none begin."""
        self.draining = True
        self.look()

    def look(self) -> None:
        """The world has changed."""
        if not self._hearers:
            return
        in_slices(self._verdicts(), lambda verdict: verdict())

    def _calm(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(CALM, self._tell)

    def _tell(self) -> None:
        self._due = None
        in_slices(tuple(self._hearers), lambda hearer: hearer.look(), at_once=FEW)

    def _verdicts(self) -> Iterator[Callable[[], None]]:
        """What is to be done for each, found out when its turn comes."""
        known: dict[_Caller, Authenticated | None] = {}
        seen, over = self._current.get(), list[Hearer]()
        for hearer in tuple(self._hearers):
            if self._current.get() is not seen:
                known, seen = {}, self._current.get()
            inbound = hearer.inbound
            who = inbound.headers.get("authorization"), inbound.server, inbound.source_ip
            if who not in known:
                known[who] = self.judge(inbound)
            caller = known[who]
            if hearer not in self._hearers or (caller is not None and hearer.may(caller)):
                yield _stay
            else:
                self._hearers.discard(hearer)
                over.append(hearer)
                yield hearer.leave
        for hearer in over:
            yield hearer.put_away
        yield self._calm


def _stay() -> None:
    """It goes on."""
