"""The gateway as its callers reach it: its address, a connection to it, and what it says to anybody."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import Any

import msgspec

from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.model.health import Service

END = "-----END CERTIFICATE-----"
"""Of the first certificate in a file, which is the gateway's own; its chain follows."""

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared with, not bound to)

PATIENCE = 3.0
"""Seconds that it gets to say whether it is ready."""

LARGEST = 1024 * 1024


def address(config: Config, path: str) -> str:
    """What is asked, as people write it."""
    scheme = "https" if config.server.tls else "http"
    return f"{scheme}://{_host(config)}:{config.server.port}{path}"


def connection(config: Config, timeout: float) -> http.client.HTTPConnection:
    """A connection that is not open yet. Raises ConfigError for a certificate that cannot be read."""
    host, port, tls = _host(config), config.server.port, config.server.tls
    if tls is None:
        return http.client.HTTPConnection(host, port, timeout=timeout)
    # The configured certificate is what counts, whatever name it carries: nobody else has its key.
    try:
        own = Path(tls.cert_file).read_text().partition(END)
        context = ssl.create_default_context(cadata=own[0] + own[1])
    except (OSError, ValueError) as error:
        raise ConfigError(tls.cert_file, f"is not a certificate that can be read: {error}") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)


def service(config: Config) -> Service:
    """How the gateway stands by its own `/ready`; `DOWN` where nothing answers."""
    try:
        asked = connection(config, PATIENCE)
    except ConfigError as wrong:
        return Service(reasons=(str(wrong),))
    try:
        asked.request("GET", "/ready", headers={"Accept": "application/json"})
        said = msgspec.json.decode(asked.getresponse().read(LARGEST), type=dict[str, Any])
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        return Service(state="DOWN", reasons=(f"{address(config, '/ready')} does not answer: {error}",))
    finally:
        asked.close()
    return judged(said)


def judged(ready: dict[str, Any]) -> Service:
    """What an answer of `/ready` means: `UP` only where every component is ok."""
    components: dict[str, dict[str, str]] = ready.get("components", {})
    wrong = tuple(
        f"{name} {part['state']}: {part['reason']}"
        for name, part in components.items()
        if part["state"] != "ok"
    )
    if not ready.get("ready"):
        return Service(state="DOWN", reasons=wrong)
    return Service(state="DEGRADED" if wrong else "UP", reasons=wrong)


def _host(config: Config) -> str:
    return WILDCARDS.get(config.server.host, config.server.host)
