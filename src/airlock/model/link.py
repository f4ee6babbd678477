"""Logins at upstream servers: whose they are, and what is left of them."""

from __future__ import annotations

import msgspec

from airlock.model.principal import Principal


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Whose credential it is."""

    tenant: str
    owner: str
    """`Principal.key`: tenant, issuer and subject, digested."""
    subject: str
    """`issuer|subject`, for the record."""

    @classmethod
    def of(cls, principal: Principal) -> Who:
        """The caller as the owner of credentials."""
        subject = f"{principal.issuer}|{principal.subject}"
        return cls(tenant=principal.tenant, owner=principal.key, subject=subject)


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A login at a server."""

    server: str
    issuer: str
    """The authorization server's."""
    scopes: tuple[str, ...]
    connected: bool
    """False: the server refused its token, and the person has to log in again."""
    updated_at: float
    """Unix seconds."""
