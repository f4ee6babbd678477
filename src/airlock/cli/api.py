"""The command line as a client of a running gateway's management API.

The token comes from `--token`, the variable AIRLOCK_TOKEN, or the file `admin.token` in the data directory,
which counts only if nobody but its owner can read it. It is sent to the configured address and nowhere else.
"""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airlock.core.config import Config

TIMEOUT_S = 5.0
LARGEST_ANSWER = 16 * 1024 * 1024
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared with, not bound to)


def get(config: Config, path: str, *, token: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The JSON object at `path`; None when nothing listens there. Raises ConfigError for any other answer."""
    host = WILDCARDS.get(config.server.host, config.server.host)
    where = f"http://{host}:{config.server.port}{path}"
    connection = http.client.HTTPConnection(host, config.server.port, timeout=TIMEOUT_S)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", path, headers=_headers(token or _token(config, environ)))
        answer = connection.getresponse()
        body = answer.read(LARGEST_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(where, f"did not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise ConfigError(where, f"answered {answer.status} {answer.reason}", _hint(answer.status))
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError(where, f"answered something else than a JSON object: {error}") from error


def _headers(token: str) -> dict[str, str]:
    return {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})


def _token(config: Config, environ: Mapping[str, str]) -> str:
    file = Path(config.data_dir) / "admin.token"
    if given := environ.get("AIRLOCK_TOKEN"):
        return given
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(str(file), "others can read this token", "chmod 600, then replace the token")
        return file.read_text().strip()
    except FileNotFoundError:
        return ""


def _hint(status: int) -> str:
    return "give a token of an admin with --token" if status in {401, 403} else ""
