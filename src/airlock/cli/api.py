"""The command line as a client of a running gateway's management API.

The token comes from `--token`, the variable AIRLOCK_TOKEN, or the file `admin.token` in the data directory,
which counts only if nobody but its owner can read it. It is sent to the configured address and nowhere else.
"""

from __future__ import annotations

import http.client
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from airlock.app.outside import address, connection
from airlock.audit.visible import visible
from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airlock.core.config import Config

TIMEOUT_S = 15.0
"""A change waits a second for every worker, and longer where the machine is busy."""
LARGEST_ANSWER = 16 * 1024 * 1024
UNANSWERED = frozenset((401, 403))
"""Statuses that say something of the token and nothing of the request."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway said: the HTTP status, and the JSON object that came with it."""

    status: int
    document: dict[str, Any]


def get(config: Config, path: str, *, token: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The JSON object at `path`; None when nothing listens there. Raises ConfigError for any other answer."""
    answer = send(config, "GET", path, token=token, environ=environ)
    if answer is not None and answer.status != 200:
        raise _failed(address(config, path), answer.status, answer.document)
    return answer.document if answer is not None else None


def look(config: Config, path: str) -> Answer | None:
    """What a public address says, whatever its status; None when nothing listens there. Sends no token.

    Raises ConfigError where there is no JSON object.
    """
    answered = _exchange(config, "GET", path, {"Accept": "application/json"}, None)
    if answered is None:
        return None
    try:
        return Answer(status=answered[0], document=msgspec.json.decode(answered[1], type=dict[str, Any]))
    except msgspec.DecodeError as error:
        raise _failed(address(config, path), answered[0], {}) from error


def send(
    config: Config,
    method: str,
    path: str,
    *,
    token: str,
    environ: Mapping[str, str],
    body: object = None,
    timeout: float = TIMEOUT_S,
) -> Answer | None:
    """The answer to one request, be it yes or no; None when nothing listens there. `timeout` in seconds.

    Raises ConfigError where there is no answer to go by: not a JSON object, the token does not count here
    (401, 403), or the gateway cannot do it at the moment (5xx).
    """
    payload = None if body is None else msgspec.json.encode(body)
    fields = _headers(token or stored_token(config, environ))
    if payload is not None:
        fields["Content-Type"] = "application/json"
    answered = _exchange(config, method, path, fields, payload, timeout=timeout)
    return None if answered is None else _understood(address(config, path), *answered)


def _exchange(
    config: Config,
    method: str,
    path: str,
    fields: dict[str, str],
    payload: bytes | None,
    *,
    timeout: float = TIMEOUT_S,
) -> tuple[int, bytes] | None:
    """Status and body; None when nothing listens there. Raises ConfigError where nothing comes back."""
    asked = address(config, path)
    asking = connection(config, timeout)
    try:
        asking.connect()
    except ssl.SSLError as error:
        raise ConfigError(asked, f"does not show the configured certificate: {error}") from error
    except OSError:
        return None
    try:
        asking.request(method, path, payload, fields)
        answer = asking.getresponse()
        return answer.status, answer.read(LARGEST_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(asked, f"did not answer: {error}") from error
    finally:
        asking.close()


def _understood(asked: str, status: int, text: bytes) -> Answer:
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        if status >= 400:
            raise _failed(asked, status, {}) from error
        raise ConfigError(asked, f"answered something else than a JSON object: {error}") from error
    if status in UNANSWERED or status >= 500:
        raise _failed(asked, status, document)
    return Answer(status=status, document=document)


def _failed(asked: str, status: int, document: dict[str, Any]) -> ConfigError:
    detail = document.get("detail")
    said = f": {visible(detail)}" if isinstance(detail, str) else ""
    return ConfigError(asked, f"answered {status} {HTTPStatus(status).phrase}{said}", _hint(status))


def _headers(token: str) -> dict[str, str]:
    return {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})


def stored_token(config: Config, environ: Mapping[str, str]) -> str:
    """The token that is there without `--token`; empty: none. Raises ConfigError where others can read it."""
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
    return "give a token of an admin with --token" if status in UNANSWERED else ""
