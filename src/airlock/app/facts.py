"""What more than one process says of the program, and where it keeps what it counts."""

from __future__ import annotations

import socket
from pathlib import Path

import airlock
from airlock.audit.occurrences import Facts
from airlock.core.config import Config


def metrics_directory(data: Path) -> Path:
    """Where the workers count; see `airlock.core.metrics`."""
    return data / "run" / "metrics"


def facts(config: Config, digest: str) -> Facts:
    """What the log says of the program that writes it."""
    return Facts(
        origin=config.audit.origin,
        host=socket.gethostname(),
        version=airlock.__version__,
        configuration_digest=digest,
    )
