"""A browser without a screen: keeps cookies, follows redirects, fills in forms, and stops where it is told.

It does what browsers do with cookies as far as a login on loopback needs it, and no more.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from contextlib import closing
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import msgspec

HOPS = 20


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the window."""

    url: str
    status: int
    headers: dict[str, str]
    text: str

    @property
    def query(self) -> dict[str, str]:
        """The parameters of its address."""
        return dict(parse_qsl(urlsplit(self.url).query))

    @property
    def fields(self) -> dict[str, str]:
        """The hidden fields of its form."""
        return _Fields.of(self.text)

    @property
    def onward(self) -> str:
        """Where the page sends the browser by itself; empty if it stays."""
        found = re.search(r'http-equiv="refresh" content="0;url=([^"]*)"', self.text)
        return unescape(found[1]) if found else ""


class _Fields(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    @classmethod
    def of(cls, text: str) -> dict[str, str]:
        parser = cls()
        parser.feed(text)
        return parser.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden":
            self.found[given["name"] or ""] = given.get("value") or ""


class Browser:
    """One person's browser. `stop` is the beginning of addresses that it does not open: those of the
    application that waits for the answer."""

    def __init__(self, stop: str = "http://127.0.0.1:1/") -> None:
        self.stop = stop
        self.cookies: dict[str, dict[str, str]] = {}
        """By host and port; the port is not what browsers go by, but tests have one host."""
        self.visited: list[str] = []

    def get(self, url: str) -> Page:
        """Open an address and go where it leads."""
        return self._go("GET", url, None)

    def post(self, url: str, fields: Mapping[str, str], *, origin: str | None = "") -> Page:
        """Send a form from a page of the same site, or of `origin`."""
        return self._go(
            "POST", url, urlencode(fields).encode(), origin=_origin(url) if origin == "" else origin
        )

    def submit(self, page: Page, **fields: str) -> Page:
        """Send the form of a page to where it says, with these fields filled in."""
        found = re.search(r'<form[^>]* action="([^"]*)"', page.text)
        url = urljoin(page.url, unescape(found[1])) if found else page.url
        return self.post(url, {**page.fields, **fields})

    def _go(self, method: str, url: str, body: bytes | None, origin: str | None = None) -> Page:
        for _ in range(HOPS):
            if url.startswith(self.stop):
                return Page(url=url, status=0, headers={}, text="")
            page = self._one(method, url, body, origin)
            method, body, origin = "GET", None, None
            next_url = page.headers.get("location", "") if 300 <= page.status < 400 else page.onward
            if not next_url:
                return page
            url = urljoin(url, next_url)
        raise AssertionError(f"more than {HOPS} hops, at last {url}")

    def _one(self, method: str, url: str, body: bytes | None, origin: str | None) -> Page:
        self.visited.append(url)
        parts = urlsplit(url)
        jar = self.cookies.setdefault(parts.netloc, {})
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if origin is not None:
            headers["Origin"] = origin
        with closing(http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)) as connection:
            connection.putrequest(
                method, f"{parts.path}?{parts.query}" if parts.query else parts.path, skip_host=True
            )
            for name, value in {"Host": parts.netloc, **headers}.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            text = answer.read().decode()
        for line in answer.headers.get_all("set-cookie") or ():
            _keep(jar, line)
        fields = {name.lower(): value for name, value in answer.headers.items()}
        return Page(url=url, status=answer.status, headers=fields, text=text)


def _keep(jar: dict[str, str], line: str) -> None:
    pair, *attributes = (part.strip() for part in line.split(";"))
    name, _, value = pair.partition("=")
    ended = any(part.lower() in ("max-age=0", "expires=thu, 01 jan 1970 00:00:00 gmt") for part in attributes)
    if ended or not value:
        jar.pop(name, None)
    else:
        jar[name] = value


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
