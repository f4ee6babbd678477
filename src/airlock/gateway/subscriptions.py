"""Which sessions of legacy clients want to hear of which resources, and what they are told.

A subscription is kept by the worker whose session at the server made it; the client may listen at another,
and may take it back at a third. A session has one of each, however often it asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from airlock.gateway.correspondence import Post
from airlock.gateway.kept import Streams
from airlock.mcp import uris
from airlock.model.call import Identified, Redacted

MOST_OF_SESSION, MOST = 64, 10_000
"""Subscriptions of one session, and in this worker; the oldest make room."""

SUBSCRIBE = "resources/subscribe"
UPDATED = "notifications/resources/updated"

Key = tuple[str, str, str]
"""Session, server, and the server's own URI."""

Cancel = Callable[[str, str, str], Awaitable[None]]
"""Tells a server (session, server, own URI) that nobody listens any more."""


class Subscriptions:
    """Those of one worker."""

    def __init__(self, *, streams: Streams, post: Post, cancel: Cancel) -> None:
        self._streams = streams
        self._post = post
        self._cancel = cancel
        self._held: OrderedDict[Key, str] = OrderedDict()
        self.hears: dict[str, Callable[[Any], Awaitable[object]]] = {
            "mcp_say": self._say,
            "mcp_unsubscribe": self._unsubscribe,
        }
        """What other workers tell this one, by the word that tells it."""

    def __len__(self) -> int:
        return len(self._held)

    def begun(self, call: Redacted) -> None:
        """A server took the subscription of this call."""
        routed = call.allowed.admitted.routed
        identified = routed.identified
        own = [key for key in self._held if key[0] == identified.client.session]
        if len(own) >= MOST_OF_SESSION:
            del self._held[own[0]]
        key = (identified.client.session, routed.item.server, routed.uri)
        self._held[key] = identified.message.params["uri"]
        if len(self._held) > MOST:
            self._held.popitem(last=False)

    def heard(self, server: str, session: str, params: dict[str, Any]) -> None:
        """A server says in its session for a client that a resource has changed: its client hears of what it
        subscribed to, under its own URI for it, and nothing else."""
        uri = self._held.get((session, server, str(params.get("uri"))))
        if uri is None:
            return
        told = {"uri": uri}
        if not self._streams.say(session, UPDATED, told):
            self._post.all("mcp_say", {"session": session, "method": UPDATED, "params": told})

    async def end(self, identified: Identified) -> None:
        """`resources/unsubscribe`: wherever it is kept."""
        federated, uri = not identified.caller.inbound.server, identified.message.params["uri"]
        server, own = uris.split(uri) if federated else (identified.caller.inbound.server, uri)
        body = {"session": identified.client.session, "server": server, "uri": own}
        await self._unsubscribe(body)
        self._post.all("mcp_unsubscribe", body)

    def over(self, session: str) -> None:
        """A session has ended."""
        for key in [key for key in self._held if key[0] == session]:
            del self._held[key]

    async def _say(self, body: dict[str, Any]) -> None:
        self._streams.say(body["session"], body["method"], body["params"])

    async def _unsubscribe(self, body: dict[str, Any]) -> None:
        key = (body["session"], body["server"], body["uri"])
        if self._held.pop(key, None) is not None:
            await self._cancel(*key)
