"""What is checked before anything else looks at a request: path, host, origin, transport framing.

Pure: takes what was sent, returns values or raises `Rejected`. Paths are taken raw, as routed, and never
rebuilt from `Host` (RFC 9112 section 3.2 lets clients say anything there).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httptools

from airlock.core.coherence import is_loopback
from airlock.core.errors import Rejected
from airlock.edge.visit import Fields

_PLAIN_PATH = re.compile(rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]+(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*)?")
"""Segments of unreserved and sub-delimiter bytes (RFC 3986 section 3.3): no escapes, so no second reading."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def request_target(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target. Raises `HttpParserError` for one without a path."""
    if url[:1] == b"/":
        path, _, query = url.partition(b"#")[0].partition(b"?")
        return path, query
    parsed = httptools.parse_url(url)
    if not parsed.path:
        raise httptools.HttpParserInvalidURLError(url)
    return parsed.path, parsed.query or b""


def plain_path(raw: bytes) -> str:
    """The path, if it can be read in one way only (H-2)."""
    path = raw.split(b"?", 1)[0]
    if not _PLAIN_PATH.fullmatch(path) or any(part in (b".", b"..") for part in path.split(b"/")):
        raise Rejected(
            400, -32600, "bad_path", "The path must be plain: no escapes, no empty or dot segments."
        )
    return path.decode("ascii")


class Doors:
    """The hosts and origins that may come in."""

    def __init__(
        self, *, host: str, public_url: str, hosts: tuple[str, ...], origins: tuple[str, ...]
    ) -> None:
        public = urlsplit(public_url)
        self._hosts = frozenset(
            name.lower() for name in (public.netloc, public.hostname or "", *hosts) if name
        )
        self._origins = frozenset(
            (f"{public.scheme}://{public.netloc}".lower(), *(o.lower() for o in origins))
        )
        self._loopback = is_loopback(host)

    def check(self, headers: Fields) -> None:
        """Raise 421 for a missing, doubled or foreign `Host` (H-3), 403 for a foreign `Origin` (H-4) and for
        what a page elsewhere embeds, which comes without one: nothing that a browser is made to send counts
        against the limits of its address."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._host_allowed(hosts[0].decode("latin-1").lower()):
            raise Rejected(421, -32600, "host_not_allowed", "This host name is not served here.")
        origins = [value for name, value in headers if name == b"origin"]
        if origins and (len(origins) > 1 or not self._origin_allowed(origins[0].decode("latin-1").lower())):
            raise _foreign()
        if not origins and _embedded(headers):
            raise _foreign()

    def _host_allowed(self, host: str) -> bool:
        return host in self._hosts or (self._loopback and _without_port(host) in LOOPBACK)

    def _origin_allowed(self, origin: str) -> bool:
        if origin in self._origins:
            return True
        scheme, _, rest = origin.partition("://")
        return self._loopback and scheme == "http" and _without_port(rest) in LOOPBACK

    def cross_origin(self, headers: Fields) -> tuple[tuple[str, str], ...]:
        """CORS headers for an allowed origin that was checked; empty without one."""
        origin = next((value.decode("latin-1") for name, value in headers if name == b"origin"), None)
        if origin is None:
            return ()
        return (
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", "mcp-session-id, www-authenticate"),
            ("vary", "origin"),
        )


def _embedded(headers: Fields) -> bool:
    """Whether a browser says that a page of another site asks, and not a person who follows a link there."""
    told = dict(headers)
    return told.get(b"sec-fetch-site") == b"cross-site" and told.get(b"sec-fetch-dest") != b"document"


def _foreign() -> Rejected:
    return Rejected(403, -32600, "origin_not_allowed", "Requests from this origin are not allowed.")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host
