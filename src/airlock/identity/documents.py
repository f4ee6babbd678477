"""Finding the client behind a `client_id`: one that registered here, or one that a document describes.

Documents are fetched for strangers, so it is bounded what they can make us do: few fetches at a time, none
twice in a short while whatever came of it, and a memory of fixed size.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from airlock.core.clock import Clock
from airlock.core.errors import Fault, Rejected
from airlock.core.sealed import Sealer
from airlock.identity import clients
from airlock.identity.clients import Client
from airlock.identity.oauth import wrong
from airlock.identity.relying import Answer
from airlock.mcp import strict

FRESH = 600.0
"""Seconds for which a document counts."""

FAILED = 30.0
"""Seconds for which a failure counts."""

REMEMBERED = 256
"""Documents and failures of one process."""

AT_ONCE = 16
"""Fetches of one process."""

AT_ONCE_FOR_ONE = 2
"""Those of them for one address: documents that never end are no way to keep others from logging in."""


class Directory:
    """Looks clients up. `get` is None where documents are switched off; it raises `Fault` and `Rejected`."""

    def __init__(
        self,
        *,
        sealer: Sealer,
        get: Callable[[str], Awaitable[Answer]] | None,
        origins: Collection[str],
        schemes: Collection[str],
        clock: Clock,
    ) -> None:
        self._sealer = sealer
        self._get = get
        self._origins = origins
        self._schemes = schemes
        self._clock = clock
        self._known: dict[str, tuple[float, Client | Rejected]] = {}
        self._fetching: list[str] = []

    async def find(self, client_id: str, asking: str) -> Client:
        """The client; `asking` is the address that wants to know.

        Raises `Rejected` for an unknown one or a document that cannot be used.
        """
        registered = clients.registered(self._sealer, client_id)
        if registered is not None:
            return registered
        if self._get is None or not clients.is_document(client_id, self._origins):
            raise unknown()
        until, found = self._known.get(client_id, (0.0, unknown()))
        if self._clock.monotonic() >= until:
            found = await self._fetch(client_id, asking, self._get)
        if isinstance(found, Rejected):
            raise found
        return found

    async def _fetch(
        self, url: str, asking: str, get: Callable[[str], Awaitable[Answer]]
    ) -> Client | Rejected:
        if len(self._fetching) >= AT_ONCE or self._fetching.count(asking) >= AT_ONCE_FOR_ONE:
            text = "Too many clients are being looked up. Try again in a moment."
            raise wrong("temporarily_unavailable", "login_busy", text, http=503)
        self._fetching.append(asking)
        try:
            found = await self._described(url, get)
        except Rejected as unusable:
            found = unusable
        finally:
            self._fetching.remove(asking)
        while len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        stays = FAILED if isinstance(found, Rejected) else FRESH
        self._known[url] = (self._clock.monotonic() + stays, found)
        return found

    async def _described(self, url: str, get: Callable[[str], Awaitable[Answer]]) -> Client:
        try:
            answer = await get(url)
        except Fault as failed:
            raise unknown() from failed
        if answer.status != 200:
            raise unknown()
        try:
            document = strict.parse(answer.body)
        except Rejected as broken:
            raise unknown() from broken
        return clients.described(url, document, self._schemes)


def unknown(reason: str = "login_client_unknown") -> Rejected:
    """One answer: what the fetch met is for the operator, not for whoever chose the address."""
    text = "client_id is unknown here. Register the client, or use the URL of its metadata document."
    return wrong("invalid_client", reason, text)
