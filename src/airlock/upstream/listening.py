"""The stream on which a modern server tells of changes: its lists, and the resources that somebody watches.

One stream for each server, opened again where it ends. What is watched changes by opening another one. After
a stream was lost nobody knows what was missed, so the lists count as changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from airlock.core.errors import UpstreamFault

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from airlock.model.upstream import Notify, UpstreamAnswer

PAUSE, PAUSE_MOST = 0.5, 30.0
"""Seconds before a stream is opened again: at first, and at most after doubling."""

LISTS = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")

LOST = "notifications/tools/list_changed"
"""What everybody hears who may have missed something: every list is read again."""

Ask = Callable[[dict[str, Any]], Awaitable["UpstreamAnswer"]]
"""Sends `subscriptions/listen` with these params; the answer is the end of the stream."""


class Watched:
    """Who wants to hear of which resources of one server: sessions of legacy clients by their names, and the
    gateway itself under the empty one."""

    def __init__(self) -> None:
        self._held: set[tuple[str, str]] = set()

    @property
    def uris(self) -> frozenset[str]:
        return frozenset(uri for _, uri in self._held)

    def add(self, session: str, uri: str) -> None:
        self._held.add((session, uri))

    def drop(self, session: str, uri: str | None = None) -> None:
        """One resource, or all of a session."""
        self._held -= {held for held in self._held if held[0] == session and uri in (None, held[1])}

    def sessions(self, uri: object) -> list[str]:
        """Who is to hear of a resource."""
        return sorted(session for session, held in self._held if held == uri)


class Listening:
    """One server. `close` ends the stream; nothing is left behind then."""

    def __init__(self, *, ask: Ask, notify: Notify, logger: FilteringBoundLogger) -> None:
        self._ask = ask
        self._notify = notify
        self._log = logger
        self._lists = False
        self._uris: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def want(self, *, lists: bool | None = None, uris: frozenset[str] | None = None) -> None:
        """Listen to this from now on; what is None stays as it was."""
        wanted = (self._lists if lists is None else lists, self._uris if uris is None else uris)
        if wanted == (self._lists, self._uris):
            return
        self._lists, self._uris = wanted
        if self._task is not None:
            self._notify(LOST, {})
        self.close()
        if any(wanted):
            self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        pause = PAUSE
        while True:
            with contextlib.suppress(UpstreamFault):
                answer = await self._ask({"notifications": self._filter()})
                if answer.error is not None:
                    self._log.debug("upstream_stream_lost", detail=f"error {answer.error['code']}")
                    return
                pause = PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_MOST)
            self._notify(LOST, {})

    def _filter(self) -> dict[str, Any]:
        wanted: dict[str, Any] = dict.fromkeys(LISTS, True) if self._lists else {}
        if self._uris:
            wanted["resourceSubscriptions"] = sorted(self._uris)
        return wanted
