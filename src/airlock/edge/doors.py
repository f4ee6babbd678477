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
from airlock.edge.heads import HeaderList
from airlock.edge.visit import Fields

_PLAIN_PATH = re.compile(rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]+(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*)?")
"""Segments of unreserved and sub-delimiter bytes (RFC 3986 section 3.3): no escapes, so no second reading."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

MEMORY = 64
"""Spellings of allowed hosts that are known at once: loopback has one for each port."""


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
        self._taken: set[bytes] = set()
        """Hosts as sent that are allowed, a few of them."""

    def check(self, headers: Fields) -> HeaderList:
        """The CORS headers of the answer: none without an origin. Raise 421 for a missing, doubled or foreign
        `Host` (H-3), 403 for a foreign `Origin` (H-4) and for what a page elsewhere embeds, which comes
        without one: nothing that a browser is made to send counts against the limits of its address."""
        told = dict(headers)
        single = len(told) == len(headers)
        if (coding := told.get(b"transfer-encoding")) is not None:
            _understood(coding, once=single or _once(headers, b"transfer-encoding"))
        host, origin = told.get(b"host"), told.get(b"origin")
        if host is None or not (single or _once(headers, b"host")) or not self._takes(host):
            raise Rejected(421, -32600, "host_not_allowed", "This host name is not served here.")
        if origin is None:
            # A browser says that a page of another site asks, and not a person who follows a link there.
            if told.get(b"sec-fetch-site") == b"cross-site" and told.get(b"sec-fetch-dest") != b"document":
                raise _foreign()
            return ()
        if not (single or _once(headers, b"origin")):
            raise _foreign()
        page = origin.decode("latin-1")
        if not self._origin_allowed(page.lower()):
            raise _foreign()
        return (
            ("access-control-allow-origin", page),
            ("access-control-expose-headers", "mcp-session-id, www-authenticate"),
            ("vary", "origin"),
        )

    def _takes(self, host: bytes) -> bool:
        if host in self._taken:
            return True
        allowed = self._host_allowed(host.decode("latin-1").lower())
        if allowed and len(self._taken) < MEMORY:
            self._taken.add(host)
        return allowed

    def _host_allowed(self, host: str) -> bool:
        return host in self._hosts or (self._loopback and _without_port(host) in LOOPBACK)

    def _origin_allowed(self, origin: str) -> bool:
        if origin in self._origins:
            return True
        scheme, _, rest = origin.partition("://")
        return self._loopback and scheme == "http" and _without_port(rest) in LOOPBACK


def _understood(coding: bytes, *, once: bool) -> None:
    """Raise 501 for a coding beside `chunked`: others may read its framing in another way (RFC 9112 6.1)."""
    if not once or coding.lower() != b"chunked":
        close = (("connection", "close"),)
        raise Rejected(501, -32600, "transfer_coding", "The only transfer coding is chunked.", headers=close)


def _once(headers: Fields, name: bytes) -> bool:
    return sum(known == name for known, _ in headers) == 1


def _foreign() -> Rejected:
    return Rejected(403, -32600, "origin_not_allowed", "Requests from this origin are not allowed.")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host
