"""Methods by era, and the shapes of the parameters of those that are served.

A shape check says which member is wrong; what the members mean is decided elsewhere. Unknown members are
not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airlock.core.errors import Rejected
from airlock.mcp import names, uris
from airlock.mcp.rounds import begins, round_defect
from airlock.mcp.strict import is_array, is_object

MAX_WATCHED = 256
"""Resources that one subscription may name."""

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

CALLS = frozenset(
    {"tools/call", "prompts/get", "resources/read", "resources/subscribe", "completion/complete"}
)
"""What goes to a server; everything else is answered by the gateway."""

NAMED_BY: Mapping[str, str] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Method -> the parameter that `Mcp-Name` mirrors."""

LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""By weight (RFC 5424)."""

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
    if not begins(params) and (defect := round_defect(params)):
        return defect
    return "Tasks are not supported: leave `params.task` out." if "task" in params else ""


def _get(params: Params) -> str:
    name = params.get("name")
    if type(name) is not str or not name:
        return "`params.name` must be the name of a prompt."
    if not _texts(params.get("arguments", _EMPTY)):
        return "`params.arguments` must be an object of texts."
    return "" if begins(params) else round_defect(params)


def _located(params: Params) -> str:
    uri = params.get("uri")
    return "" if type(uri) is str and uri else "`params.uri` must be the URI of a resource."


def _read(params: Params) -> str:
    if defect := _located(params):
        return defect
    return "" if begins(params) else round_defect(params)


def _complete(params: Params) -> str:
    argument, context = params.get("argument"), params.get("context", _EMPTY)
    if not named_by(params):
        return "`params.ref` must be a `ref/prompt` with a `name` or a `ref/resource` with a `uri`."
    if not is_object(argument) or not {"name", "value"} <= argument.keys() or not _texts(argument):
        return "`params.argument` must be an object with `name` and `value`, both text."
    if not is_object(context) or not _texts(context.get("arguments", _EMPTY)):
        return "`params.context` must be an object, and its `arguments` one of texts."
    return ""


def named_by(params: Params) -> str:
    """The name or URI of what is to be completed; empty where `ref` is none."""
    ref = params.get("ref")
    if not is_object(ref):
        return ""
    named = ref.get("uri") if ref.get("type") == "ref/resource" else ref.get("name")
    known = ref.get("type") in ("ref/prompt", "ref/resource") and type(named) is str
    return str(named) if known else ""


def server_named(method: str, params: Params) -> str:
    """The server that a call names on `/mcp`; empty where it names none. `params` have their shape."""
    if method == "tools/call":
        return names.split(params["name"])[0]
    if method == "completion/complete":
        located, named = params["ref"]["type"] == "ref/resource", named_by(params)
    else:
        located = method.startswith("resources/")
        named = params["uri" if located else "name"]
    return uris.split(named)[0] if located else names.split(named)[0]


def _listen(params: Params) -> str:
    wished = params.get("notifications")
    if not is_object(wished):
        return "`params.notifications` must be an object."
    flags = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
    if not all(type(wished.get(flag, False)) is bool for flag in flags):
        return f"`params.notifications` has {', '.join(flags)}, each true or false."
    watched: Any = wished.get("resourceSubscriptions", [])
    if not is_array(watched) or len(watched) > MAX_WATCHED or not all(type(uri) is str for uri in watched):
        return f"`params.notifications.resourceSubscriptions` must be at most {MAX_WATCHED} URIs."
    return ""


def _texts(value: Any) -> bool:
    return is_object(value) and all(type(text) is str for text in value.values())


def _cancelled(params: Params) -> str:
    if type(params.get("requestId")) not in (str, int):
        return "`params.requestId` must be text or an integer."
    return "" if type(params.get("reason", "")) is str else "`params.reason` must be text."


def _level(params: Params) -> str:
    return "" if params.get("level") in LOG_LEVELS else "`params.level` must be one of the syslog levels."


_EMPTY: Params = {}

_CHECKS: Mapping[str, Callable[[Params], str]] = {
    "initialize": _initialize,
    "tools/list": _list,
    "tools/call": _call,
    "prompts/list": _list,
    "prompts/get": _get,
    "resources/list": _list,
    "resources/templates/list": _list,
    "resources/read": _read,
    "resources/subscribe": _located,
    "resources/unsubscribe": _located,
    "completion/complete": _complete,
    "logging/setLevel": _level,
    "notifications/cancelled": _cancelled,
    "subscriptions/listen": _listen,
}
