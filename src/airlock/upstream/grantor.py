"""What the configuration says of logins at one server."""

from __future__ import annotations

import msgspec

from airlock.upstream.oauth_tokens import Hidden, Key


class Grantor(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. `own`: the gateway has a login of its own there, in place of one of each person."""

    server: str
    tenant: str
    """Empty: every tenant."""
    url: str
    client_id: str = ""
    secret: Hidden = Hidden()
    key: Key | None = None
    issuers: tuple[str, ...] = ()
    register: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    client_metadata_url: str = ""
    own: bool = False
    allow_private: bool = False
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"Grantor(server={self.server!r})"
