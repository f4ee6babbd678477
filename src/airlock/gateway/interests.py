"""Which resources of modern servers somebody wants to hear of: each server is asked once, for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from airlock.gateway.forward import Upstream
from airlock.model.upstream import OF_PRINCIPAL

Who = Callable[[str], None]
"""Told of a resource, by the server's own URI."""


@runtime_checkable
class Watching(Protocol):
    """A server that tells of changes of its resources."""

    def watch(self, uris: frozenset[str]) -> bool:
        """Hear of these instead of those named before; whether it can."""
        ...


@runtime_checkable
class Separate(Protocol):
    """A server that has a process for each principal."""

    def watch_own(self, uris: Mapping[str, frozenset[str]]) -> None:
        """Hear of these, by principal, on its own process, instead of those named before."""
        ...


class Interests:
    """Those of one worker. Used on the event loop only."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._held: dict[str, dict[str, list[tuple[str, Who]]]] = {}

    def add(self, server: str, uri: str, who: Who, principal: str = "") -> bool:
        """Have `who`, a stream of this principal, told whenever this resource changes; whether the server can
        say that."""
        self._held.setdefault(server, {}).setdefault(uri, []).append((principal, who))
        if self._ask(server):
            return True
        self.remove(server, uri, who, principal)
        return False

    def remove(self, server: str, uri: str, who: Who, principal: str = "") -> None:
        """The reverse of `add`."""
        uris = self._held[server]
        uris[uri].remove((principal, who))
        if not uris[uri]:
            del uris[uri]
        self._ask(server)
        if not uris:
            del self._held[server]

    def heard(self, server: str, session: str, params: dict[str, Any]) -> None:
        """A server says that a resource has changed, to all or on the process of a principal; what it says in
        the session of a client is not meant."""
        if session and not session.startswith(OF_PRINCIPAL):
            return
        for principal, who in list(self._held.get(server, {}).get(str(params.get("uri")), ())):
            if session in {"", OF_PRINCIPAL + principal}:
                who(str(params["uri"]))

    def _ask(self, server: str) -> bool:
        upstream = self._upstreams.get(server)
        held = self._held[server]
        if isinstance(upstream, Separate):
            principals = {principal for each in held.values() for principal, _ in each}
            upstream.watch_own({one: _of(held, one) for one in principals})
        return isinstance(upstream, Watching) and upstream.watch(frozenset(held))


def _of(held: Mapping[str, list[tuple[str, Who]]], principal: str) -> frozenset[str]:
    """The resources of which a principal wants to hear."""
    return frozenset(uri for uri, each in held.items() if any(whose == principal for whose, _ in each))
