"""Links by which a person logs in at a server: whose they are is sealed in them, and they last for minutes.

A link alone proves nothing: who opens it has to show to be the person that it was made for. Otherwise whoever
sends his own link to somebody else would get the account of that person at the server.
"""

from __future__ import annotations

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import LinkRefused
from airlock.core.sealed import SealBroken, Sealer
from airlock.model.link import Who
from airlock.model.principal import Principal

CONNECT = "/api/v1/oauth/connect"

LIFETIME = 600
"""Seconds for which a link may be opened."""

_PURPOSE = "connect ticket"


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What a link says."""

    server: str
    who: Who
    auth: str
    """How its person is known to the gateway (`Principal.auth`)."""
    until: int
    """Unix seconds."""


class Tickets:
    """Makes and reads links. Stateless: every worker can do both."""

    def __init__(self, *, sealer: Sealer, public_url: str, clock: Clock) -> None:
        self._sealer = sealer
        self._base = f"{public_url.rstrip('/')}{CONNECT}?ticket="
        self._clock = clock

    def url(self, principal: Principal, server: str) -> str:
        """The link for a caller and a server."""
        until = int(self._clock.wall()) + LIFETIME
        ticket = Ticket(server=server, who=Who.of(principal), auth=principal.auth, until=until)
        return self._base + self._sealer.seal(_PURPOSE, msgspec.json.encode(ticket))

    def read(self, text: str) -> Ticket:
        """What a link says that has not expired. Raises `LinkRefused`."""
        try:
            ticket = msgspec.json.decode(self._sealer.open(_PURPOSE, text), type=Ticket)
        except (SealBroken, msgspec.DecodeError, UnicodeEncodeError) as broken:
            raise LinkRefused("link_ticket_invalid", "This link is not one of this gateway.") from broken
        if ticket.until <= self._clock.wall():
            text = "This link is too old. Ask your application for another one."
            raise LinkRefused("link_ticket_expired", text)
        return ticket
