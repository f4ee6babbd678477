"""Who calls: what a verified credential says, and nothing that a client may claim on its own."""

from __future__ import annotations

import hashlib
from functools import cached_property

import msgspec


def one_person(one: str, other: str) -> bool:
    """Whether `issuer|subject` and another such name may be one person: the subject counts, whoever vouches
    for it and however it is spelled. In doubt they are."""
    here, there = f"|{one.casefold()}", f"|{other.casefold()}"
    return here.endswith(_subject(there)) or there.endswith(_subject(here))


def _subject(name: str) -> str:
    issuer, bar, subject = name.removeprefix("|").partition("|")
    return f"|{subject if bar else issuer}"


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
