"""One login on its way: the request of a client, the consent of a person, the trip to the provider.

Nothing is stored until the person is back. What must be remembered travels sealed: on the consent page, bound
to the cookie of the browser that was shown it; then in a cookie of that browser, bound to the `state` that
the provider gives back. A page or an address that was captured is of no use in another browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from airlock.core.errors import Rejected
from airlock.core.sealed import SealBroken, Sealer
from airlock.identity import login, resources
from airlock.identity.challenge import identifier
from airlock.identity.clients import Client, answers_to
from airlock.identity.oauth import is_challenge, wrong

PATIENCE = 600
"""Seconds for a person to agree, and again to log in."""

MAX_STATE = 1024
"""Characters of a client's `state`; with everything else it has to fit a cookie."""

MAX_SEALED = 3800
"""Characters of a sealed value: browsers keep 4096 of a cookie with its name and attributes."""

_CONSENT = "oauth consent"
_TRIP = "oauth trip"
_REFRESH = "oauth refresh"
_ACR = re.compile(r"[!-~]{1,128}(?: [!-~]{1,128}){0,7}")
_MAX_AGE = re.compile(r"0|[1-9][0-9]{0,8}")
_VISIBLE = re.compile(r"[ -~]+")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for, checked."""

    client: str
    name: str
    redirect_uri: str
    state: str
    challenge: str
    resource: str
    scopes: tuple[str, ...]
    acr_values: str = ""
    max_age: int | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a consent page asks, and until when it may be answered (Unix seconds)."""

    request: Request
    until: int


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser keeps while its person is at the provider."""

    request: Request
    nonce: str
    verifier: str
    until: int


class _Refresh(msgspec.Struct, frozen=True, kw_only=True):
    grant: str
    secret: str


_Sealed = TypeVar("_Sealed", Shown, Trip)


def redirect_uri(client: Client, given: Mapping[str, str]) -> str:
    """Where the answer goes. Raises `Rejected` for anything that the client did not register."""
    uri = given.get("redirect_uri", "")
    if not answers_to(client, uri):
        text = "redirect_uri is none of those that the client registered."
        raise wrong("invalid_request", "login_redirect_mismatch", text)
    return uri


def read(client: Client, given: Mapping[str, str], public_url: str) -> Request:
    """The request of a known client. Raises `Rejected`."""
    uri = redirect_uri(client, given)
    if given.get("response_type") != "code" or given.get("response_mode", "query") != "query":
        raise wrong(
            "unsupported_response_type",
            "login_request_invalid",
            "Only response_type=code is served, in a query.",
        )
    if "request" in given or "request_uri" in given:
        raise wrong("request_not_supported", "login_request_invalid", "Request objects are not served.")
    challenge = given.get("code_challenge", "")
    if given.get("code_challenge_method") != "S256" or not is_challenge(challenge):
        text = "A code_challenge with code_challenge_method=S256 is needed (PKCE)."
        raise wrong("invalid_request", "login_pkce_required", text)
    state = given.get("state", "")
    if len(state) > MAX_STATE or (state and not _VISIBLE.fullmatch(state)):
        raise wrong(
            "invalid_request", "login_request_invalid", f"state has more than {MAX_STATE} characters."
        )
    acr, age = given.get("acr_values", ""), given.get("max_age", "")
    if (acr and not _ACR.fullmatch(acr)) or (age and not _MAX_AGE.fullmatch(age)):
        raise wrong("invalid_request", "login_request_invalid", "acr_values or max_age cannot be read.")
    return Request(
        client=client.id,
        name=client.name,
        redirect_uri=uri,
        state=state,
        challenge=challenge,
        resource=resource(given.get("resource", ""), public_url),
        scopes=scopes(given.get("scope", "")),
        acr_values=acr,
        max_age=int(age) if age else None,
    )


def resource(wanted: str, public_url: str) -> str:
    """The resource of ours that tokens are for; `/mcp` where none is named. Raises `Rejected` (RFC 8707)."""
    origin = resources.origin(public_url)
    named = wanted.removesuffix("/") or resources.resource(public_url)
    path = named.removeprefix(origin)
    if not named.startswith(origin) or identifier(resources.WELL_KNOWN + path, public_url) != named:
        raise wrong("invalid_target", "login_resource_unknown", "resource is none of this gateway.")
    return named


def scopes(wanted: str) -> tuple[str, ...]:
    """The scopes to grant. Raises `Rejected` where none of them exists."""
    found = login.granted_scopes(wanted)
    if not found:
        raise wrong("invalid_scope", "login_scope_unknown", "None of these scopes exists here.")
    return found


def show(sealer: Sealer, request: Request, browser: str, now: float) -> str:
    """The field of a consent page for this browser. Raises `Rejected` for a request that no cookie holds."""
    shown = Shown(request=request, until=int(now) + PATIENCE)
    sealed = sealer.seal(_CONSENT, msgspec.json.encode(shown), browser.encode())
    # The trip adds a nonce and a verifier to it.
    if len(sealed) > MAX_SEALED - 256:
        raise wrong("invalid_request", "login_request_invalid", "The request is too long.")
    return sealed


def agreed(sealer: Sealer, field: str, browser: str, now: float) -> Request:
    """What the person agreed to. Raises `Rejected` for a page not shown to this browser, or too long ago."""
    shown = _opened(sealer, _CONSENT, field, browser, Shown)
    if now >= shown.until:
        raise expired()
    return shown.request


def depart(sealer: Sealer, request: Request, state: str, now: float) -> tuple[Trip, str]:
    """The trip to the provider and the cookie that remembers it."""
    trip = Trip(request=request, nonce=login.secret(), verifier=login.secret(), until=int(now) + PATIENCE)
    return trip, sealer.seal(_TRIP, msgspec.json.encode(trip), state.encode())


def arrive(sealer: Sealer, cookie: str, state: str, now: float) -> Trip:
    """The trip that this browser began under this `state`. Raises `Rejected`."""
    trip = _opened(sealer, _TRIP, cookie, state, Trip)
    if now >= trip.until:
        raise expired()
    return trip


def _opened(sealer: Sealer, purpose: str, text: str, context: str, kind: type[_Sealed]) -> _Sealed:
    try:
        return msgspec.json.decode(sealer.open(purpose, text, context.encode()), type=kind)
    except (SealBroken, msgspec.DecodeError, UnicodeEncodeError) as broken:
        raise mismatch() from broken


def refresh_token(sealer: Sealer, grant: str) -> tuple[str, str]:
    """A refresh token of a grant, and the digest by which the store knows it."""
    content = _Refresh(grant=grant, secret=login.secret())
    return sealer.seal(_REFRESH, msgspec.json.encode(content)), login.digest(content.secret)


def refreshed(sealer: Sealer, token: str) -> tuple[str, str]:
    """The grant of a refresh token that we issued, and its digest. Raises `Rejected` for any other text."""
    try:
        content = msgspec.json.decode(sealer.open(_REFRESH, token), type=_Refresh)
    except (SealBroken, msgspec.DecodeError) as broken:
        raise wrong("invalid_grant", "login_refresh_invalid", "The refresh token is not valid.") from broken
    return content.grant, login.digest(content.secret)


def mismatch() -> Rejected:
    """This browser did not begin what it wants to go on with: the page was captured, or cookies are off."""
    text = "This login was not begun in this browser. Start again from your application."
    return wrong("access_denied", "login_browser_mismatch", text)


def expired() -> Rejected:
    return wrong(
        "access_denied", "login_expired", "This login took too long. Start again from your application."
    )
