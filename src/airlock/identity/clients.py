"""OAuth clients that log people in at the gateway: what one says of itself, and where its answers may go.

A client is known in one of two ways. It registered (RFC 7591): its id is its own metadata, sealed, so that a
flood of registrations leaves nothing behind. Or its id is the https URL of a document that describes it.
All clients are public: none has a secret, PKCE stands in for it. Nothing that a client says of itself is
trusted further than this: answers go where it registered, and the consent page shows where that is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

import msgspec

from airlock.core.errors import Rejected
from airlock.core.sealed import SealBroken, Sealer
from airlock.identity.oauth import wrong

MAX_URI = 512
"""Characters of a redirect URI."""

MAX_URIS = 10
"""Redirect URIs of a client."""

MAX_URIS_TEXT = 2048
"""Characters of all of them: they stand in the id of a registered client, and that in URLs."""

MAX_NAME = 64
"""Characters of a name: a longer one hides on the consent page what stands behind it."""

MAX_DOCUMENT_URL = 256
"""Characters: it is the `client_id` of tokens."""

PUBLIC = "none"
"""How our clients authenticate at the token endpoint."""

LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))

_PURPOSE = "oauth client"
_UNSPEAKABLE = re.compile(r"[^\x20-\x7e]|[\\\"<>^`{|} ]")
"""What a URI cannot contain (RFC 3986 section 2), and the backslash that browsers read as a slash."""

_NAMELESS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
"""Controls, and marks that turn text around or cannot be seen."""


_LOCAL = re.compile(r"(?P<host>http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::[0-9]{1,5})?(?P<rest>/.*)?")


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for somebody's login."""

    id: str
    """The `client_id` of tokens and rows: the URL of its document, or a digest of a registered id."""
    name: str
    """What it calls itself; may be empty."""
    redirect_uris: tuple[str, ...]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The members of client metadata (RFC 7591 section 2) that mean something here."""

    redirect_uris: tuple[str, ...]
    client_name: str = ""
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    response_types: tuple[str, ...] = ("code",)
    token_endpoint_auth_method: str = PUBLIC
    client_id: str = ""


class _Registered(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    uris: tuple[str, ...]
    at: int


def metadata(document: object, schemes: Collection[str]) -> Metadata:
    """Client metadata that can be used; members that are null count as left out, unknown ones are ignored.

    `schemes`: those of private-use redirect URIs that the configuration allows. Raises `Rejected`.
    """
    if not isinstance(document, dict):
        raise _unusable("The metadata is not a JSON object.")
    given = cast("dict[str, Any]", document)
    try:
        found = msgspec.convert({name: value for name, value in given.items() if value is not None}, Metadata)
    except msgspec.ValidationError as invalid:
        raise _unusable(f"The metadata is not usable: {invalid}.") from invalid
    if "authorization_code" not in found.grant_types or "code" not in found.response_types:
        raise _unusable("Only the authorization code grant is served.")
    if len(found.client_name) > MAX_NAME or _NAMELESS.search(found.client_name):
        raise _unusable(f"client_name is longer than {MAX_NAME} characters, or holds invisible ones.")
    _check_uris(found.redirect_uris, schemes)
    return found


def _check_uris(uris: tuple[str, ...], schemes: Collection[str]) -> None:
    if not 1 <= len(uris) <= MAX_URIS or sum(map(len, uris)) > MAX_URIS_TEXT:
        text = f"There are between 1 and {MAX_URIS} redirect URIs, of {MAX_URIS_TEXT} characters together."
        raise wrong("invalid_redirect_uri", "login_client_invalid", text)
    for uri in uris:
        why = objection(uri, schemes)
        if why:
            raise wrong("invalid_redirect_uri", "login_client_invalid", f"A redirect URI {why}.")


def objection(uri: str, schemes: Collection[str]) -> str:
    """Why answers must not go to this URI; empty if nothing speaks against it."""
    if len(uri) > MAX_URI or _UNSPEAKABLE.search(uri):
        return "is too long, or holds characters that no URI has"
    parts = _split(uri)
    if parts is None or "#" in uri or "@" in parts.netloc:
        return "has a fragment, a user or a port that is none"
    if parts.scheme == "https":
        return "" if parts.hostname else "names no host"
    if parts.scheme == "http":
        return "" if parts.hostname in LOOPBACK else "is not https, and not on loopback"
    return (
        ""
        if parts.scheme in schemes
        else f"has the scheme {parts.scheme or 'none'}, which is not allowed here"
    )


def answers_to(client: Client, uri: str) -> bool:
    """Whether a redirect URI is one of the client's: exactly, or on loopback up to the port.

    An application of the person's own listens where a port is free (RFC 8252 section 7.3).
    """
    return any(uri == known or _same_but_port(uri, known) for known in client.redirect_uris)


def _same_but_port(uri: str, known: str) -> bool:
    given, registered = _LOCAL.fullmatch(uri), _LOCAL.fullmatch(known)
    if given is None or registered is None or objection(uri, ()):
        return False
    return given.group("host", "rest") == registered.group("host", "rest")


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:
        return None
    return parts


def register(sealer: Sealer, found: Metadata, *, now: float) -> str:
    """The `client_id` of a registration: the metadata itself, which only this deployment can read."""
    content = _Registered(name=found.client_name, uris=found.redirect_uris, at=int(now))
    return sealer.seal(_PURPOSE, msgspec.json.encode(content))


def registered(sealer: Sealer, client_id: str) -> Client | None:
    """The client that registered here under this id; None for any other id."""
    try:
        content = msgspec.json.decode(sealer.open(_PURPOSE, client_id), type=_Registered)
    except (SealBroken, msgspec.DecodeError):
        return None
    return Client(id=name_of(client_id), name=content.name, redirect_uris=content.uris)


def name_of(client_id: str) -> str:
    """The short form of a client id for tokens and rows. A URL is its own name."""
    if "://" in client_id:
        return client_id
    return f"registered-{hashlib.sha256(client_id.encode()).hexdigest()[:32]}"


def is_document(client_id: str, origins: Collection[str]) -> bool:
    """Whether a client id is the URL of a metadata document: https, a path, and nothing that reads two ways.

    `origins` are those of the configuration, which may be plain http.
    """
    if len(client_id) > MAX_DOCUMENT_URL or _UNSPEAKABLE.search(client_id):
        return False
    parts = _split(client_id)
    if parts is None or not parts.hostname or "@" in parts.netloc or "#" in client_id or "%" in parts.path:
        return False
    if parts.scheme != "https" and f"{parts.scheme}://{parts.netloc}" not in origins:
        return False
    return parts.path not in ("", "/") and not {".", ".."} & set(parts.path.split("/"))


def described(url: str, document: object, schemes: Collection[str]) -> Client:
    """The client whose document this is. Raises `Rejected`, also where it was written for another URL."""
    found = metadata(document, schemes)
    if found.client_id != url:
        raise _unusable("The document names another client_id than its own URL.")
    if found.token_endpoint_auth_method != PUBLIC:
        raise _unusable("Only public clients are served: token_endpoint_auth_method is none.")
    return Client(id=url, name=found.client_name, redirect_uris=found.redirect_uris)


def registration(client_id: str, found: Metadata, *, now: float) -> Mapping[str, object]:
    """The answer to a registration (RFC 7591 section 3.2.1). Whatever it asked for, it gets no secret."""
    return {
        "client_id": client_id,
        "client_id_issued_at": int(now),
        "client_name": found.client_name,
        "redirect_uris": found.redirect_uris,
        "grant_types": ("authorization_code", "refresh_token"),
        "response_types": ("code",),
        "token_endpoint_auth_method": PUBLIC,
    }


def _unusable(text: str) -> Rejected:
    return wrong("invalid_client_metadata", "login_client_invalid", text)
