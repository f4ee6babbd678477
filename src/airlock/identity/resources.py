"""What tokens are issued for: OAuth resource identifiers of the gateway and its servers (RFC 8707).

Everything is derived from the configured public URL, never from a `Host` header. A resource is the origin,
`origin/mcp` or `origin/mcp/{server}`; the longer ones are inside the shorter ones.
"""

from __future__ import annotations

from urllib.parse import urlsplit

WELL_KNOWN = "/.well-known/oauth-protected-resource"
"""RFC 9728 section 3: stands between the host and the path of the resource."""


def origin(public_url: str) -> str:
    """`scheme://host[:port]` of the public URL, in lower case, without user and path."""
    parts = urlsplit(public_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def resource(public_url: str, server: str = "") -> str:
    """The identifier of the route `/mcp`, or `/mcp/{server}`."""
    return f"{origin(public_url)}/mcp/{server}" if server else f"{origin(public_url)}/mcp"


def accepted(public_url: str, server: str = "") -> tuple[str, ...]:
    """The audiences that open a route: its own resource or an ancestor of it, never a sibling (A-4)."""
    route = (resource(public_url, server),) if server else ()
    return (*route, resource(public_url), origin(public_url))


def belongs(root: str, audience: str) -> bool:
    """Whether an audience is the origin `root` or lies under it."""
    return audience == root or audience.startswith(root + "/")


def metadata_url(identifier: str) -> str:
    """Where the metadata of a resource is found (RFC 9728 section 3.1)."""
    root = origin(identifier)
    return root + WELL_KNOWN + identifier[len(root) :]
