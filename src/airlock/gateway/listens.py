"""`subscriptions/listen`: a modern client hears that what it may know of has changed, until one side ends it.

1 the client takes a stream, and has not too many of them
2 it hears what of its wishes is granted: lists, and resources that it may see and whose server tells
3 whenever the world changes: each list that is another one for this caller is said to have changed; whoever
  could not begin now ends (`Audience`)

Every message names the subscription by the id of the request. The end is an empty result.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import msgspec

from airlock.core.errors import Effect, Refused, Rejected, Stage
from airlock.gateway.audience import Audience
from airlock.gateway.interests import Interests
from airlock.gateway.resolve import item_for_uri
from airlock.mcp import headers, jsonrpc, uris
from airlock.mcp.names import Kind
from airlock.model.call import Authenticated, Identified, Inbound, Reply, Routed
from airlock.model.server import Item
from airlock.model.snapshot import Current
from airlock.model.upstream import Notify

LISTEN = "subscriptions/listen"

MOST_OF_PRINCIPAL = 8
"""Streams of one principal in one worker."""

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"

KINDS: Mapping[str, tuple[str, tuple[Kind, ...]]] = {
    "toolsListChanged": ("notifications/tools/list_changed", ("tool",)),
    "promptsListChanged": ("notifications/prompts/list_changed", ("prompt",)),
    "resourcesListChanged": ("notifications/resources/list_changed", ("resource", "template")),
}
"""What a client can wish for -> how it is told, and which lists that are."""

Lists = dict[str, tuple[tuple[Item, ...], ...]]
"""By wish, what the caller sees now."""

Permitted = Callable[[Routed], bool]
"""Whether a caller may hear of changes of a resource."""


class Record(Protocol):
    """The part of the audit envelope that listening needs."""

    async def listed(self, caller: Identified, metadata: dict[str, Any]) -> None: ...


class _Stream:
    """One client that listens. A `Hearer`."""

    __slots__ = ("_meta", "_notify", "changed", "identified", "over")

    def __init__(self, identified: Identified, notify: Notify) -> None:
        self.identified = identified
        self.changed = asyncio.Event()
        self.over = False
        self._notify = notify
        self._meta = {SUBSCRIPTION: identified.id}

    def say(self, method: str, params: dict[str, Any]) -> None:
        self._notify(method, {**params, "_meta": self._meta})

    @property
    def inbound(self) -> Inbound:
        return self.identified.caller.inbound

    def may(self, caller: Authenticated) -> bool:
        del caller
        return True

    def leave(self) -> None:
        if self.inbound.stream is not None:
            self.inbound.stream.conclude(self.end())

    def put_away(self) -> None:
        self.over = True
        self.changed.set()

    def look(self) -> None:
        self.changed.set()

    def end(self) -> Reply:
        result = {"resultType": "complete", "_meta": self._meta}
        return Reply(body=jsonrpc.result(self.identified.id or "", result))


class Listens:
    """Those of one worker. Used on the event loop only."""

    def __init__(
        self,
        *,
        audience: Audience,
        visible: Callable[[Identified, Kind], Awaitable[tuple[Item, ...]]],
        permitted: Permitted,
        interests: Interests,
        current: Current,
        record: Record,
    ) -> None:
        self._audience = audience
        self._visible = visible
        self._permitted = permitted
        self._interests = interests
        self._record = record
        self._of: Counter[str] = Counter()
        self._current = current

    def __len__(self) -> int:
        return self._of.total()

    def drain(self) -> None:
        """End all of them, and let none begin."""
        self._audience.drain()

    async def __call__(self, identified: Identified, notify: Notify) -> Reply:
        """The end of the subscription; what is heard before goes to `notify`."""
        if not headers.accepts(identified.caller.inbound.headers).sse:  # 1
            text = "A subscription is a stream: Accept must allow text/event-stream."
            raise Rejected(406, -32600, "not_acceptable", text)
        key = identified.caller.principal.key
        if self._of[key] >= MOST_OF_PRINCIPAL:
            text = f"One principal may listen on {MOST_OF_PRINCIPAL} streams."
            raise Refused(Stage.ADMIT, 42901, "rate_limited", text, retry_after=5, effect=Effect.NONE)
        stream = _Stream(identified, notify)
        self._of[key] += 1
        self._audience.enter(stream)
        try:
            with ExitStack() as held:
                return await self._listen(stream, held)
        finally:
            self._audience.forget(stream)
            self._of[key] -= 1
            if not self._of[key]:
                del self._of[key]

    async def _listen(self, stream: _Stream, held: ExitStack) -> Reply:
        wished: dict[str, Any] = stream.identified.message.params["notifications"]
        granted: dict[str, Any] = {name: True for name in KINDS if wished.get(name) is True}
        watched = [
            uri
            for uri in dict.fromkeys(wished.get("resourceSubscriptions", ()))
            if self._watch(stream, uri, held)
        ]
        await self._record.listed(stream.identified, {"lists": len(granted), "resources": len(watched)})
        seen = await self._lists(stream.identified, granted)
        if watched:
            granted["resourceSubscriptions"] = watched
        stream.say(ACKNOWLEDGED, {"notifications": granted})  # 2
        if self._audience.draining or self._current.get() is not stream.identified.caller.snapshot:
            stream.changed.set()  # the world changed before this stream was among those that are told
        while True:
            await stream.changed.wait()  # 3
            stream.changed.clear()
            now = None if stream.over else self._now(stream.identified)
            if now is None:
                return stream.end()
            for name, items in (await self._lists(now, granted)).items():
                if items != seen[name]:
                    seen[name] = items
                    stream.say(KINDS[name][0], {})

    def _now(self, identified: Identified) -> Identified | None:
        """The caller as the world sees it now; None where nothing would be opened for it."""
        caller = self._audience.judge(identified.caller.inbound)
        return None if caller is None else msgspec.structs.replace(identified, caller=caller)

    async def _lists(self, identified: Identified, granted: Mapping[str, Any]) -> Lists:
        return {
            name: tuple([await self._visible(identified, kind) for kind in KINDS[name][1]])
            for name in granted
            if name in KINDS
        }

    def _watch(self, stream: _Stream, uri: str, held: ExitStack) -> bool:
        """Have the stream hear of a resource, under the URI that its client knows."""
        caller = stream.identified.caller
        only, key = caller.inbound.server, caller.principal.key
        name, own = (only, uri) if only else uris.split(uri)
        server = caller.snapshot.registry.servers.get(name)
        item = item_for_uri(server.catalog, own) if server is not None and server.catalog else None
        if server is None or item is None or server.entry.tenant not in ("", caller.principal.tenant):
            return False
        routed = Routed(
            identified=stream.identified, server=server, item=item, arguments={"uri": own}, uri=own
        )

        def told(_: str) -> None:
            if self._now(stream.identified) is not None:
                stream.say(UPDATED, {"uri": uri})

        if not self._permitted(routed) or not self._interests.add(name, own, told, key):
            return False
        held.callback(self._interests.remove, name, own, told, key)
        return True
