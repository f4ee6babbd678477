"""Which MCP a client speaks, decided from each single request: nothing is remembered between two of them.

Modern (2026-07-28) is stateless: version and capabilities stand in every request and are compared with the
headers. Legacy (2025-11-25 and older) shakes hands by `initialize`. The body decides, headers only agree.
Capabilities and client info are claims.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from airlock.core.errors import Rejected
from airlock.mcp.headers import Headers, ParamHeaders, decode_value, render, value_at
from airlock.mcp.jsonrpc import ClientResponse, Id, Message, Notification, Request
from airlock.mcp.methods import (
    INVALID_PARAMS,
    LOG_LEVELS,
    MODERN_METHODS,
    NAMED_BY,
    ONE_SHOT_METHODS,
    check_params,
    unknown_method,
)
from airlock.mcp.strict import INVALID_REQUEST, is_object

MODERN = ("2026-07-28",)
"""Versions of the per-request envelope: what `server/discover` and -32022 list."""
LATEST_LEGACY = "2025-11-25"
"""The answer to an `initialize` that asks for a version unknown here."""
LEGACY = frozenset({"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"})
ONE_SHOT_VERSION = "2025-03-26"
"""What a request without any word of a version is taken for (MCP 2025-11-25, Streamable HTTP)."""

HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_KEY = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel"

_DECIMAL = re.compile(r"(-?[0-9]{1,400})(?:\.0+)?")


class Modern(msgspec.Struct, frozen=True):
    """A request that passed the modern ladder, or a modern notification (which declares nothing)."""

    version: str
    capabilities: dict[str, Any]
    client_info: dict[str, Any] | None = None
    log_level: str | None = None


class Initialize(msgspec.Struct, frozen=True):
    """A legacy handshake; `version` is the negotiated one."""

    version: str
    capabilities: dict[str, Any]
    client_info: dict[str, Any]


class InSession(msgspec.Struct, frozen=True):
    """A legacy message in a session that is still to be opened.

    Then `check_version` and `methods.check_params` follow: who does not own the session learns nothing.
    """

    session_id: str
    version: str | None
    """`MCP-Protocol-Version` as sent."""


class OneShot(msgspec.Struct, frozen=True):
    """A single legacy request without session and handshake; its sender is never asked anything."""

    version: str


Era = Modern | Initialize | InSession | OneShot


def classify(message: Message, headers: Headers, *, one_shot: bool = True) -> Era:
    """The era of one message. The first that matches counts; `Rejected` carries the id of the request.

    1. A client's response belongs to a session.
    2. A version in the envelope, or a header with a version that is not legacy: modern, with its ladder.
    3. `initialize`: a handshake.
    4. A session id: in session.
    5. A method that needs no handshake: one-shot, where that is configured.
    """
    try:
        return _classify(message, headers, one_shot)
    except Rejected as rejected:
        rejected.request_id = _id(message)
        raise


def negotiate(requested: str) -> str:
    """The version that `initialize` is answered with."""
    return requested if requested in LEGACY else LATEST_LEGACY


def check_version(era: InSession) -> None:
    """The version header of a message in session must name a version that has sessions, if it is sent. What
    is in force is the negotiated one, whichever of them it names."""
    if era.version is not None and era.version not in LEGACY:
        text = "MCP-Protocol-Version must be the version that was negotiated for this session."
        raise Rejected(400, INVALID_REQUEST, "session_version_mismatch", text)


def _id(message: Message) -> Id | None:
    return None if isinstance(message, Notification) else message.id


def _classify(message: Message, headers: Headers, one_shot: bool) -> Era:
    session_id = headers.get("mcp-session-id")
    version = headers.get("mcp-protocol-version")
    if isinstance(message, ClientResponse):  # 1
        if session_id is None:
            raise Rejected(
                400, INVALID_REQUEST, "unexpected_response", "Nothing was asked: there is no session."
            )
        return InSession(session_id, version)
    meta = message.params.get("_meta")
    if (is_object(meta) and VERSION_KEY in meta) or (version is not None and version not in LEGACY):  # 2
        return _modern(message, meta, version, headers)
    if message.method == "initialize" and isinstance(message, Request):  # 3
        params = message.params
        check_params("initialize", params, http=400)
        return Initialize(negotiate(params["protocolVersion"]), params["capabilities"], params["clientInfo"])
    if session_id is not None:  # 4
        return InSession(session_id, version)
    if not one_shot or message.method not in ONE_SHOT_METHODS or isinstance(message, Notification):  # 5
        text = "There is no session: send `initialize` first."
        raise Rejected(400, INVALID_REQUEST, "initialize_first", text)
    check_params(message.method, message.params, http=200)
    return OneShot(version or ONE_SHOT_VERSION)


def _modern(message: Request | Notification, meta: Any, version: str | None, headers: Headers) -> Modern:
    """The ladder of 2026-07-28 from the envelope on; authentication and transport came before it.

    1. The envelope is complete.
    2. The headers say the same as the body.
    3. The version is served.
    4. The method exists in this era.
    5. The parameters have their shape.
    """
    if isinstance(message, Notification):
        return _modern_notification(message, meta, version, headers)
    claims = _envelope(meta)  # 1
    _check_routing(message, headers, claims.version, version)  # 2
    _check_supported(claims.version)  # 3
    if message.method not in MODERN_METHODS:  # 4
        raise unknown_method(message.method, modern=True)
    check_params(message.method, message.params, http=400)  # 5
    return claims


def _modern_notification(message: Notification, meta: Any, version: str | None, headers: Headers) -> Modern:
    """Notifications need no envelope, but what they say of version and method must agree."""
    said = meta.get(VERSION_KEY, version) if is_object(meta) else version
    if version != said:
        raise _mismatch("MCP-Protocol-Version", f"params._meta[{VERSION_KEY!r}]")
    if (headers.get("mcp-method") or message.method) != message.method:
        raise _mismatch("Mcp-Method", "method")
    _check_supported(version or "")
    check_params(message.method, message.params, http=400)
    return Modern(version or "", {})


def _envelope(meta: Any) -> Modern:
    if not is_object(meta):
        raise _incomplete(f"`params._meta` must be an object with {VERSION_KEY} and {CAPABILITIES_KEY}.")
    version = meta.get(VERSION_KEY)
    capabilities = meta.get(CAPABILITIES_KEY)
    info = meta.get(CLIENT_INFO_KEY)
    level = meta.get(LOG_LEVEL_KEY)
    if type(version) is not str:
        raise _incomplete(f"`params._meta` must have {VERSION_KEY}, text.")
    if not is_object(capabilities):
        raise _incomplete(f"`params._meta` must have {CAPABILITIES_KEY}, an object.")
    if info is not None and not is_object(info):
        raise _incomplete(f"{CLIENT_INFO_KEY} in `params._meta` must be an object.")
    if level is not None and (type(level) is not str or level not in LOG_LEVELS):
        raise _incomplete(f"{LOG_LEVEL_KEY} in `params._meta` must be one of the syslog levels.")
    return Modern(version, capabilities, info, level)


def _check_routing(message: Request, headers: Headers, said: str, version: str | None) -> None:
    if version != said:
        raise _mismatch("MCP-Protocol-Version", f"params._meta[{VERSION_KEY!r}]")
    if headers.get("mcp-method") != message.method:
        raise _mismatch("Mcp-Method", "method")
    parameter = NAMED_BY.get(message.method)
    if parameter is None:
        return
    # Without a name at all the shape check says so; a header then routes on what the body never carried.
    sent = headers.get("mcp-name")
    if _decoded("Mcp-Name", sent) != message.params.get(parameter):
        raise _mismatch("Mcp-Name", f"params.{parameter}")


def _check_supported(version: str) -> None:
    if version not in MODERN:
        raise Rejected(
            400,
            UNSUPPORTED_VERSION,
            "unsupported_protocol_version",
            "Unsupported protocol version.",
            data={"supported": list(MODERN), "requested": version},
        )


def check_param_headers(
    declared: ParamHeaders,
    arguments: dict[str, Any],
    headers: Headers,
    unlisted: Callable[[], frozenset[str]] = frozenset,
) -> None:
    """Each `Mcp-Param-*` that the tool declares must agree with the argument at its path (-32020).

    Both are there and equal, or neither is: null counts as absent. Integers compare as numbers. `unlisted`
    gives names of arguments whose annotation the client may not have seen: their headers may be missing.
    """
    if not declared:
        return
    sent = headers.params
    for path, token in declared:
        name = f"Mcp-Param-{token}"
        value = value_at(arguments, path)
        text = _decoded(name, sent.get(token.lower()))
        if not _agrees(value, text) and (text is not None or unlisted().isdisjoint(path)):
            raise _mismatch(name, f"params.arguments.{'.'.join(path)}")


def _agrees(value: Any, text: str | None) -> bool:
    rendered = render(value)
    if rendered == text:
        return True
    if rendered is None or text is None or isinstance(value, bool | str):
        return False
    number = _DECIMAL.fullmatch(text)
    return number is not None and int(number[1]) == value


def _decoded(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return decode_value(value)
    except ValueError as error:
        raise Rejected(400, HEADER_MISMATCH, "header_mismatch", f"{name} cannot be read: {error}.") from error


def _mismatch(header: str, body: str) -> Rejected:
    text = f"The header {header} does not agree with `{body}` of the body."
    return Rejected(400, HEADER_MISMATCH, "header_mismatch", text)


def _incomplete(text: str) -> Rejected:
    return Rejected(400, INVALID_PARAMS, "envelope_incomplete", text)
