"""Questions to every worker, and their answers, over the lines between supervisor and workers.

The supervisor asks for itself (`Rounds.ask`) or for one of the workers (`Peers.ask`). A worker that does not
answer in time is missing from the answers, and counted.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

PATIENCE = 8.0
"""Seconds that workers get to answer, also on a busy machine."""

Message = dict[str, Any]
Answerer = Callable[[], Awaitable[object]]
Obey = Callable[[Any], Awaitable[object]]
"""Does what the body of a message says; the answer is a JSON value."""


class Line(Protocol):
    """One end of a line; see `channel`."""

    def send(self, message: Message, /) -> None: ...


class Gathered(msgspec.Struct, frozen=True):
    """The answers by slot; None of a worker that gave none."""

    answers: tuple[Message | None, ...]

    @property
    def acked(self) -> int:
        return sum(answer is not None for answer in self.answers)

    @property
    def total(self) -> int:
        return len(self.answers)


class Rounds:
    """The supervisor's side. Used on one event loop."""

    def __init__(self, lines: Mapping[int, Line]) -> None:
        """`lines` are those of the workers that run, by slot; whoever owns it keeps it current."""
        self._lines = lines
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[asyncio.Future[Gathered], list[Message | None], set[int]]] = {}

    def ask(
        self,
        what: str,
        *,
        workers: int,
        patience: float = PATIENCE,
        body: object = None,
        only: int | None = None,
    ) -> asyncio.Future[Gathered]:
        """Ask each of so many workers, or one. The future always gets its result in `patience` seconds."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Gathered] = loop.create_future()
        number = next(self._numbers)
        lines = {slot: line for slot, line in self._lines.items() if only in (None, slot)}
        self._open[number] = future, [None] * workers, set(lines)
        for line in lines.values():
            line.send({"op": "ask", "round": number, "what": what, "body": body})
        timer = loop.call_later(0.0 if not lines else patience, self._close, number)
        future.add_done_callback(lambda _: timer.cancel())
        return future

    def heard(self, slot: int, message: Message) -> None:
        """The answer of one worker. What comes too late is dropped."""
        found = self._open.get(message["round"])
        if found is None:
            return
        _, answers, waiting = found
        answers[slot] = message["answer"]
        waiting.discard(slot)
        if not waiting:
            self._close(message["round"])

    def ask_for(self, slot: int, message: Message, *, workers: int) -> None:
        """Ask on behalf of one worker, and tell it."""
        number = message["round"]

        def tell(future: asyncio.Future[Gathered]) -> None:
            line = self._lines.get(slot)
            if line is not None and not future.cancelled():
                line.send({"op": "gathered", "round": number, "answers": future.result().answers})

        asked = self.ask(message["what"], workers=workers, body=message["body"], only=message["to"])
        asked.add_done_callback(tell)

    def _close(self, number: int) -> None:
        found = self._open.pop(number, None)
        if found is not None and not found[0].done():
            found[0].set_result(Gathered(tuple(found[1])))


class Peers:
    """A worker's side. Used on one event loop. `line` is set once there is one."""

    def __init__(self) -> None:
        self.line: Line | None = None
        self.answers: dict[str, Answerer] = {}
        """What this worker answers, by the word that asks for it. Answers are JSON objects."""
        self.hears: dict[str, Obey] = {}
        """What this worker does when it is told, by the word that tells it."""
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Gathered]] = {}

    async def ask(self, what: str, body: object = None, *, to: int | None = None) -> Gathered:
        """What every worker answers, or one, this one included; without a supervisor, this one alone."""
        if self.line is None:
            return Gathered((await self._answer(what, body),))
        number = next(self._numbers)
        self._open[number] = future = asyncio.get_running_loop().create_future()
        self.line.send({"op": "ask", "round": number, "what": what, "body": body, "to": to})
        try:
            async with asyncio.timeout(1.2 * PATIENCE):
                return await future
        except TimeoutError:
            return Gathered(())
        finally:
            del self._open[number]

    async def one(self, slot: int, what: str, body: object) -> Any:
        """What the worker of one slot answers; None where it gives no answer."""
        found = [answer for answer in (await self.ask(what, body, to=slot)).answers if answer is not None]
        return found[0] if found else None

    def all(self, what: str, body: object) -> None:
        """Tell every worker, this one included, some time soon; nobody waits for what becomes of it."""
        if self.line is not None:
            self.line.send({"op": "ask", "round": 0, "what": what, "body": body, "to": None})

    def heard(self, message: Message) -> None:
        """What the supervisor gathered for us."""
        future = self._open.get(message["round"])
        if future is not None and not future.done():
            future.set_result(Gathered(tuple(message["answers"])))

    async def reply(self, message: Message) -> None:
        """Answer a question of the supervisor. What cannot be answered is not: that ends no worker."""
        try:
            answer = await self._answer(message["what"], message["body"])
        except Exception:  # noqa: BLE001 - whoever looks at a worker must not end it; it counts as silent
            return
        if self.line is not None and answer is not None:
            self.line.send({"op": "answer", "round": message["round"], "answer": answer})

    async def _answer(self, what: str, body: object) -> Any:
        if what in self.hears:
            return msgspec.to_builtins(await self.hears[what](body))
        answerer = self.answers.get(what)
        return None if answerer is None else msgspec.to_builtins(await answerer())
