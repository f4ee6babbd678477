"""What one server is shown: a header whose secret comes from a file or an environment variable, or a login.

Read when the server's client is built, hence again at every reload of the configuration. The secret is in no
`repr`, log line or exception; no client header can add to it or replace it, since requests to servers are
built from a list of known headers and this one.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from airlock.core.config import CredentialEntry
from airlock.core.errors import ConfigError
from airlock.upstream.grantor import Grantor
from airlock.upstream.oauth_tokens import Hidden, import_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airlock.core.config import ServerEntry

SECRET_MOST = 8 * 1024
"""Bytes of a header value."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_RESERVED = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
"""Headers that frame a request or belong to the protocol: no place for a secret."""


class Credential:
    """A header line that shows itself to `HttpUpstream` only."""

    __slots__ = ("_header", "_value")

    def __init__(self, *, header: str, value: str) -> None:
        self._header = header
        self._value = value

    def __repr__(self) -> str:
        return f"Credential(header={self._header!r}, value=<hidden>)"

    def reveal(self) -> tuple[str, str]:
        """Name and value of the header, for the request head only."""
        return self._header, self._value


def load(entry: ServerEntry, environ: Mapping[str, str], *, warn: Callable[[str], None]) -> Credential | None:
    """The credential that `entry` asks for. Raises `ConfigError`: it names the source, never the secret."""
    wanted = entry.credential
    if wanted is None or wanted.mode != "static":
        return None
    where = f"servers[{entry.name}].credential"
    name = wanted.header
    if not _TOKEN.fullmatch(name) or name.lower() in _RESERVED or name.lower().startswith("mcp-"):
        raise ConfigError(where, f"{name!r} cannot carry a credential")
    if (wanted.file is None) == (wanted.env is None):
        raise ConfigError(where, "give exactly one of `file` and `env`")
    return Credential(header=name, value=_secret(wanted, wanted.prefix, where, environ, warn))


def load_grantor(entry: ServerEntry, environ: Mapping[str, str], *, warn: Callable[[str], None]) -> Grantor:
    """What `entry` says of logins at its server. Raises `ConfigError`: it names the source, never the
    secret."""
    wanted = entry.credential or CredentialEntry()
    where = f"servers[{entry.name}].credential"
    given = wanted.file is not None or wanted.env is not None
    try:
        pem = _from_file(where, Path(wanted.key_file), warn) if wanted.key_file is not None else None
        key = None if pem is None else import_key(pem.encode("latin-1"))
    except ValueError as wrong:
        if isinstance(wrong, ConfigError):
            raise
        raise ConfigError(
            where, f"{wanted.key_file}: {wrong}", "PEM of a P-256, RSA or Ed25519 key"
        ) from wrong
    return Grantor(
        server=entry.name,
        tenant=entry.tenant,
        url=entry.url or "",
        client_id=wanted.client_id,
        secret=Hidden(_secret(wanted, "", where, environ, warn) if given else ""),
        key=key,
        issuers=wanted.issuers,
        register=wanted.register,
        scopes=wanted.scopes,
        client_metadata_url=wanted.client_metadata_url,
        own=wanted.mode == "client_credentials",
        allow_private=wanted.allow_private,
        ca_file=entry.tls.ca_file if entry.tls is not None else None,
    )


def _secret(
    wanted: CredentialEntry,
    prefix: str,
    where: str,
    environ: Mapping[str, str],
    warn: Callable[[str], None],
) -> str:
    """The secret of a file or variable, with a prefix. Raises `ConfigError`."""
    if wanted.file is not None:
        source, secret = wanted.file, _from_file(where, Path(wanted.file), warn)
    else:
        source, secret = str(wanted.env), environ.get(str(wanted.env), "")
    secret = secret.strip()
    value = prefix + secret
    if not secret:
        raise ConfigError(where, f"{source} holds no secret")
    if not value.isascii() or not value.isprintable() or len(value) > SECRET_MOST:
        raise ConfigError(
            where, f"the secret in {source} is not one line of at most {SECRET_MOST} ASCII characters"
        )
    return value


def _from_file(where: str, path: Path, warn: Callable[[str], None]) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(SECRET_MOST * 2)
    except OSError as error:
        raise ConfigError(where, f"{path} cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        warn(f"{path} can be read by other users; make it mode 0600")
    return content.decode("latin-1")  # what is not ASCII is refused with the value
