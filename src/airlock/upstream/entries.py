"""What the vault holds of one login at an upstream server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airlock.core.errors import Fault, Stage
from airlock.upstream.oauth_discovery import AuthorizationServer, covers
from airlock.upstream.oauth_tokens import Identity, Tokens

if TYPE_CHECKING:
    from airlock.store.vault import Kept
    from airlock.upstream.grantor import Grantor


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One login."""

    authority: AuthorizationServer
    client: Identity
    resource: str
    asked: tuple[str, ...]
    tokens: Tokens | None
    """None: the server, or its authorization server, refused them."""
    wanted: tuple[str, ...] = ()
    """Scopes that the server wanted since."""


_entry = msgspec.json.Decoder(Entry).decode


def entry_of(kept: Kept) -> Entry:
    """What an entry of the vault says. Raises `Fault` where nobody can read it."""
    if kept.payload is None:
        text = "A credential in the control data cannot be opened."
        detail = "the vault was sealed with other keys, or was changed"
        raise Fault(Stage.FORWARD, 50302, "vault_unreadable", text, detail=detail)
    return _entry(kept.payload)


def fits(entry: Entry, grantor: Grantor) -> bool:
    """Whether an entry is for the server that is configured now: a token goes nowhere else (RFC 8707)."""
    issuers = grantor.issuers
    return covers(entry.resource, grantor.url) and (not issuers or entry.authority.issuer in issuers)
