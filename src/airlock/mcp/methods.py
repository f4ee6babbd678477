"""Methods by era, and the shapes of the parameters of those that are served.

A shape check says which member is wrong; what the members mean is decided elsewhere. Unknown members are
not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airlock.core.errors import Rejected
from airlock.mcp.strict import is_object

INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601

_SHARED = frozenset(
    {
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "prompts/list",
        "prompts/get",
        "completion/complete",
    }
)
MODERN_METHODS = _SHARED | {"server/discover", "subscriptions/listen"}
LEGACY_METHODS = _SHARED | {
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
}
ONE_SHOT_METHODS = _SHARED | {"ping"}
"""What a legacy client may ask without a handshake."""

NAMED_BY: Mapping[str, str] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Method -> the parameter that `Mcp-Name` mirrors."""

Params = dict[str, Any]


def check_params(method: str, params: Params, *, http: int) -> None:
    """Raise `Rejected` (-32602, with this HTTP status) naming the first member of the wrong shape."""
    problem = _meta(params)
    check = _CHECKS.get(method)
    if not problem and check is not None:
        problem = check(params)
    if problem:
        raise Rejected(http, INVALID_PARAMS, "invalid_params", problem)


def unknown_method(method: str, *, modern: bool) -> Rejected:
    """-32601: HTTP 404 in the modern era, 200 in the legacy one."""
    return Rejected(
        404 if modern else 200, METHOD_NOT_FOUND, "method_not_found", f"Method not found: {method[:128]}"
    )


def _meta(params: Params) -> str:
    if "_meta" not in params:
        return ""
    meta = params["_meta"]
    if not is_object(meta):
        return "`params._meta` must be an object."
    if "progressToken" in meta and type(meta["progressToken"]) not in (str, int):
        return "`params._meta.progressToken` must be text or an integer."
    return ""


def _initialize(params: Params) -> str:
    info = params.get("clientInfo")
    if type(params.get("protocolVersion")) is not str:
        return "`params.protocolVersion` must be text."
    if not is_object(params.get("capabilities")):
        return "`params.capabilities` must be an object."
    if not is_object(info) or type(info.get("name")) is not str or type(info.get("version")) is not str:
        return "`params.clientInfo` must be an object with `name` and `version`, both text."
    return ""


def _list(params: Params) -> str:
    return "" if type(params.get("cursor", "")) is str else "`params.cursor` must be text."


def _call(params: Params) -> str:
    name = params.get("name")
    if type(name) is not str or not name:
        return "`params.name` must be the name of a tool."
    if not is_object(params.get("arguments", _EMPTY)):
        return "`params.arguments` must be an object."
    if not is_object(params.get("inputResponses", _EMPTY)):
        return "`params.inputResponses` must be an object."
    if type(params.get("requestState", "")) is not str:
        return "`params.requestState` must be text."
    return "Tasks are not supported: leave `params.task` out." if "task" in params else ""


def _cancelled(params: Params) -> str:
    if type(params.get("requestId")) not in (str, int):
        return "`params.requestId` must be text or an integer."
    return "" if type(params.get("reason", "")) is str else "`params.reason` must be text."


_EMPTY: Params = {}

_CHECKS: Mapping[str, Callable[[Params], str]] = {
    "initialize": _initialize,
    "tools/list": _list,
    "tools/call": _call,
    "notifications/cancelled": _cancelled,
}
