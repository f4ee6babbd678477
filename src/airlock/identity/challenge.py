"""What strangers are told: protected resource metadata (RFC 9728), challenges (RFC 6750, RFC 9470).

Pure functions of the configured public URL. Nothing of a request is echoed.
"""

from __future__ import annotations

import re

from airlock.core.errors import Unauthenticated
from airlock.identity import resources
from airlock.identity.scopes import SUPPORTED

_SERVER_PATH = re.compile(r"/mcp/([a-z][a-z0-9-]{0,30})")
"""Any name of the right form has metadata, so the documents do not tell which servers exist."""

_UNQUOTABLE = re.compile(r"[^ !#-\[\]-~]")
"""Outside the characters that RFC 6750 section 3 allows in attribute values."""


def identifier(path: str, public_url: str) -> str | None:
    """The resource whose metadata lives at this path; None where there is none.

    Known are the root form, `/mcp` and `/mcp/{server}` after the well-known prefix (RFC 9728 section 3.1).
    """
    if not path.startswith(resources.WELL_KNOWN):
        return None
    rest = path.removeprefix(resources.WELL_KNOWN)
    if not rest:
        return resources.origin(public_url)
    if rest == "/mcp":
        return resources.resource(public_url)
    server = _SERVER_PATH.fullmatch(rest)
    return resources.resource(public_url, server[1]) if server else None


def metadata(resource: str, *, authorization_servers: tuple[str, ...], name: str) -> dict[str, object]:
    """The metadata document of a resource (RFC 9728 section 2). Raises `ValueError` without an issuer."""
    if not authorization_servers:
        raise ValueError("a protected resource names at least one authorization server")
    return {
        "resource": resource,
        "authorization_servers": list(authorization_servers),
        "bearer_methods_supported": ["header"],
        "scopes_supported": list(SUPPORTED),
        "resource_name": name,
    }


def challenge(refusal: Unauthenticated, resource: str) -> str:
    """The `WWW-Authenticate` value for a refusal at this resource."""
    where = ("resource_metadata", resources.metadata_url(resource))
    if refusal.error is None:
        return _bearer(where, ("scope", " ".join(SUPPORTED)))
    if refusal.error == "insufficient_user_authentication":
        return step_up(resource, acr_values=refusal.acr_values, max_age=refusal.max_age)
    error = ("error", refusal.error)
    text = ("error_description", refusal.text)
    if refusal.error == "insufficient_scope":
        return _bearer(error, ("scope", " ".join(refusal.scopes)), where, text)
    return _bearer(where, ("scope", " ".join(SUPPORTED)), error, text)


def step_up(resource: str, *, acr_values: tuple[str, ...], max_age: int | None) -> str:
    """The `WWW-Authenticate` value where the login is too old or too weak (RFC 9470 section 3)."""
    needed = (("acr_values", " ".join(acr_values)),) if acr_values else ()
    recent = (("max_age", str(max_age)),) if max_age is not None else ()
    return _bearer(
        ("error", "insufficient_user_authentication"),
        *needed,
        *recent,
        ("resource_metadata", resources.metadata_url(resource)),
    )


def _bearer(*parameters: tuple[str, str]) -> str:
    return "Bearer " + ", ".join(f'{name}="{_UNQUOTABLE.sub("?", value)}"' for name, value in parameters)
