"""The two sides of a login in front of a real store, with a provider that knows everybody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc.jwk import OKPKey

from airlock.api.consent import ConsentApi
from airlock.api.ledger import Ledger
from airlock.api.oauth import OAuthApi
from airlock.core.errors import AuditFault, Fault, Refused, Rejected
from airlock.identity.claims import Claims
from airlock.identity.clients import Client, name_of
from airlock.identity.documents import unknown
from airlock.identity.flow import Trip
from airlock.identity.login import LoginIssuer
from airlock.identity.refusals import missing
from airlock.model.entry import Event
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.principal import Principal
from airlock.store.database import Store
from tests.gateway.parts import NOW, HandClock
from tests.identity.login_parts import CALLBACK, GATEWAY, PROVIDER, SEALER, VERIFIER, given

THERE = f"{PROVIDER}/auth"
FORM = ("content-type", "application/x-www-form-urlencoded")
CLIENT_ID = "theirs"
CLIENT = Client(id=name_of(CLIENT_ID), name="An App", redirect_uris=(CALLBACK,))


class World:
    """One gateway on a store. `failure` is what the provider raises; `broken` what the log does."""

    def __init__(self, store: Store, *, gateway: str = GATEWAY, registration: bool = True) -> None:
        self.store = store
        self.clock = HandClock()
        self.rows: list[Event] = []
        self.strangers: list[str] = []
        self.lines: list[tuple[str, Mapping[str, object]]] = []
        self.claims = Claims(iss=PROVIDER, aud="airlock", sub="alice", tenant="acme", roles=("developer",))
        self.failure: Refused | Fault | None = None
        self.away: Fault | None = None
        self.broken = False
        self.principal: Principal | None = None
        self.paths: list[str] = []
        self.revoked: set[str] = set()
        """Grants of which a token was revoked."""
        self.ledger = Ledger(seal=self.seal, stranger=self.stranger, clock=self.clock, log=self)
        key = OKPKey.generate_key("Ed25519", private=True)
        issuer = LoginIssuer(key=key, public_url=gateway, access=600)
        self.consent = ConsentApi(
            issuer=issuer.identifier,
            provider=self,
            find=self.find,
            sealer=SEALER,
            store=store,
            ledger=self.ledger,
            session=3600,
            clock=self.clock,
            person=lambda who, browser: f"{who.subject}.{browser}",
        )
        self.oauth = OAuthApi(
            issuer=issuer,
            sealer=SEALER,
            store=store,
            ledger=self.ledger,
            identify=self.identify,
            revoked=self.revoked.__contains__,
            registration=registration,
            documents=True,
            schemes=(),
            clock=self.clock,
        )

    async def find(self, client_id: str, asking: str) -> Client:
        if client_id != CLIENT_ID:
            raise unknown()
        return CLIENT

    async def leave(self, trip: Trip, state: str) -> str:
        if self.away is not None:
            raise self.away
        return f"{THERE}?state={state}"

    async def who(self, trip: Trip, given: Mapping[str, str]) -> Claims:
        if self.failure is not None:
            raise self.failure
        return self.claims

    async def seal(self, event: Event) -> None:
        if self.broken:
            raise AuditFault("the disk is full")
        self.rows.append(event)

    async def stranger(self, request: HttpRequest, failure: Refused | Fault) -> None:
        self.strangers.append(failure.reason)

    async def identify(self, request: HttpRequest, path: str) -> Principal:
        self.paths.append(path)
        if self.principal is None:
            raise missing()
        return self.principal

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    warning = error = info


def asked(
    path: str,
    *,
    method: str = "GET",
    query: str = "",
    body: bytes = b"",
    headers: tuple[tuple[str, str], ...] = (),
) -> HttpRequest:
    return HttpRequest(
        method=method,
        path=path,
        params={},
        query=query,
        headers=headers,
        authorization=None,
        source_ip="203.0.113.9",
        body=body,
    )


def form(path: str, fields: Mapping[str, str], *headers: tuple[str, str]) -> HttpRequest:
    return asked(path, method="POST", body=urlencode(fields).encode(), headers=(FORM, *headers))


def authorize(**changed: str | None) -> HttpRequest:
    return asked("/oauth/authorize", query=urlencode(given(**changed)))


def cookie(response: HttpResponse) -> tuple[str, str]:
    """The cookie that a response sets, as the browser sends it back."""
    (line,) = [value for name, value in response.headers if name == "set-cookie"]
    return ("cookie", line.partition(";")[0])


def field(response: HttpResponse) -> str:
    found = re.search(rb'name="flow" value="([^"]*)"', response.body)
    assert found is not None, response.body
    return unescape(found[1].decode())


def onward(response: HttpResponse) -> str:
    """Where a page or a redirect leads; empty where it leads nowhere."""
    locations = [value for name, value in response.headers if name == "location"]
    found = re.search(rb'content="0;url=([^"]*)"', response.body)
    return locations[0] if locations else unescape(found[1].decode()) if found else ""


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


async def agreed(world: World, **changed: str | None) -> tuple[str, tuple[str, str]]:
    """A person said yes: the state that the provider gives back, and the cookie of the trip."""
    shown = await world.consent.authorize(authorize(**changed))
    allowed = await world.consent.consent(
        form("/oauth/consent", {"flow": field(shown), "decision": "allow"}, cookie(shown))
    )
    return query(onward(allowed))["state"], cookie(allowed)


async def back(world: World, state: str, trip: tuple[str, str], **more: str) -> HttpResponse:
    """The provider sends the person back."""
    encoded = urlencode({"code": "theirs", "state": state, **more})
    return await world.consent.callback(asked("/oauth/callback", query=encoded, headers=(trip,)))


async def code(world: World, **changed: str | None) -> str:
    """Somebody logged in: the code that the client gets."""
    return query(onward(await back(world, *await agreed(world, **changed))))["code"]


async def exchanged(world: World, code: str, **changed: str) -> HttpResponse:
    fields = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        **changed,
    }
    return await world.oauth.token(form("/oauth/token", fields))


async def refreshed(world: World, token: str, **changed: str) -> HttpResponse:
    fields = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": token, **changed}
    return await world.oauth.token(form("/oauth/token", fields))


def somebody(issuer: str, token_id: str) -> Principal:
    return Principal(
        issuer=issuer, subject="alice", tenant="acme", token_id=token_id, expires_at=int(NOW) + 600
    )


def rejected(error: str, reason: str) -> Rejected:
    return Rejected(400, -32600, reason, "No.", data={"error": error})
