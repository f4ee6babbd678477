"""What a protected server and its authorization server publish, judged before anything of it is used.

Pure: documents come in as bytes. A server names who may vouch for it (RFC 9728), that one says where people
log in (RFC 8414, OpenID Connect Discovery). Each document has to name the address that it was asked for at,
byte for byte, so that nobody speaks for another.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from airlock.core.errors import LinkRefused, Rejected
from airlock.mcp import strict

MOST_SCOPES = 64
"""Scopes of one document or challenge; the rest is not read."""

LONGEST = 2048
"""Characters of a header or address."""

RESOURCE = "/.well-known/oauth-protected-resource"
OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
"""RFC 6749 appendix A.4."""

_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_BEARER = re.compile(r"(?:^|,)\s*Bearer(?:\s+|$)", re.IGNORECASE)
_SCHEME = re.compile(r",\s*[A-Za-z][A-Za-z0-9-]*\s+(?=[A-Za-z0-9_-]+\s*=)")

_Document = TypeVar("_Document", bound=msgspec.Struct)


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says with 401 or 403."""

    resource_metadata: str = ""
    scopes: tuple[str, ...] = ()
    error: str = ""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata of a protected server."""

    resource: str
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()


class AuthorizationServer(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata of an authorization server; every address is one of a web server."""

    issuer: str
    authorization_endpoint: str = ""
    token_endpoint: str
    registration_endpoint: str = ""
    scopes_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False
    client_id_metadata_document_supported: bool = False


def read_scopes(text: str) -> tuple[str, ...]:
    """The scopes of a text with spaces between them; what is no scope is passed over."""
    return tuple(dict.fromkeys(word for word in text.split() if _SCOPE.fullmatch(word)))[:MOST_SCOPES]


def read_challenge(header: str) -> Challenge:
    """The Bearer challenge of `WWW-Authenticate` (RFC 9110 section 11.6.1); empty where there is none."""
    header = header[: LONGEST * 2]
    outside = _QUOTED.sub(lambda quoted: "_" * len(quoted.group()), header)
    begins = _BEARER.search(outside)
    if begins is None:
        return Challenge()
    following = _SCHEME.search(outside, begins.end())
    found: dict[str, str] = {}
    ends = following.start() if following is not None else len(header)
    for name, quoted, plain in _PARAMETER.findall(header, begins.end(), ends):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    return Challenge(
        resource_metadata=found.get("resource_metadata", "")[:LONGEST],
        scopes=read_scopes(found.get("scope", "")),
        error=found.get("error", "")[:64],
    )


def resource_locations(url: str, challenge: Challenge) -> tuple[str, ...]:
    """Where the metadata of the server at `url` may be: where it says, else below its path, else at the
    root."""
    if challenge.resource_metadata:
        return (challenge.resource_metadata,)
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}{RESOURCE}"
    path = parts.path.rstrip("/")
    return (f"{root}{path}", root) if path else (root,)


def read_resource(body: bytes, url: str) -> Resource:
    """The metadata of the server at `url`. Raises `LinkRefused`: it speaks for another resource."""
    found = _document(body, Resource)
    if not _web(found.resource, secure=False) or not covers(found.resource, url):
        text = "The server describes another resource than itself."
        raise LinkRefused("link_resource_mismatch", text, detail=f"resource {found.resource[:200]!r}")
    return found


def covers(resource: str, url: str) -> bool:
    """Whether a token for a resource is one for the server at `url`: it is that, or what that lies under."""
    named, asked = resource.rstrip("/"), url.partition("?")[0].rstrip("/")
    return asked == named or asked.startswith(f"{named}/")


def chosen(found: Resource, allowed: tuple[str, ...]) -> str:
    """The authorization server to go to: the first that is allowed. Raises `LinkRefused`."""
    for issuer in found.authorization_servers:
        if (not allowed or issuer in allowed) and _web(issuer, secure=False):
            return issuer
    text = "The server names no authorization server that is allowed for it."
    raise LinkRefused("link_discovery_failed", text, detail=f"{found.authorization_servers[:4]!r}"[:400])


def issuer_locations(issuer: str) -> tuple[str, ...]:
    """Where the metadata of an issuer may be, in the order of the MCP specification."""
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    if not path:
        return f"{root}{OAUTH}", f"{root}{OPENID}"
    return f"{root}{OAUTH}{path}", f"{root}{OPENID}{path}", f"{root}{path}{OPENID}"


def read_server(body: bytes, issuer: str) -> AuthorizationServer:
    """The metadata of this very issuer. Raises `LinkRefused`."""
    found = _document(body, AuthorizationServer)
    if found.issuer != issuer:
        text = "The authorization server's metadata names another issuer."
        raise LinkRefused("link_issuer_mismatch", text, detail=f"issuer {found.issuer[:200]!r}")
    secure = issuer.startswith("https:")
    for name in ("authorization_endpoint", "token_endpoint", "registration_endpoint"):
        address = getattr(found, name)
        if address and not _web(address, secure=secure):
            raise _unreadable(f"{name} is no address to go to")
    if not found.token_endpoint:
        raise _unreadable("no token_endpoint")
    return found


def _web(address: str, *, secure: bool) -> bool:
    """Whether it is the address of a web server, without a name in it, over TLS where that is wanted."""
    try:
        parts = urlsplit(address)
        sound = parts.scheme in (("https",) if secure else ("https", "http")) and bool(parts.hostname)
        sound = sound and parts.port != 0 and "@" not in parts.netloc and "#" not in address
    except ValueError:
        return False
    printable = address.isascii() and address.isprintable() and not any(mark in address for mark in ' "<>\\')
    return sound and printable and len(address) <= LONGEST


def _document(body: bytes, kind: type[_Document]) -> _Document:
    try:
        value: Any = strict.parse(body)
        if not isinstance(value, dict):
            raise _unreadable("not a JSON object")
        members = cast("dict[str, Any]", value)
        return msgspec.convert({name: each for name, each in members.items() if each is not None}, kind)
    except Rejected as refused:
        raise _unreadable(f"not JSON: {refused.reason}") from refused
    except msgspec.ValidationError as wrong:
        raise _unreadable(str(wrong)) from wrong


def _unreadable(detail: str) -> LinkRefused:
    return LinkRefused(
        "link_discovery_failed", "The metadata for a login there cannot be used.", detail=detail
    )
