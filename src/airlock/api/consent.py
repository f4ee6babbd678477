"""The browser's way through a login: the request, the person's consent, the provider, and back.

1 `GET /oauth/authorize`   the request is checked, and the person is asked; nothing is remembered but a cookie
2 `POST /oauth/consent`    the same browser agrees; only then does it get the cookie of the trip
3 `GET /oauth/callback`    the same browser comes back; its state counts once, at whichever worker
4                          the client gets a code, and the log has the row before that

Nobody is redirected to an address that a request brought along before a person has agreed to it: errors until
then are pages, so this is no open redirector for whoever registers a client.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from airlock.api import pages
from airlock.api.ledger import Ledger
from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused, Rejected
from airlock.core.sealed import Sealer
from airlock.identity import flow
from airlock.identity.claims import Claims
from airlock.identity.clients import Client
from airlock.identity.flow import Request, Trip
from airlock.identity.login import Login, digest, secret
from airlock.identity.oauth import parameters, with_parameters, wrong
from airlock.model.http import HttpRequest, HttpResponse
from airlock.store import login as grants
from airlock.store.database import Store

CODE = 60.0
"""Seconds for which a code counts; RFC 6749 section 4.1.2 allows ten minutes."""

SLOTS = 4
"""Logins that one browser can be on its way with: more cookies would not fit a request."""

OWN = "airlock"
"""The client that is a page of the gateway: no registration and no document is called so."""

_BROWSER = "airlock-browser"
_TRIP = "airlock-trip"
_RANDOM = re.compile(r"[A-Za-z0-9_-]{22}")
_STATE = re.compile(r"[A-Za-z0-9_-]{43}")


class Provider(Protocol):
    """The identity provider. Both raise `Rejected` and `Fault`."""

    async def leave(self, trip: Trip, state: str) -> str: ...
    async def who(self, trip: Trip, given: dict[str, str]) -> Claims: ...


class ConsentApi:
    """Handlers of the pages. `find` takes a client id and the address that asks; `session` is how many
    seconds a login lasts."""

    def __init__(
        self,
        *,
        issuer: str,
        provider: Provider,
        find: Callable[[str, str], Awaitable[Client]],
        sealer: Sealer,
        store: Store,
        ledger: Ledger,
        session: float,
        clock: Clock,
        person: Callable[[Login, str], str],
    ) -> None:
        """`person` says for a page of the gateway, in the browser with this random value, who signed in."""
        self._person = person
        self._issuer = issuer
        self._provider = provider
        self._find = find
        self._sealer = sealer
        self._store = store
        self._ledger = ledger
        self._session = session
        self._clock = clock
        self._secure = issuer.startswith("https:")

    async def authorize(self, request: HttpRequest) -> HttpResponse:
        """1. Ask the person."""
        try:
            given = parameters(request.query)
            client = await self._find(given.get("client_id", ""), request.source_ip)
            asked = flow.read(client, given, self._issuer)
            browser = self._browser(request) or secrets.token_urlsafe(16)
            field = flow.show(self._sealer, asked, browser, self._clock.wall())
        except (Refused, Fault) as failure:
            return await self._stop(request, failure)
        return pages.consent(asked, field, (self._cookie(_BROWSER, browser),))

    async def consent(self, request: HttpRequest) -> HttpResponse:
        """2. Go to the provider, or back to the client with the person's no."""
        try:
            given = form(request)
            if request.header("origin") not in (None, self._issuer):
                raise flow.mismatch()
            browser = self._browser(request)
            asked = flow.agreed(self._sealer, given.get("flow", ""), browser, self._clock.wall())
            if given.get("decision") != "allow":
                return pages.onward(self._answer(asked, error="access_denied"))
            state = secret()
            trip, cookie = flow.depart(self._sealer, asked, state, self._clock.wall())
            there = await self._provider.leave(trip, state)
        except (Refused, Fault) as failure:
            return await self._stop(request, failure)
        return pages.onward(there, (self._cookie(_slot(state), cookie),))

    async def sign_in(self, there: str, browser: str) -> HttpResponse:
        """Send a person to the provider who has to be known to a page of the gateway at `there`: the browser
        with this random value comes back to it with `person`."""
        state = secret()
        asked = Request(
            client=OWN, name="", redirect_uri=there, state=browser, challenge="", resource="", scopes=()
        )
        trip, cookie = flow.depart(self._sealer, asked, state, self._clock.wall())
        url = await self._provider.leave(trip, state)
        return pages.redirect(url, (self._cookie(_slot(state), cookie),))

    async def callback(self, request: HttpRequest) -> HttpResponse:
        """3. Who came back, for which client."""
        try:
            given = parameters(request.query)
            state = given.get("state", "")
            if not _STATE.fullmatch(state):
                raise flow.mismatch()
            cookie = cookies(request).get(self._name(_slot(state)), "")
            trip = flow.arrive(self._sealer, cookie, state, self._clock.wall())
        except (Refused, Fault) as failure:
            return await self._stop(request, failure)
        forget = (self._cookie(_slot(state), ""),)
        try:
            there = await self._arrived(request, trip, state, given)
        except Fault as failure:
            await self._ledger.refused(request, failure, None)
            return pages.failed(503, failure.text, failure.reason, forget)
        except Rejected as refused:
            await self._ledger.refused(request, refused, None)
            if refused.reason == "login_provider_refused":
                return pages.redirect(self._answer(trip.request, error=_word(refused)), forget)
            return pages.failed(refused.http, refused.text, refused.reason, forget)
        return pages.redirect(there, forget)

    async def _arrived(self, request: HttpRequest, trip: Trip, state: str, given: dict[str, str]) -> str:
        """4. The client's redirect URI with a code. Raises `Rejected` and `Fault`."""
        grant, now = digest(state)[:32], self._clock.wall()
        if not await asyncio.to_thread(
            grants.claim, self._store, grant=grant, until=now + flow.PATIENCE, now=now
        ):
            raise wrong("access_denied", "login_state_used", "This login was finished before.")
        claims = await self._provider.who(trip, given)
        who = _login(trip.request, claims)
        if who.client == OWN:
            return with_parameters(who.redirect_uri, {"person": self._person(who, trip.request.state)})
        code, now = secret(), self._clock.wall()
        await asyncio.to_thread(
            grants.issue_code,
            self._store,
            grant=grant,
            code=digest(code),
            login=msgspec.json.encode(who).decode(),
            until=now + CODE,
            ends=now + self._session,
        )
        await self._ledger.login(request, who)
        return self._answer(trip.request, code=code)

    def _answer(self, asked: Request, **values: str) -> str:
        """The redirect URI with an answer; `iss` tells the client whose answer it is (RFC 9207)."""
        state = {"state": asked.state} if asked.state else {}
        return with_parameters(asked.redirect_uri, {**values, **state, "iss": self._issuer})

    async def _stop(self, request: HttpRequest, failure: Refused | Fault) -> HttpResponse:
        await self._ledger.turned_away(request, failure)
        status = failure.http if isinstance(failure, Rejected) else 503 if isinstance(failure, Fault) else 400
        return pages.failed(status, failure.text, failure.reason)

    def _browser(self, request: HttpRequest) -> str:
        """The random value of this browser; empty where it has none of ours."""
        value = cookies(request).get(self._name(_BROWSER), "")
        return value if _RANDOM.fullmatch(value) else ""

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self._secure else name

    def _cookie(self, name: str, value: str) -> tuple[str, str]:
        """A cookie of this host alone, out of reach of scripts; an empty one is taken back."""
        age = flow.PATIENCE if value else 0
        secure = "; Secure" if self._secure else ""
        text = f"{self._name(name)}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"
        return ("set-cookie", text)


def form(request: HttpRequest) -> dict[str, str]:
    """The fields of a form. Raises `Rejected`."""
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise wrong("invalid_request", "login_request_invalid", "Send application/x-www-form-urlencoded.")
    return parameters(request.body.decode("latin-1"))


def cookies(request: HttpRequest) -> dict[str, str]:
    """The cookies of a request; one that came twice counts as missing: which of them is ours?"""
    found: dict[str, str] = {}
    doubled: set[str] = set()
    for header, text in request.headers:
        for pair in text.split(";") if header == "cookie" else ():
            name, _, value = pair.strip().partition("=")
            if name in found:
                doubled.add(name)
            found[name] = value
    return {name: value for name, value in found.items() if name not in doubled}


def _slot(state: str) -> str:
    return f"{_TRIP}-{int(digest(state)[:8], 16) % SLOTS}"


def _word(refused: Rejected) -> str:
    return str((refused.data or {}).get("error", "server_error"))


def _login(asked: Request, claims: Claims) -> Login:
    """What the claims of the provider make of the request. Raises `Rejected` where they name nobody."""
    if not claims.sub or not claims.tenant:
        text = "The identity provider does not say who you are, or which tenant you belong to."
        raise wrong("access_denied", "login_identity_invalid", text)
    return Login(
        client=asked.client,
        redirect_uri=asked.redirect_uri,
        challenge=asked.challenge,
        resource=asked.resource,
        scopes=asked.scopes,
        issuer=claims.iss,
        subject=claims.sub,
        tenant=claims.tenant,
        roles=claims.roles,
        groups=claims.groups,
        acr=claims.acr or "",
        auth_time=None if claims.auth_time is None else int(claims.auth_time),
    )
