"""What no single key tells about identity providers and step-up: addresses, claims and authorities that fit.

Adds problems, and gives back the configuration with absolute paths, as `airlock.core.coherence` does.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from msgspec import structs

from airlock.core.coherence import Ground, is_loopback
from airlock.core.config import Config, IssuerEntry


def settle_issuers(config: Config, rows: Sequence[str], servers: Sequence[str], ground: Ground) -> Config:
    """`rows` and `servers` are the dotted keys of `auth.issuers` and `servers`."""
    _distinct(config, rows, ground)
    parts = urlsplit(config.server.public_url)
    origin = f"{parts.scheme}://{parts.netloc.lower()}"
    issuers = tuple(
        _issuer(entry, key, origin, ground) for entry, key in zip(config.auth.issuers, rows, strict=True)
    )
    for server, key in zip(config.servers, servers, strict=True):
        if server.step_up is not None and not (server.step_up.max_age or server.step_up.acr):
            ground.blame(f"{key}.step_up", "asks for nothing", "give max_age, acr, or leave it out")
    return structs.replace(config, auth=structs.replace(config.auth, issuers=issuers))


def _distinct(config: Config, rows: Sequence[str], ground: Ground) -> None:
    first: dict[str, str] = {}
    for entry, key in zip(config.auth.issuers, rows, strict=True):
        if entry.issuer in first:
            ground.blame(f"{key}.issuer", f"{first[entry.issuer]} is the same", "give each provider once")
        first.setdefault(entry.issuer, f"{key}.issuer")


def _issuer(entry: IssuerEntry, key: str, origin: str, ground: Ground) -> IssuerEntry:
    _address(entry.issuer, f"{key}.issuer", ground, private=entry.allow_private)
    if entry.issuer == f"{origin}/local":
        ground.blame(f"{key}.issuer", "is the name of this gateway's own issuer", "see auth.local_issuer")
    if entry.jwks_url is not None:
        _address(entry.jwks_url, f"{key}.jwks_url", ground, private=entry.allow_private)
    if entry.tenant and entry.tenant_claim != "tenant":
        ground.blame(f"{key}.tenant_claim", "tenant is given too", "give one of the two")
    if not entry.algorithms:
        ground.blame(f"{key}.algorithms", "no algorithm", "leave it out for all that are supported")
    ours = [name for name in entry.audience if name == origin or name.startswith(origin + "/")]
    if entry.audience and not ours:
        hint = f"name {origin}/mcp or what lies under it"
        ground.blame(f"{key}.audience", "no resource of this gateway, so that no token counts", hint)
    return structs.replace(entry, ca_file=_authorities(entry.ca_file, f"{key}.ca_file", ground))


def _address(url: str, key: str, ground: Ground, *, private: bool) -> None:
    """Keys decide who may enter: they come over TLS, or from this very machine."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, sound = urlsplit(""), False
    printable = url.isascii() and url.isprintable() and not any(mark in url for mark in ' "<>\\')
    if not sound or not printable or "@" in parts.netloc:
        ground.blame(key, "not an https URL", "such as https://idp.example")
    elif "?" in url or "#" in url:
        ground.blame(key, "has a query or fragment", "leave it out (RFC 8414 section 2)")
    elif parts.scheme == "http" and not (private and is_loopback(parts.hostname or "")):
        hint = "plain HTTP is for a provider on loopback, with allow_private: true"
        ground.blame(key, "not an https URL", hint)


def _authorities(path: str | None, key: str, ground: Ground) -> str | None:
    if path is None:
        return None
    found = ground.file(path, key)
    try:
        ssl.create_default_context(cafile=found)
    except ssl.SSLError:
        ground.blame(key, f"no certificate in {found}", "expected PEM")
    except OSError:
        return found  # blamed already
    return found
