"""The client's side of a login: metadata (RFC 8414), registration (RFC 7591), tokens, and the end of it.

Every client is public and proves itself by PKCE and by what only it was sent. A code or a refresh token that
comes twice ends the login that it belongs to, with every token of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import msgspec

from airlock.api.consent import form
from airlock.api.ledger import Ledger
from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused, Rejected, Unauthenticated
from airlock.core.sealed import Sealer
from airlock.identity import claims, clients, flow, oauth, resources
from airlock.identity.challenge import challenge
from airlock.identity.login import Login, LoginIssuer, Minted, digest, grant_of
from airlock.identity.oauth import wrong
from airlock.identity.scopes import missing_scopes
from airlock.mcp import strict
from airlock.model.http import Headers, HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from airlock.store import login as grants
from airlock.store.database import Store
from airlock.store.login import Grant, Issued, Outcome

_decode = msgspec.json.Decoder(Login).decode

_NO_STORE: Headers = (("pragma", "no-cache"),)
"""RFC 6749 section 5.1, beside `cache-control`."""


class OAuthApi:
    """Handlers for clients. `schemes` are those of private-use redirect URIs that are allowed; `revoked` says
    whether a token of this grant was revoked by an operator."""

    def __init__(
        self,
        *,
        issuer: LoginIssuer,
        sealer: Sealer,
        store: Store,
        ledger: Ledger,
        identify: Callable[[HttpRequest, str], Awaitable[Principal]],
        revoked: Callable[[str], bool],
        registration: bool,
        documents: bool,
        schemes: Collection[str],
        clock: Clock,
    ) -> None:
        self._issuer = issuer
        self._sealer = sealer
        self._store = store
        self._ledger = ledger
        self._identify = identify
        self._revoked = revoked
        self._registration = registration
        self._schemes = schemes
        self._clock = clock
        self._metadata = oauth.server_metadata(
            issuer.identifier, registration=registration, documents=documents
        )

    async def metadata(self, request: HttpRequest) -> HttpResponse:
        """`GET /.well-known/oauth-authorization-server`."""
        return json_response(200, self._metadata)

    async def register(self, request: HttpRequest) -> HttpResponse:
        """`POST /oauth/register`. Nothing is stored: the id is the registration."""
        try:
            if not self._registration:
                raise wrong(
                    "access_denied", "login_client_invalid", "Registration is switched off.", http=403
                )
            found = clients.metadata(_document(request.body), self._schemes)
            now = self._clock.wall()
            client_id = clients.register(self._sealer, found, now=now)
        except Rejected as refused:
            await self._ledger.turned_away(request, refused)
            return _error(refused)
        return json_response(201, clients.registration(client_id, found, now=now))

    async def token(self, request: HttpRequest) -> HttpResponse:
        """`POST /oauth/token`."""
        try:
            given = form(request)
            exchange = {"authorization_code": self._by_code, "refresh_token": self._by_refresh}.get(
                given.get("grant_type", "")
            )
            if exchange is None:
                text = "grant_type is authorization_code or refresh_token."
                raise wrong("unsupported_grant_type", "login_request_invalid", text)
            if not given.get("client_id"):
                raise wrong("invalid_client", "login_client_unknown", "client_id is missing.", http=401)
            return await exchange(request, given)
        except Refused as refused:
            await self._ledger.turned_away(request, refused)
            return _error(refused)

    async def logout(self, request: HttpRequest) -> HttpResponse:
        """`POST /oauth/logout`: the login behind the bearer token ends, and with it all of its tokens.

        `?resource=` names what the token is for, where that is not `/mcp`.
        """
        origin = self._issuer.identifier
        try:
            resource = flow.resource(oauth.parameters(request.query).get("resource", ""), origin)
            principal = await self._identify(request, resource.removeprefix(origin))
        except Unauthenticated as refused:
            await self._ledger.turned_away(request, refused)
            header = challenge(refused, resources.resource(origin))
            return json_response(refused.http, {"error": refused.reason}, (("www-authenticate", header),))
        except Rejected as refused:
            await self._ledger.turned_away(request, refused)
            return _error(refused)
        ended: Grant | None = None
        if principal.issuer == origin:
            ended = await asyncio.to_thread(
                grants.end, self._store, grant=grant_of(principal.token_id), now=self._clock.wall()
            )
        if ended is not None:
            await self._ledger.logout(request, _decode(ended.login))
        return HttpResponse(status=204, headers=(("cache-control", "no-store"),))

    async def _by_code(self, request: HttpRequest, given: dict[str, str]) -> HttpResponse:
        def fits(grant: Grant) -> bool:
            who = _decode(grant.login)
            return (
                _same(who, given)
                and who.redirect_uri == given.get("redirect_uri")
                and oauth.proves(given.get("code_verifier", ""), who.challenge)
            )

        issue = _Issue(self._issuer, self._sealer, given, self._clock.wall())
        code = digest(given.get("code", ""))
        outcome = await asyncio.to_thread(
            grants.redeem, self._store, code=code, fits=fits, mint=issue, now=issue.now
        )
        return await self._answered(request, outcome, issue, _CODE)

    async def _by_refresh(self, request: HttpRequest, given: dict[str, str]) -> HttpResponse:
        def fits(grant: Grant) -> bool:
            who = _decode(grant.login)
            return _same(who, given) and not missing_scopes(who.scopes, _wanted(who, given))

        grant, old = flow.refreshed(self._sealer, given.get("refresh_token", ""))
        issue = _Issue(self._issuer, self._sealer, given, self._clock.wall())
        if self._revoked(grant):  # else the client would have the next token at once
            await asyncio.to_thread(grants.end, self._store, grant=grant, now=issue.now)
        outcome = await asyncio.to_thread(
            grants.refresh, self._store, grant=grant, old=old, fits=fits, mint=issue, now=issue.now
        )
        return await self._answered(request, outcome, issue, _REFRESH)

    async def _answered(
        self, request: HttpRequest, outcome: Outcome, issue: _Issue, texts: dict[str, Callable[[], Rejected]]
    ) -> HttpResponse:
        """The tokens, or why there are none; a row where somebody else may hold what was presented."""
        if outcome.verdict == "ok":
            return json_response(200, issue.answer(), _NO_STORE)
        refused = texts[outcome.verdict]()
        if outcome.grant is None or outcome.verdict in ("expired", "busy"):
            raise refused
        await self._ledger.refused(request, refused, _decode(outcome.grant.login))
        return _error(refused)


class _Issue:
    """Makes the tokens of one answer, inside the transaction that counts them."""

    def __init__(self, issuer: LoginIssuer, sealer: Sealer, given: dict[str, str], now: float) -> None:
        self.now = now
        self._issuer = issuer
        self._sealer = sealer
        self._given = given
        self._minted: Minted
        self._refresh: str

    def __call__(self, grant: Grant) -> Issued:
        who = _decode(grant.login)
        scopes = _wanted(who, self._given)
        self._minted = self._issuer.mint(who, grant.id, scopes=scopes, ends=grant.ends, now=self.now)
        self._refresh, known = flow.refresh_token(self._sealer, grant.id)
        return Issued(token=self._minted.id, until=self._minted.expires_at + claims.LEEWAY, refresh=known)

    def answer(self) -> dict[str, object]:
        """RFC 6749 section 5.1."""
        return {
            "access_token": self._minted.token,
            "token_type": "Bearer",
            "expires_in": self._minted.expires_at - int(self.now),
            "refresh_token": self._refresh,
            "scope": " ".join(self._minted.scopes),
        }


def _same(who: Login, given: dict[str, str]) -> bool:
    """Whether the client is the one that asked, and wants the resource that it asked for (RFC 8707)."""
    resource = given.get("resource", who.resource).removesuffix("/")
    return who.client == clients.name_of(given["client_id"]) and who.resource == resource


def _wanted(who: Login, given: dict[str, str]) -> tuple[str, ...]:
    """The scopes of a token: those of the login, or fewer where a refresh asks for fewer."""
    scope = given.get("scope", "")
    narrower = flow.scopes(scope) if scope and given["grant_type"] == "refresh_token" else ()
    return narrower or who.scopes


def _code_invalid() -> Rejected:
    return wrong("invalid_grant", "login_code_invalid", "The code is not valid.")


def _code_reused() -> Rejected:
    text = "The code was used before, so the login is ended."
    return wrong("invalid_grant", "login_code_reused", text)


def _refresh_invalid() -> Rejected:
    return wrong("invalid_grant", "login_refresh_invalid", "The refresh token is not valid.")


def _refresh_reused() -> Rejected:
    text = "The refresh token was used before, so the login is ended."
    return wrong("invalid_grant", "login_refresh_reused", text)


def _busy() -> Rejected:
    return wrong(
        "temporarily_unavailable", "login_busy", "Too many tokens of this login count already.", http=429
    )


_CODE = {
    "unknown": _code_invalid,
    "expired": _code_invalid,
    "misfit": _code_invalid,
    "reused": _code_reused,
    "busy": _busy,
}
_REFRESH = {
    "unknown": _refresh_invalid,
    "misfit": _refresh_invalid,
    "reused": _refresh_reused,
    "busy": _busy,
}


def _document(body: bytes) -> object:
    try:
        return strict.parse(body)
    except Rejected as broken:
        raise wrong("invalid_client_metadata", "login_client_invalid", "The body is not JSON.") from broken


def _error(refused: Refused) -> HttpResponse:
    """RFC 6749 section 5.2."""
    status = refused.http if isinstance(refused, Rejected) else 400
    word = refused.data["error"] if isinstance(refused, Rejected) and refused.data else "invalid_request"
    return json_response(status, {"error": word, "error_description": refused.text})


def unavailable(failure: Fault) -> HttpResponse:
    """What fails on our side, as an error of OAuth."""
    answer = {"error": "temporarily_unavailable", "error_description": failure.text}
    return json_response(503, answer, (("retry-after", str(failure.retry_after or 5)),))
