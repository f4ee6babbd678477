"""What one life of a stdio server is asked to tell of: its lists, and the resources that somebody watches.

The process is shared by all callers, so it is asked once for each resource. A modern server gets one
subscription for everything; a changed one begins before the old one ends, so that nothing is missed. A legacy
server tells of its lists unasked, and of each resource after `resources/subscribe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airlock.upstream.calls import Call
from airlock.upstream.dialogue import updates
from airlock.upstream.introduce import Question

if TYPE_CHECKING:
    from airlock.upstream.child import Child
    from airlock.upstream.dialogue import Peer

KINDS = ("tools", "prompts", "resources")


class Watches:
    """Those of one life."""

    def __init__(self, *, child: Child, peer: Peer) -> None:
        self._child = child
        self._peer = peer
        self._uris: frozenset[str] = frozenset()
        self._listening: Call | None = None

    def want(self, uris: frozenset[str]) -> None:
        """Have it tell of these resources, and of no others."""
        wanted = uris if updates(self._peer) else frozenset[str]()
        before, self._uris = self._uris, wanted
        if not self._peer.modern:
            for uri in sorted(wanted - before):
                self._send("resources/subscribe", {"uri": uri})
            for uri in sorted(before - wanted):
                self._send("resources/unsubscribe", {"uri": uri})
        elif wanted != before or self._listening is None:
            self._listen()

    def _listen(self) -> None:
        offered = self._peer.capabilities or {}
        wished: dict[str, Any] = {f"{kind}ListChanged": True for kind in KINDS if kind in offered}
        if self._uris:
            wished["resourceSubscriptions"] = sorted(self._uris)
        before, self._listening = self._listening, None
        if wished:
            self._listening = self._send("subscriptions/listen", {"notifications": wished})
        if before is not None:
            self._child.cancel(before)

    def _send(self, method: str, params: dict[str, Any]) -> Call:
        call = Call(sink=Question(), method=method, params=msgspec.json.encode(params))
        self._child.send(call)
        return call
