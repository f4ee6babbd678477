"""Certificates and keys of the configuration: the files must be there, and fit each other, before anything
starts."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import structs

from airlock.core import certificates

if TYPE_CHECKING:
    from airlock.core.coherence import Ground
    from airlock.core.config import EdgeTls, ServerEntry

_FIT = "PEM files: a certificate with its chain, the plain private key of it, certificates of authorities"


def settle_edge(tls: EdgeTls | None, ground: Ground) -> EdgeTls | None:
    """`server.tls` with absolute paths, tried out."""
    if tls is None:
        return None
    found = structs.replace(
        tls,
        cert_file=ground.file(tls.cert_file, "server.tls.cert_file"),
        key_file=ground.file(tls.key_file, "server.tls.key_file"),
        client_ca_file=tls.client_ca_file and ground.file(tls.client_ca_file, "server.tls.client_ca_file"),
    )
    _try("server.tls", lambda: certificates.edge(found), ground)
    return found


def settle_upstream(entry: ServerEntry, key: str, ground: Ground) -> ServerEntry:
    """The entry with absolute paths in `tls`, tried out."""
    tls, key = entry.tls, f"{key}.tls"
    if tls is None:
        return entry
    if (tls.cert_file is None) != (tls.key_file is None):
        ground.blame(key, "cert_file and key_file", "a client certificate needs both")
    if not (entry.url or "").startswith("https:"):
        ground.blame(key, "the server's URL is not https", "use an https URL, or leave tls out")
    found = structs.replace(
        tls,
        ca_file=tls.ca_file and ground.file(tls.ca_file, f"{key}.ca_file"),
        cert_file=tls.cert_file and ground.file(tls.cert_file, f"{key}.cert_file"),
        key_file=tls.key_file and ground.file(tls.key_file, f"{key}.key_file"),
    )
    _try(key, lambda: certificates.upstream(found), ground)
    return structs.replace(entry, tls=found)


def _try(key: str, build: Callable[[], ssl.SSLContext], ground: Ground) -> None:
    try:
        build()
    except ValueError as error:
        ground.blame(key, str(error), _FIT)
