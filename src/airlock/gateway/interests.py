"""Which resources of modern servers somebody wants to hear of: each server is asked once, for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from airlock.gateway.forward import Upstream

Who = Callable[[str], None]
"""Told of a resource, by the server's own URI."""


@runtime_checkable
class Watching(Protocol):
    """A server that tells of changes of its resources."""

    def watch(self, uris: frozenset[str]) -> bool:
        """Hear of these instead of those named before; whether it can."""
        ...


class Interests:
    """Those of one worker. Used on the event loop only."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._held: dict[str, dict[str, list[Who]]] = {}

    def add(self, server: str, uri: str, who: Who) -> bool:
        """Have `who` told whenever this resource changes; whether the server can say that."""
        self._held.setdefault(server, {}).setdefault(uri, []).append(who)
        if self._ask(server):
            return True
        self.remove(server, uri, who)
        return False

    def remove(self, server: str, uri: str, who: Who) -> None:
        """The reverse of `add`."""
        uris = self._held[server]
        uris[uri].remove(who)
        if not uris[uri]:
            del uris[uri]
            self._ask(server)
        if not uris:
            del self._held[server]

    def heard(self, server: str, session: str, params: dict[str, Any]) -> None:
        """A server says that a resource has changed; what it says in the session of a client is not meant."""
        if not session:
            for who in list(self._held.get(server, {}).get(str(params.get("uri")), ())):
                who(str(params["uri"]))

    def _ask(self, server: str) -> bool:
        upstream = self._upstreams.get(server)
        return isinstance(upstream, Watching) and upstream.watch(frozenset(self._held[server]))
