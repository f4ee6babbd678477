"""The browser's way through a login at a server: the link, a person's consent, the server's login, and back.

1 `GET /api/v1/oauth/connect`   the link is read, and its person asked; whoever has no token of their own
                                signs in at the identity provider of the gateway first
2 `POST /api/v1/oauth/connect`  the same browser agrees, and shows to be that person; only then does it get
                                the cookie that the login is bound to
3 `GET /api/v1/oauth/callback`  the same browser comes back from the authorization server

A link that was sent to somebody else is of no use: its reader is not its person. Nobody is redirected there:
the page names the authorization server, and a person goes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from urllib.parse import urlencode

import msgspec

from airlock.api import connect_pages, pages
from airlock.api.consent import cookies, form
from airlock.api.ledger import Ledger
from airlock.core.clock import Clock
from airlock.core.errors import Fault, LinkRefused, Refused, Rejected, Unauthenticated
from airlock.core.sealed import SealBroken, Sealer
from airlock.gateway.tickets import CONNECT, Ticket, Tickets
from airlock.identity.oauth import parameters
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.link import Link, Who
from airlock.model.principal import Principal

PATIENCE = 600
"""Seconds for a person to agree, and again to log in."""

_BROWSER, _TRIP = "airlock-connect", "airlock-link"
_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}")
_FORM, _PERSON = "connect form", "connect person"


class Links(Protocol):
    """Logins at servers. Both raise `LinkRefused` and `Fault`."""

    async def begin(self, *, server: str, who: Who, browser: str) -> str: ...
    async def finish(self, given: Mapping[str, str], *, browser: str) -> Link: ...


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a page asks, and of whom."""

    ticket: Ticket
    proven: bool
    """Whether the person signed in already."""


class _Person(msgspec.Struct, frozen=True, kw_only=True):
    owner: str
    until: int


class SignedIn:
    """Says for a page, in one browser, who signed in at the identity provider."""

    def __init__(self, *, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    def seal(self, owner: str, browser: str) -> str:
        """For the browser with this random value. `owner` is `Principal.key`."""
        person = _Person(owner=owner, until=int(self._clock.wall()) + PATIENCE)
        return self._sealer.seal(_PERSON, msgspec.json.encode(person), browser.encode())

    def read(self, text: str, browser: str) -> str:
        """The owner. Raises `LinkRefused`."""
        try:
            person = msgspec.json.decode(self._sealer.open(_PERSON, text, browser.encode()), type=_Person)
        except (SealBroken, msgspec.DecodeError, UnicodeEncodeError) as broken:
            raise _mismatch() from broken
        if person.until <= self._clock.wall():
            raise _mismatch()
        return person.owner


SignIn = Callable[[str, str], Awaitable[HttpResponse]]
"""Sends a browser to the identity provider; it comes back to this address with who it is, sealed for this
random value of the browser."""


class ConnectApi:
    """Handlers of the pages."""

    def __init__(
        self,
        *,
        public_url: str,
        links: Links,
        tickets: Tickets,
        identify: Callable[[HttpRequest], Awaitable[Principal]],
        issuers: Callable[[str], tuple[str, ...]],
        document: Mapping[str, object],
        sign_in: SignIn | None,
        signed_in: SignedIn,
        sealer: Sealer,
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        """`identify` verifies a bearer token and raises `Refused`; `issuers` are those of a server, as far as
        the operator names them; `document` is what authorization servers read of the gateway."""
        self._origin = public_url.rstrip("/")
        self._links = links
        self._tickets = tickets
        self._identify = identify
        self._issuers = issuers
        self._document = document
        self._sign_in = sign_in
        self._signed_in = signed_in
        self._sealer = sealer
        self._ledger = ledger
        self._clock = clock
        self._secure = public_url.startswith("https:")

    async def document(self, request: HttpRequest) -> HttpResponse:
        """What the gateway says of itself to authorization servers."""
        del request
        return json_response(200, self._document)

    async def ask(self, request: HttpRequest) -> HttpResponse:
        """1. Ask the person."""
        try:
            given = parameters(request.query)
            ticket = self._tickets.read(given.get("ticket", ""))
            browser = self._value(request, _BROWSER) or secrets.token_urlsafe(32)
            kept = self._cookie(_BROWSER, browser)
            sign_in = self._sign_in if ticket.auth == "login" else None
            if sign_in is not None and "person" not in given:
                if "error" in given:
                    raise LinkRefused("link_denied", "The identity provider did not let you in.")
                there = f"{self._origin}{CONNECT}?{urlencode({'ticket': given['ticket']})}"
                answer = await sign_in(there, browser)
                return msgspec.structs.replace(answer, headers=(*answer.headers, kept))
            if sign_in is not None:
                _same(self._signed_in.read(given["person"], browser), ticket)
        except (Refused, Fault) as failure:
            return await self._stop(request, failure)
        proven = sign_in is not None
        shown = Shown(ticket=ticket, proven=proven)
        field = self._sealer.seal(_FORM, msgspec.json.encode(shown), browser.encode())
        return connect_pages.ask(ticket, self._issuers(ticket.server), field, (kept,), proven=proven)

    async def agree(self, request: HttpRequest) -> HttpResponse:
        """2. Tell the person where to log in."""
        try:
            given = form(request)
            if request.header("origin") not in (None, self._origin):
                raise _mismatch()
            ticket = await self._agreed(request, given)
            trip = self._value(request, _TRIP) or secrets.token_urlsafe(32)
            there = await self._links.begin(server=ticket.server, who=ticket.who, browser=trip)
        except (Refused, Fault) as failure:
            return await self._stop(request, failure)
        return connect_pages.onward(ticket.server, there, (self._cookie(_TRIP, trip),))

    async def callback(self, request: HttpRequest) -> HttpResponse:
        """3. What came of it."""
        try:
            given = parameters(request.query)
            link = await self._links.finish(given, browser=self._value(request, _TRIP))
        except (Refused, Fault) as failure:
            return await self._stop(request, failure)
        return connect_pages.done(link)

    async def _agreed(self, request: HttpRequest, given: Mapping[str, str]) -> Ticket:
        """The link that this person agreed to. Raises `Refused` for anybody else."""
        browser = self._value(request, _BROWSER)
        try:
            field = self._sealer.open(_FORM, given.get("flow", ""), browser.encode())
            shown = msgspec.json.decode(field, type=Shown)
        except (SealBroken, msgspec.DecodeError, UnicodeEncodeError) as broken:
            raise _mismatch() from broken
        if shown.ticket.until + PATIENCE <= self._clock.wall():
            raise LinkRefused("link_ticket_expired", "This page is too old. Ask for another link.")
        if not shown.proven:
            token = given.get("token", "").strip().removeprefix("Bearer ")
            asking = msgspec.structs.replace(request, authorization=f"Bearer {token}", body=b"")
            _same(Who.of(await self._identify(asking)).owner, shown.ticket)
        return shown.ticket

    async def _stop(self, request: HttpRequest, failure: Refused | Fault) -> HttpResponse:
        await self._ledger.turned_away(request, failure)
        status = 503 if isinstance(failure, Fault) else 400
        if isinstance(failure, Rejected | Unauthenticated):
            status = failure.http
        return pages.failed(status, failure.text, failure.reason)

    def _value(self, request: HttpRequest, name: str) -> str:
        """A random value of this browser; empty where it has none of ours."""
        value = cookies(request).get(self._name(name), "")
        return value if _RANDOM.fullmatch(value) else ""

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self._secure else name

    def _cookie(self, name: str, value: str) -> tuple[str, str]:
        secure = "; Secure" if self._secure else ""
        text = f"{self._name(name)}={value}; Path=/; Max-Age={PATIENCE}; HttpOnly; SameSite=Lax{secure}"
        return ("set-cookie", text)


def _same(owner: str, ticket: Ticket) -> None:
    if not secrets.compare_digest(owner, ticket.who.owner):
        text = "This link was made for somebody else: connect with a link of your own."
        raise LinkRefused("link_person_mismatch", text)


def _mismatch() -> LinkRefused:
    text = "This page was not shown to this browser. Open the link again."
    return LinkRefused("link_browser_mismatch", text)
