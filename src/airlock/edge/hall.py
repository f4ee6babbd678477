"""What the connections of a worker have in common: who answers, how many there may be, what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from airlock.edge.heads import HeaderList
from airlock.edge.turn import Turn
from airlock.edge.visit import Visit

_FULL: HeaderList = (("content-type", "text/plain; charset=utf-8"), ("connection", "close"))


class Guest(Protocol):
    """A connection, as far as the hall needs it."""

    def shut(self) -> None:
        """Close when what has arrived is answered, and take nothing more."""
        ...

    def end(self) -> None:
        """Close, whatever is under way."""
        ...


class Hall:
    """See the module. One event loop."""

    def __init__(self, application: Callable[[Visit], Awaitable[None]], *, max_connections: int) -> None:
        self.max_connections = max_connections
        """Connections, and requests under way; who comes when there are as many is answered 503."""
        self.connections: set[Guest] = set()
        self.turns: set[Turn] = set()
        self.empty = asyncio.Event()
        """Once draining has begun: nobody is left but who takes leave."""
        self.deserted = asyncio.Event()
        """Once draining has begun: nobody is left at all."""
        self._parting: set[Guest] = set()
        self._application = application
        self._draining = False

    def begin(self, turn: Turn) -> None:
        """Have a request answered by a task of its own, or 503."""
        most = self.max_connections
        if len(self.connections) >= most or len(self.turns) >= most:
            turn.answer(503, (), b"Service Unavailable", _FULL)
        else:
            self.turns.add(turn)
            turn.task = asyncio.get_running_loop().create_task(self._serve(turn))

    def enter(self, guest: Guest) -> None:
        """A connection is made; one whose handshake outlasts the beginning of draining is asked to leave."""
        self.connections.add(guest)
        if self._draining:
            guest.shut()

    def part(self, guest: Guest) -> None:
        """A connection is closed on our side. Over TLS some peers leave late: they take nobody's place."""
        if guest in self.connections:
            self.connections.discard(guest)
            self._parting.add(guest)
            self._look()

    def leave(self, guest: Guest) -> None:
        """A connection is lost."""
        self.connections.discard(guest)
        self._parting.discard(guest)
        self._look()

    def drain(self) -> None:
        """Ask everybody to leave."""
        self._draining = True
        for guest in list(self.connections):
            guest.shut()
        self._look()

    async def _serve(self, turn: Turn) -> None:
        """Whatever goes wrong, the client learns that, and nothing else ends."""
        try:
            await self._application(turn)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001, S110 - the application has said it; engines panic beside `Exception`
            pass
        finally:
            self.turns.discard(turn)
            turn.fail()
            self._look()

    def _look(self) -> None:
        if self._draining and not self.connections and not self.turns:
            self.empty.set()
            if not self._parting:
                self.deserted.set()
