"""`airlock doctor network`: does the gateway answer, and does every server behind it, not only its port?"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from airlock.cli import api
from airlock.cli.diagnosis.check import Asked, Check
from airlock.core.clock import SYSTEM
from airlock.core.config import ServerEntry
from airlock.core.errors import ConfigError

WAIT = 3.0
"""Seconds for each of connection, TLS and first byte."""


def network(asked: Asked) -> list[Check]:
    """The gateway's own port, then the servers over HTTP. Servers over stdio need no network."""
    return [
        _own(asked),
        *(check for entry in asked.config.servers if entry.url for check in _server(entry, entry.url)),
    ]


def _own(asked: Asked) -> Check:
    where = api.address(asked.config, "/live")
    try:
        answer = api.look(asked.config, "/live")
    except ConfigError as error:
        seen, verdict = str(error), "bad"
    else:
        seen = "nothing listens" if answer is None else f"HTTP {answer.status}"
        verdict = "ok" if answer is not None and answer.status == 200 else "bad"
    return Check(part="network", check=where, observed=seen, expected="HTTP 200", verdict=verdict)


def _server(entry: ServerEntry, url: str) -> Iterator[Check]:
    began = SYSTEM.monotonic()
    expected = f"an HTTP answer within {WAIT:g} s"
    step = "connect"
    connection = _connection(entry, url)
    try:
        connection.connect()
        step = "connected, but no answer"
        # Whatever it answers to this, it is there: what it says to MCP is on `airlock status`.
        connection.request("GET", urlsplit(url).path or "/", headers={"Accept": "text/event-stream"})
        status = connection.getresponse().status
        took = (SYSTEM.monotonic() - began) * 1000
        seen, verdict = f"HTTP {status} in {took:.0f} ms", "ok"
    except (OSError, http.client.HTTPException) as error:
        seen, verdict = f"{step}: {error or type(error).__name__}", "bad"
    finally:
        connection.close()
    yield Check(
        part="network", check=f"server {entry.name}", observed=seen, expected=expected, verdict=verdict
    )


def _connection(entry: ServerEntry, url: str) -> http.client.HTTPConnection:
    """Raises `OSError` for certificates that cannot be read."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=WAIT)
    tls = entry.tls
    context = ssl.create_default_context(cafile=tls.ca_file if tls else None)
    if tls and tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=WAIT, context=context)
