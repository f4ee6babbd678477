"""Who calls: what a verified credential says, and nothing that a client may claim on its own."""

from __future__ import annotations

import hashlib
from functools import cached_property

import msgspec


class Principal(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The verified identity of a caller."""

    issuer: str
    subject: str
    tenant: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    client_id: str = ""
    auth: str = "local"
    """How the credential was checked: `local`, `oidc` or `login`."""
    token_id: str
    """`jti`, or the truncated SHA-256 of a token without one. Personal data."""
    audience: tuple[str, ...] = ()
    auth_time: int | None = None
    """Unix seconds of the login, where the issuer says so."""
    acr: str = ""
    actor: tuple[str, ...] = ()
    expires_at: int
    """Unix seconds."""

    @cached_property
    def key(self) -> str:
        """Identifies the principal in maps and sealed values: tenant, issuer and subject, digested."""
        return hashlib.sha256("\0".join((self.tenant, self.issuer, self.subject)).encode()).hexdigest()
