"""Requests that were sent to clients and are not answered yet.

A client answers by a POST of its own, which may reach another worker: the id of a request names the worker
that waits, and nothing else about it. An answer counts once, in the session in which it was asked.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Protocol

import msgspec

from airlock.mcp.jsonrpc import ClientResponse
from airlock.mcp.rounds import KINDS
from airlock.model.call import Redacted
from airlock.model.upstream import Answered

PATIENCE = 120.0
"""Seconds that a client has for one answer."""

MOST_OF_SESSION, MOST = 32, 1024
"""Questions that wait in one session, and in this process."""

_PREFIX = "airlock-"

ACTIONS = {"sampling": "sampling", "elicitation": "elicitation", "roots": "roots_list"}
"""Kind of a question -> word of the audit vocabulary."""

METHOD_NOT_FOUND, INTERNAL = -32601, -32603


class Record(Protocol):
    """The part of the audit envelope that questions need. Durable on return."""

    async def asked(self, call: Redacted, action: str, reason: str, metadata: dict[str, Any]) -> None: ...


class _Open(msgspec.Struct, frozen=True):
    session: str
    answer: asyncio.Future[Answered]


class Questions:
    """Those of one worker (`slot`). Used on the event loop only."""

    def __init__(self, *, slot: int, record: Record) -> None:
        self._slot = slot
        self._record = record
        self._open: dict[str, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def put(
        self, call: Redacted, method: str, params: dict[str, Any], seconds: float = PATIENCE
    ) -> Answered:
        """Ask the client of a call what policy lets its server ask. Raises `TimeoutError` after so many
        seconds; whoever is cancelled meanwhile withdraws the request."""
        identified = call.allowed.admitted.routed.identified
        stream, session = identified.caller.inbound.stream, identified.client.session
        if stream is None or not stream.hears:
            return Answered(error={"code": METHOD_NOT_FOUND, "message": "This client can be asked nothing."})
        if len(self._open) >= MOST or self._of(session) >= MOST_OF_SESSION:
            return Answered(error={"code": INTERNAL, "message": "Too many requests wait for an answer."})
        id = f"{_PREFIX}{self._slot}-{secrets.token_urlsafe(12)}"
        action = ACTIONS[KINDS[method]]
        await self._record.asked(call, action, "asked", {"question": id})
        waiting: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._open[id] = _Open(session, waiting)
        stream.request(id, method, params)
        said = "withdrawn"
        try:
            async with asyncio.timeout(seconds):
                answered = await waiting
            said = "answered"
        except TimeoutError:
            said = "unanswered"
            await self._record.asked(call, action, said, {"question": id})
            raise
        finally:
            del self._open[id]
            if said != "answered":
                stream.notify("notifications/cancelled", {"requestId": id, "reason": said})
        await self._record.asked(call, action, said, {"question": id, **_told(answered)})
        return answered

    def _of(self, session: str) -> int:
        return sum(each.session == session for each in self._open.values())

    def answered(self, session: str, response: ClientResponse) -> bool:
        """Take a client's answer; false where nothing of this session waits for it."""
        found = self._open.get(str(response.id))
        if found is None or found.session != session or found.answer.done():
            return False
        found.answer.set_result(Answered(result=response.result, error=response.error))
        return True


def worker_asking(id: str | int) -> int | None:
    """The worker that made the request with this id; None where it is not one of ours."""
    slot = str(id).removeprefix(_PREFIX).partition("-")[0]
    own = str(id).startswith(_PREFIX) and slot.isascii() and slot.isdigit() and len(slot) < 6
    return int(slot) if own else None


def _told(answered: Answered) -> dict[str, Any]:
    """What a row says of an answer: how it came out, nothing that a person wrote."""
    if answered.error is not None:
        return {"outcome": "error", "code": answered.error["code"]}
    action: Any = (answered.result or {}).get("action")
    return {"outcome": action if action in ("accept", "decline", "cancel") else "result"}
