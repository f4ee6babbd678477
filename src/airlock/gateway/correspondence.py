"""What legacy clients send in their sessions besides requests for servers: answers to what was asked of them,
cancellations, news of their roots, the level of messages that they want.

Any worker may receive it. An answer goes to the worker that asked; everything else is told to all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from airlock.core.errors import Rejected, Stage
from airlock.gateway.live import Live
from airlock.gateway.questions import Questions, worker_asking
from airlock.gateway.sessions import unknown_session
from airlock.mcp.jsonrpc import ClientResponse, Notification
from airlock.model.call import Identified, Redacted

LEVELS = 10_000
"""Sessions of which a level is remembered."""

CANCELLED, ROOTS_CHANGED = "notifications/cancelled", "notifications/roots/list_changed"


class Post(Protocol):
    """The line to the other workers."""

    async def one(self, slot: int, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Ask one of them; None where it does not answer."""
        ...

    def all(self, what: str, body: dict[str, Any]) -> None:
        """Tell each of them, this one included, some time soon."""
        ...


class Correspondence:
    """See the module. `slot` is this worker's own."""

    def __init__(
        self,
        *,
        slot: int,
        questions: Questions,
        live: Live,
        post: Post,
        tell_servers: Callable[[str, str], Awaitable[None]],
    ) -> None:
        """`tell_servers` sends a notification (session, method) to the servers that know the session."""
        self._slot = slot
        self._questions = questions
        self._live = live
        self._post = post
        self._tell_servers = tell_servers
        self._levels: OrderedDict[str, str] = OrderedDict()
        self.hears: dict[str, Callable[[Any], Awaitable[object]]] = {
            "mcp_answer": self._answer,
            "mcp_cancel": self._cancel,
            "mcp_level": self._level,
            "mcp_roots": self._roots,
        }
        """What other workers tell this one, by the word that tells it."""

    def level(self, session: str) -> str:
        """The level that a session asked for; empty where it did not."""
        return self._levels.get(session, "")

    async def set_level(self, identified: Identified) -> None:
        """`logging/setLevel`: from here on, in every worker."""
        body = {"session": identified.client.session, "level": identified.message.params["level"]}
        await self._level(body)
        self._post.all("mcp_level", body)

    async def heard(self, identified: Identified) -> None:
        """A message that gets no answer. Raises `Rejected` for an answer that nobody waits for."""
        message, session = identified.message, identified.client.session
        if isinstance(message, ClientResponse):
            await self._response(session, message)
        elif not session or not isinstance(message, Notification):
            return
        elif message.method == CANCELLED:
            self._post.all("mcp_cancel", {"session": session, "id": message.params["requestId"]})
        elif message.method == ROOTS_CHANGED:
            self._post.all("mcp_roots", {"session": session})

    async def _response(self, session: str, response: ClientResponse) -> None:
        slot = worker_asking(response.id)
        if slot is None:
            raise _unexpected()
        if slot == self._slot:
            taken = self._questions.answered(session, response)
        else:
            body = {"session": session, "response": msgspec.to_builtins(response)}
            told = await self._post.one(slot, "mcp_answer", body)
            if told is None:
                raise unknown_session()
            taken = told["taken"]
        if not taken:
            raise _unexpected()

    async def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        response = msgspec.convert(body["response"], ClientResponse)
        return {"taken": self._questions.answered(body["session"], response)}

    async def _cancel(self, body: dict[str, Any]) -> None:
        session, id = body["session"], body["id"]

        def why(call: Redacted) -> Rejected | None:
            identified = call.allowed.admitted.routed.identified
            mine = identified.client.session == session and identified.id == id
            return _cancelled() if mine and type(identified.id) is type(id) else None

        self._live.cancel(why)

    async def _level(self, body: dict[str, Any]) -> None:
        self._levels[body["session"]] = body["level"]
        self._levels.move_to_end(body["session"])
        if len(self._levels) > LEVELS:
            self._levels.popitem(last=False)

    async def _roots(self, body: dict[str, Any]) -> None:
        await self._tell_servers(body["session"], ROOTS_CHANGED)


def _unexpected() -> Rejected:
    return Rejected(400, -32600, "unexpected_response", "Nothing was asked of this client under this id.")


def _cancelled() -> Rejected:
    text = "The client cancelled this request."
    return Rejected(200, -32603, "cancelled", text, stage=Stage.FORWARD)
