"""TLS contexts from the files of the configuration, made again when a file changes.

A pair of certificate and key is tried in a context of its own before it serves anybody: whoever replaces
files one after the other, or by mistake, changes nothing until they fit. Connections keep what they have.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airlock.core.config import EdgeTls, UpstreamTls

Stamp = tuple[tuple[int, int, int] | None, ...]
"""What tells whether a file was replaced or written: inode, size, time; None where there is no file."""


class _Edge(ssl.SSLContext):
    """Connections are those of the newest context. It begins without a memory of sessions: who resumes one is
    not asked for a certificate again (TLS 1.2), and would outlive an authority that was removed."""

    newest: Callable[[], ssl.SSLContext] | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        newest = self if self.newest is None else self.newest()
        wrap = super().wrap_bio if newest is self else newest.wrap_bio
        return wrap(incoming, outgoing, server_side, server_hostname, session)


def edge(tls: EdgeTls) -> _Edge:
    """What the gateway shows to clients, TLS 1.2 or later. Raises `ValueError`."""
    context = _Edge(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _show(context, tls.cert_file, tls.key_file)
    if tls.client_ca_file is not None:
        _trust(context, tls.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        context.options |= ssl.OP_NO_TICKET  # a resumed session would outlive an authority that was removed
        context.num_tickets = 0
    return context


def upstream(tls: UpstreamTls | None) -> ssl.SSLContext:
    """How a server is trusted, and what it is shown. Raises `ValueError`."""
    if tls is None or tls.ca_file is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may hold an authority below a root
        _trust(context, tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls is not None and tls.cert_file is not None:
        _show(context, tls.cert_file, tls.key_file or tls.cert_file)
    return context


def _show(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    try:
        context.load_cert_chain(cert_file, key_file, password=_encrypted)
    except ssl.SSLError as error:
        what = "the key is not that of the certificate" if "MISMATCH" in str(error) else "not PEM"
        raise ValueError(f"{cert_file} and {key_file}: {what}") from error
    except OSError as error:
        raise ValueError(f"{cert_file} and {key_file}: {error.strerror}") from error


def _trust(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"{ca_file}: no certificates in PEM") from error
    except OSError as error:
        raise ValueError(f"{ca_file}: {error.strerror}") from error


def _encrypted() -> str:
    """Asked for a password; without this the library would ask at the terminal."""
    raise ValueError("the private key is encrypted: store it as plain PEM, readable by the gateway only")


class Renewed:
    """A context that follows its files. `build` raises `ValueError` where they are not fit; then the last
    good one stays."""

    def __init__(self, build: Callable[[], ssl.SSLContext], files: tuple[str | None, ...]) -> None:
        """Raises `ValueError` where there is no good one to begin with."""
        self._build = build
        self._files = tuple(file for file in files if file is not None)
        self._stamp = self._look()
        self.context = build()

    def renew(self) -> bool:
        """Look at the files, and take over what changed: whether anything did. Raises `ValueError`, once for
        each change, and keeps the last good context."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self.context = self._build()
        return True

    def _look(self) -> Stamp:
        found: list[tuple[int, int, int] | None] = []
        for file in self._files:
            try:
                seen = os.stat(file)
            except OSError:
                found.append(None)
            else:
                found.append((seen.st_ino, seen.st_size, seen.st_mtime_ns))
        return tuple(found)


def edge_renewed(tls: EdgeTls) -> Renewed:
    """The context of the edge. Each new connection gets the newest; raises `ValueError`."""

    def build() -> ssl.SSLContext:
        context = edge(tls)
        context.newest = lambda: renewed.context
        return context

    renewed = Renewed(build, (tls.cert_file, tls.key_file, tls.client_ca_file))
    return renewed


def upstream_renewed(tls: UpstreamTls | None) -> Renewed:
    """The context of one server. Raises `ValueError`."""
    files = (tls.ca_file, tls.cert_file, tls.key_file) if tls is not None else ()
    return Renewed(lambda: upstream(tls), files)
