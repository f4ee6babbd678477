"""The gateway as a client of authorization servers: what it sends, and what it believes of the answers.

Pure (OAuth 2.1, RFC 7591, 7636, 8707, 9207). The token endpoint stands in `oauth_tokens`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from airlock.core.errors import LinkRefused
from airlock.model.link import Who
from airlock.upstream.oauth_discovery import AuthorizationServer
from airlock.upstream.oauth_tokens import Hidden, Identity, complaint, word_of

CALLBACK = "/api/v1/oauth/callback"
DOCUMENT = "/api/v1/oauth/client-metadata.json"

PATIENCE = 600.0
"""Seconds that a person has for a login."""

OFFLINE = "offline_access"

_METHODS = ("client_secret_basic", "client_secret_post", "none")


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """A login that a person is on."""

    server: str
    who: Who
    authority: AuthorizationServer
    client: Identity
    resource: str
    scopes: tuple[str, ...]
    verifier: Hidden
    browser: str
    """Digest of what the browser holds that began it."""
    until: float
    """Unix seconds."""


class _Registered(msgspec.Struct, frozen=True, kw_only=True):
    client_id: str
    client_secret: str = ""
    token_endpoint_auth_method: str = ""


def digest(text: str) -> str:
    """By what a state or a browser is known; the text itself is kept nowhere."""
    return hashlib.sha256(text.encode()).hexdigest()


def client_document(public_url: str) -> dict[str, object]:
    """What the gateway says of itself at its client id (OAuth Client ID Metadata Document)."""
    return {"client_id": public_url + DOCUMENT, **_about(public_url, "none")}


def registration(public_url: str, authority: AuthorizationServer) -> bytes:
    """The body of a registration (RFC 7591)."""
    offered = authority.token_endpoint_auth_methods_supported
    method = next((each for each in _METHODS if each in offered), "none")
    return msgspec.json.encode(_about(public_url, method))


def _about(public_url: str, method: str) -> dict[str, object]:
    return {
        "client_name": "Airlock",
        "client_uri": public_url,
        "redirect_uris": [public_url + CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "application_type": "web",
        "token_endpoint_auth_method": method,
    }


def registered(status: int, body: bytes, authority: AuthorizationServer) -> Identity:
    """As whom we were registered. Raises `LinkRefused`."""
    text = "The authorization server does not register this gateway."
    if status not in (200, 201):
        raise LinkRefused("link_client_missing", text, detail=f"status {status} {word_of(body)}")
    try:
        found = msgspec.json.decode(body, type=_Registered)
    except ValueError as broken:
        raise LinkRefused("link_client_missing", text, detail=complaint(broken)) from None
    return identity(found.client_id, found.client_secret, found.token_endpoint_auth_method, authority)


def identity(client_id: str, secret: str, method: str, authority: AuthorizationServer) -> Identity:
    """A client with the way in which it proves itself: the one that was agreed on, else what its server
    supports. Raises `LinkRefused` for what can be written in no request."""
    if not client_id or not all(text.isascii() and text.isprintable() for text in (client_id, secret)):
        text = "The authorization server's registration cannot be used."
        raise LinkRefused("link_client_missing", text, detail="not printable ASCII")
    if not secret:
        method = "none"
    elif method not in _METHODS[:2]:
        offered = authority.token_endpoint_auth_methods_supported
        post = "client_secret_post" in offered and "client_secret_basic" not in offered
        method = "client_secret_post" if post else "client_secret_basic"
    return Identity(client_id=client_id, secret=Hidden(secret), method=method)


def wanted_scopes(
    *,
    challenged: tuple[str, ...],
    granted: tuple[str, ...],
    supported: tuple[str, ...],
    configured: tuple[str, ...],
    authority: AuthorizationServer,
) -> tuple[str, ...]:
    """What to ask for: what the server just wanted, else all that it names, else nothing; beside that what
    the person granted before, what the operator wants, and a refresh token where there are any."""
    asked = tuple(dict.fromkeys(((*granted, *challenged) if challenged else supported) + configured))
    if OFFLINE not in asked and OFFLINE in authority.scopes_supported:
        return (*asked, OFFLINE)
    return asked


def check_authority(authority: AuthorizationServer) -> None:
    """Raise `LinkRefused` where nobody can log in in a safe way."""
    if not authority.authorization_endpoint:
        text = "The metadata for a login there cannot be used."
        raise LinkRefused("link_discovery_failed", text, detail="no authorization_endpoint")
    if "S256" not in authority.code_challenge_methods_supported:
        text = "The authorization server does not say that it supports PKCE with S256."
        raise LinkRefused("link_pkce_missing", text)


def new_trip(
    *,
    server: str,
    who: Who,
    authority: AuthorizationServer,
    client: Identity,
    resource: str,
    scopes: tuple[str, ...],
    browser: str,
    now: float,
) -> Trip:
    """A login that begins at `now`."""
    return Trip(
        server=server,
        who=who,
        authority=authority,
        client=client,
        resource=resource,
        scopes=scopes,
        verifier=Hidden(secrets.token_urlsafe(48)),
        browser=digest(browser),
        until=now + PATIENCE,
    )


def departure(trip: Trip, state: str, public_url: str) -> str:
    """Where to send the person."""
    challenge = hashlib.sha256(trip.verifier.value.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": trip.client.client_id,
        "redirect_uri": public_url + CALLBACK,
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "resource": trip.resource,
    }
    if trip.scopes:
        asked["scope"] = " ".join(trip.scopes)
    if OFFLINE in trip.scopes:
        asked["prompt"] = "consent"
    endpoint = trip.authority.authorization_endpoint
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"


def arrived(trip: Trip, given: Mapping[str, str], browser: str, now: float) -> str:
    """The code with which a person came back. Raises `LinkRefused`.

    1 the browser is the one that left, in time
    2 the answer is of the authorization server that was asked (RFC 9207), byte for byte
    3 it is a code, and no refusal
    """
    if not secrets.compare_digest(trip.browser, digest(browser)):  # 1
        text = "This login was not begun in this browser."
        raise LinkRefused("link_browser_mismatch", text)
    if now >= trip.until:
        raise unknown_state()
    iss = given.get("iss")
    named = trip.authority.authorization_response_iss_parameter_supported
    if iss != trip.authority.issuer and (iss is not None or named):  # 2
        text = "The answer comes from another authorization server than the one that was asked."
        raise LinkRefused("link_issuer_mismatch", text)
    if "error" in given or not given.get("code"):  # 3
        text = "The authorization server did not let you in."
        raise LinkRefused("link_denied", text, detail=f"error {given.get('error', '')[:64]!r}")
    return given["code"]


def unknown_state() -> LinkRefused:
    """Nobody is on such a login, or not any more."""
    return LinkRefused("link_state_unknown", "This login is not known, was used already, or took too long.")


def code_form(trip: Trip, code: str, public_url: str) -> dict[str, str]:
    """What a code is exchanged with."""
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": public_url + CALLBACK,
        "code_verifier": trip.verifier.value,
        "resource": trip.resource,
    }
