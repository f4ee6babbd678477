"""URIs of resources: their form on the federated route, and which of them a template stands for.

`mcp+SERVER:URI` is a URI itself: a server id holds no character that a scheme may not. Templates are RFC 6570
and keep their braces. Whether a URI is one of a template's is decided by RE2, which no template makes slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import re2

from airlock.mcp.names import SERVER

SCHEME = "mcp+"

Matcher = Callable[[str], bool]
"""Whether a URI is one that a template can be expanded to."""

MAX_TEMPLATE = 2048
"""Characters of a template: URIs of any use are shorter, and each is compiled."""

_SEGMENT = r"[^/?#]*"
_OPERATORS = {
    "+": r".*",
    "#": r"(?:#.*)?",
    ".": r"(?:\.[^/?#]*)?",
    "/": r"(?:/[^?#]*)?",
    ";": r"(?:;[^/?#]*)?",
    "?": r"(?:\?[^#]*)?",
    "&": r"(?:&[^#]*)?",
}
"""What the expansion of an expression may be, by its operator (RFC 6570 section 3.2). Simple expansion keeps
within one segment, whether a client encodes or not."""

_EXPRESSION = re.compile(r"\{([+#./;?&]?)([A-Za-z0-9_.,:*%]+)\}")
_re2 = cast("Any", re2)


def federated(server: str, uri: str) -> str:
    """A URI or a template of a server as it is on `/mcp`."""
    return f"{SCHEME}{server}:{uri}"


def split(uri: str) -> tuple[str, str]:
    """(server id, the server's own URI) of a federated one; ("", uri) where it is none."""
    server, colon, own = uri.removeprefix(SCHEME).partition(":")
    known = uri.startswith(SCHEME) and colon and SERVER.fullmatch(server)
    return (server, own) if known else ("", uri)


def narrowness(template: str) -> tuple[int, int]:
    """Greater for the narrower of two templates: how many characters stand in every URI of it, then how few
    of its expressions reach beyond one segment."""
    wide = [found for found in _EXPRESSION.finditer(template) if found[1]]
    return len(_EXPRESSION.sub("", template)), -len(wide)


def matcher(template: str) -> Matcher:
    """Tells the URIs of a template from others. Raises `ValueError` for what is no template."""
    if len(template) > MAX_TEMPLATE:
        raise ValueError(f"its template is longer than {MAX_TEMPLATE} characters")
    parts: list[str] = []
    end = 0
    for found in _EXPRESSION.finditer(template):
        parts += [_quoted(template[end : found.start()]), _OPERATORS.get(found[1], _SEGMENT)]
        end = found.end()
    parts.append(_quoted(template[end:]))
    pattern = _re2.compile(f"(?s){''.join(parts)}")
    return lambda uri: pattern.fullmatch(uri) is not None


def _quoted(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError("its template is not one of RFC 6570")
    return _re2.escape(text)
