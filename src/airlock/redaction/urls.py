"""Addresses in text, held to a list of hosts: what a client or a person follows tells its host what it holds.

The host comes from a URL parser of the kind that browsers have (WHATWG: backslashes, userinfo, ports, percent
signs, international names). Where a parser of RFC 3986 sees another host, both have to be on the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from pydantic_core import Url

from airlock.core.hosts import canonical, listed
from airlock.redaction import decode
from airlock.redaction.pattern import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = r"\s<>\"'`"
_ATTRIBUTES = r"(?i:src|href|srcset|action|formaction|poster|background|data|cite|ping)\s*=\s*"
_LINKS = tuple(
    compiled(pattern)
    for pattern in (
        rf"(?i:https?|wss?|ftps?|file):[/\\]+([^/\\{_END}][^{_END}]*)",
        rf"(?:^|[^A-Za-z0-9/.@-])((?i:www\.)[^{_END}]+)",
        r"\]\(\s*<?([^\s)>]+)",
        r"(?m:^)[ \t>]{0,8}\[[^\]\n]+\]:[ \t]*\n?[ \t]*<?([^\s>]+)",
        rf"{_ATTRIBUTES}\"([^\"]*)",
        rf"{_ATTRIBUTES}'([^']*)",
        rf"{_ATTRIBUTES}([^{_END}]+)",
        r"(?i:url)\(\s*[\"']?([^\"')\s]+)",
        rf"[\"'(=,]\s?([/\\]{{2}}[^{_END}()]+\.[^{_END}]+)",
    )
)
"""Bare addresses; `www.`; destinations of Markdown, inline and by reference; HTML; CSS; without a scheme."""

_ANY = compiled(r"(?i:https?|wss?|ftps?|file):|(?i:www\.)|[/\\]{2}|://")
"""Texts without any of these hold no address that leads to a host."""

_SCHEME = compiled(r"[A-Za-z][A-Za-z0-9+.-]*:")
_WEB = frozenset(("http:", "https:", "ws:", "wss:", "ftp:"))
LONGEST_AUTHORITY = 1024
"""Characters of user, host and port. A host has 253 at most; parsers take long for much longer ones."""

_AFTER = ".,;:!?)]}*_~|\\"
"""Ends of sentences and of Markdown: not part of a bare address."""


class Link(msgspec.Struct, frozen=True):
    """`text[start:end]` is an address that leads to a `host` ("": nobody can tell) that is not allowed."""

    start: int
    end: int
    host: str


class UrlRule:
    """Hosts that addresses may lead to: `docs.example.org`, or `*.example.org` for everything below it."""

    def __init__(self, allow: tuple[str, ...]) -> None:
        """Raises ValueError for an entry that is not a host."""
        entries = [listed(entry) for entry in allow]
        self._hosts = frozenset(name for name, below in entries if not below)
        self._below = frozenset(name for name, below in entries if below)

    def allows(self, host: str) -> bool:
        """Whether a host is on the list, in whatever spelling."""
        name = canonical(host)
        if name in self._hosts:
            return True
        labels = name.split(".")
        return any(".".join(labels[cut:]) in self._below for cut in range(1, len(labels)))

    def find(self, text: str) -> list[Link]:
        """Addresses that lead elsewhere, in order, none overlapping another."""
        # Half of a surrogate pair is no text; in the place of one stands one character.
        text = text if text.isascii() else text.encode("utf-8", "replace").decode()
        found = list(self._found(text)) if _ANY.search(text) else []
        if layers := decode.plain(text):
            for link in self._found(layers[-1].text):
                found.append(Link(*decode.origin(layers, link.start, link.end), link.host))
        merged: list[Link] = []
        for link in sorted(found, key=lambda link: (link.start, -link.end)):
            if merged and link.start < merged[-1].end:
                last = merged[-1]
                merged[-1] = Link(last.start, max(last.end, link.end), last.host)
            else:
                merged.append(link)
        return merged

    def refuses(self, url: str) -> str | None:
        """The host that an address may not lead to ("" where nobody can tell), or None if it may."""
        return next((host for host in hosts(url) if not self.allows(host)), None)

    def _found(self, text: str) -> Iterator[Link]:
        for number, pattern in enumerate(_LINKS):
            for match in pattern.finditer(text):
                start, end = match.span() if number == 0 else match.span(1)
                url = text[start:end] if number in _QUOTED else text[start:end].rstrip(_AFTER)
                if url and (host := self.refuses(_with_scheme(url))) is not None:
                    yield Link(start, start + len(url), host)


_QUOTED = frozenset((4, 5))


def hosts(url: str) -> list[str]:
    """Where an address leads, as parsers see it: none if it has no host, "" if a parser refuses it."""
    address = "".join(char for char in url.strip() if char not in "\t\r\n")
    if address[:1] in {"/", "\\"} and address[1:2] in {"/", "\\"}:
        address = f"https:{address}"
    scheme = _SCHEME.match(address)
    if scheme is None:
        return []
    rest = address[scheme.end() :]
    if scheme.group().lower() not in _WEB and rest[:2] != "//":
        return []
    if len(rest) > LONGEST_AUTHORITY and not any(char in rest[:LONGEST_AUTHORITY] for char in "/\\?#"):
        return [""]
    try:
        seen = [canonical(Url(address).host or "")]
    except ValueError:
        return [""]
    try:
        other = urlsplit(address).hostname
    except ValueError:
        return [*seen, ""]
    return seen if other is None or canonical(other) == seen[0] else [*seen, canonical(other)]


def _with_scheme(url: str) -> str:
    return f"https://{url}" if url[:4].lower() == "www." else url
