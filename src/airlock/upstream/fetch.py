"""One document from a place that a document of somebody else may have named: guarded, bounded, not believed.

Every address is checked before it is connected to, redirects alike: never to another scheme than http(s),
never from https to http, never inward unless the configuration allows that origin. One fetch takes at most
`TOTAL` seconds and `LARGEST` bytes, whatever the other side does. Nothing of a fetch is kept.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin

import msgspec

from airlock import __version__
from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream import guard
from airlock.upstream.pool import Pool, Resolve, resolve

if TYPE_CHECKING:
    from airlock.core.clock import Clock

TOTAL = 4.5
"""Seconds for a fetch in all, redirects included: hostile documents cost five seconds at most (XC-3)."""

LARGEST = 512 * 1024
"""Bytes of a document. Key sets of large providers have some tens of KiB."""

HOPS = 3
"""Redirects that are followed."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, after redirects."""

    url: str
    """Where it came from in the end."""
    status: int
    body: bytes
    date: str = ""
    """When the peer says that it answered (RFC 9110 section 6.6.1); empty: it does not say."""
    challenge: str = ""
    """`WWW-Authenticate`."""


class Fetch:
    """Fetches for one peer. `allowed` are origins of the local configuration, which may be private."""

    def __init__(
        self,
        *,
        clock: Clock,
        allowed: Collection[guard.Origin] = (),
        ca_file: str | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        """`ca_file`: PEM of the only authorities to trust; None: those of the system. Raises `OSError`."""
        self._clock = clock
        self._allowed = frozenset(allowed)
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._resolve = resolve

    async def get(self, url: str, *, follow: bool = True) -> Fetched:
        """GET, following redirects unless told otherwise. Raises `UpstreamFault`, `guard.Forbidden` where the
        guard refused."""
        deadline = self._clock.monotonic() + TOTAL
        for _ in range(HOPS + 1):
            download = await self._exchange("GET", _endpoint(url), b"", {}, deadline)
            if not follow or download.status not in _REDIRECTS:
                return Fetched(url=url, status=download.status, body=download.content, date=download.date)
            url = _next(url, download.location)
        raise UpstreamFault.protocol(f"more than {HOPS} redirects", effect=Effect.NONE)

    async def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Fetched:
        """POST a form; a redirect is an answer like any other. Raises as `get`."""
        fields = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self.send(url, urlencode(form).encode("ascii"), fields)

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Fetched:
        """POST a body of the type that `headers` name; a redirect is an answer like any other. Raises as
        `get`."""
        deadline = self._clock.monotonic() + TOTAL
        download = await self._exchange("POST", _endpoint(url), body, headers, deadline)
        return Fetched(url=url, status=download.status, body=download.content, challenge=download.challenge)

    async def _exchange(
        self, method: str, endpoint: guard.Endpoint, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> _Download:
        pool = Pool(
            origin=endpoint.origin,
            allowed=self._allowed,
            clock=self._clock,
            tls=self._tls if endpoint.origin.scheme == "https" else None,
            resolve=self._resolve,
        )
        try:
            connection = await pool.take(deadline)
            download = _Download()
            left = deadline - self._clock.monotonic()
            data = _request(method, endpoint, body, headers)
            connection.send(data, download, first_byte=left, idle=left, deadline=deadline)
            await download.done
        finally:
            pool.close()
        return download


class _Download:
    """The sink of one request: `done` ends when the body is whole, or raises what kept it from being so."""

    def __init__(self) -> None:
        self.status = 0
        self.location = self.date = self.challenge = ""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._content = bytearray()

    @property
    def content(self) -> bytes:
        return bytes(self._content)

    def head(self, status: int, fields: dict[bytes, bytes]) -> str:
        self.status = status
        self.location = fields.get(b"location", b"").decode("latin-1")
        self.date = fields.get(b"date", b"").decode("latin-1")
        self.challenge = fields.get(b"www-authenticate", b"").decode("latin-1")
        if fields.get(b"content-encoding", b"identity").lower() != b"identity":
            return "a compressed answer, though none was asked for"
        size = fields.get(b"content-length", b"0")
        return self._refusal(int(size[:20]) if size.isdigit() else 0)

    def body(self, chunk: bytes) -> str:
        self._content += chunk
        return self._refusal(len(self._content))

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def lost(self, fault: UpstreamFault, *, early: bool) -> None:
        del early
        if not self.done.done():
            self.done.set_exception(fault)

    @staticmethod
    def _refusal(size: int) -> str:
        return f"a document larger than {LARGEST} bytes" if size > LARGEST else ""


def _endpoint(url: str) -> guard.Endpoint:
    try:
        return guard.endpoint(url)
    except ValueError as wrong:
        raise guard.Forbidden.because(f"not an address to fetch from: {wrong}") from wrong


def _next(url: str, location: str) -> str:
    """Where a redirect leads. Raises `guard.Forbidden` for what leaves https."""
    try:
        target = urljoin(url, location)
    except ValueError as wrong:
        raise guard.Forbidden.because("a redirect to something that is no URL") from wrong
    if url.startswith("https:") and not target.startswith("https:"):
        raise guard.Forbidden.because("a redirect from https to something else")
    return target


def _request(method: str, endpoint: guard.Endpoint, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = {
        "Host": endpoint.authority,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"airlock/{__version__}",
        "Connection": "close",
        **({"Content-Length": str(len(body))} if method == "POST" else {}),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {endpoint.target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body
