"""One request and its answer, as those who answer see it; `Turn` is the one on a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from airlock.edge.heads import HeaderList

Fields = list[tuple[bytes, bytes]]
Client = tuple[str, int]
"""Address and port; port 0 where only the address is known, an empty address where nothing is."""


class Listener(Protocol):
    """Hears what becomes of the client while an answer is made."""

    def left(self) -> None:
        """The client went away: whatever is sent to it is dropped."""
        ...

    def resumed(self) -> None:
        """The client takes something again."""
        ...


class Visit(Protocol):
    """See the module. Its answer is either one `answer`, or any number of `say`, of which one is the last."""

    method: str
    path: bytes
    """As sent, without the query."""
    query: bytes
    """As sent, without the question mark; not decoded."""
    fields: Fields
    """Names in lower case, in the order in which they came; one that came twice is here twice."""
    client: Client | None
    gone: bool
    """The client went away."""
    paused: bool
    """The client does not take what was sent to it; more would only be held for it."""
    listener: Listener | None

    def remind(self, seconds: float, what: Callable[[], None] | None) -> None:
        """Call `what` once after so many seconds, in place of what was asked for before."""
        ...

    def whole(self) -> bytes | None:
        """The body, if all of it has arrived and nobody asked for a piece of it."""
        ...

    async def piece(self) -> bytes | None:
        """More of the body; empty at its end, None where the client went away before."""
        ...

    def answer(self, status: int, usual: HeaderList, body: bytes, more: HeaderList = ()) -> None:
        """All of an answer. `usual` are headers without anything of a caller, `more` may be any."""
        ...

    def say(self, headers: HeaderList, data: bytes, *, last: bool = False) -> None:
        """A part of an answer of unknown length, its status 200. The headers go out with the first."""
        ...

    async def drained(self) -> None:
        """Wait while `paused`, unless the client leaves."""
        ...
