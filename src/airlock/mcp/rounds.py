"""Multi round-trip requests (MCP 2026-07-28): a server asks before it answers, and the client calls again.

Pure. `needed` reads what a server asks, `undeclared` says what of it the client cannot do, `round_defect`
looks at the shape of what comes back, and `digest` is what a retry has in common with the call before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from airlock.core.errors import UpstreamFault
from airlock.mcp.strict import canonical, is_array, is_object

INPUT_REQUIRED = "input_required"

CARRIERS = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Methods that a server may answer with a question."""

ELICITATION = "elicitation/create"
SAMPLING = "sampling/createMessage"
ROOTS = "roots/list"

KINDS: Mapping[str, str] = {ELICITATION: "elicitation", SAMPLING: "sampling", ROOTS: "roots"}
"""What a server may ask of a client -> the capability by which the client says that it can do it."""

MOST_ROUNDS = 8
MOST_REQUESTS = 16
"""Rounds of one call, and requests of one round."""

MAX_STATE = 64 * 1024
"""Bytes of a server's state: it comes back in the body of the next request, which is bounded too."""

MAX_KEY = 256
"""Characters of the key of a request."""

ACTIONS = ("accept", "decline", "cancel")

STATE, RESPONSES = "requestState", "inputResponses"
_ROUND = frozenset({"_meta", STATE, RESPONSES})

begins: Callable[[Mapping[str, Any]], bool] = frozenset({STATE, RESPONSES}).isdisjoint
"""Whether the params of a request go on with no call that a server answered with a question."""

Requests = dict[str, dict[str, Any]]
"""By the server's own key: `method` and `params`."""


class Needed(msgspec.Struct, frozen=True):
    """What a server wants before it answers; at least one of both is there."""

    requests: Requests
    state: str | None
    """Comes back to the server byte for byte."""


def asks(result: Mapping[str, Any] | None) -> bool:
    """Whether a server wants to know something before it answers."""
    return result is not None and result.get("resultType") == INPUT_REQUIRED


def needed(result: Mapping[str, Any]) -> Needed:
    """What a result of type `input_required` asks. Raises `UpstreamFault` for what is none."""
    asked: Any = result.get("inputRequests")
    state: Any = result.get(STATE)
    if asked is not None and not is_object(asked):
        raise UpstreamFault.protocol("`inputRequests` is not an object")
    if state is not None and (type(state) is not str or len(state.encode()) > MAX_STATE):
        raise UpstreamFault.protocol(f"`requestState` is not text of at most {MAX_STATE} bytes")
    if not asked and state is None:
        raise UpstreamFault.protocol("an input_required result that asks nothing")
    requests: Requests = asked or {}
    if len(requests) > MOST_REQUESTS:
        raise UpstreamFault.protocol(f"more than {MOST_REQUESTS} requests in one round")
    for key, request in requests.items():
        defect = "its key is too long" if len(key) > MAX_KEY else request_defect(request)
        if defect:
            raise UpstreamFault.protocol(f"a request of the server cannot be passed on: {defect}")
    return Needed(requests, state)


def request_defect(request: Any) -> str:
    """Why a request of a server is none that a client could be asked; empty if it is one."""
    if not is_object(request) or request.get("method") not in KINDS:
        return "its method is unknown"
    params: Any = request.get("params", {})
    if not is_object(params):
        return "its params are not an object"
    if request["method"] == ELICITATION:
        return _elicitation_defect(params)
    if request["method"] == SAMPLING and not is_array(params.get("messages")):
        return "it has no messages"
    return ""


def _elicitation_defect(params: dict[str, Any]) -> str:
    mode = params.get("mode", "form")
    if type(params.get("message")) is not str:
        return "it has no message"
    if mode == "url":
        return "" if type(params.get("url")) is str else "it has no URL"
    if mode != "form":
        return "its mode is unknown"
    schema: Any = params.get("requestedSchema")
    if not is_object(schema) or not is_object(schema.get("properties")):
        return "its form has no properties"
    return ""


def undeclared(requests: Requests, capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """The capabilities (an object of their kind) that the requests need and the client does not have."""
    missing: dict[str, Any] = {}
    for request in requests.values():
        kind, part = _capability(request)
        declared: Any = capabilities.get(kind)
        if not is_object(declared) or (part and not _has(kind, part, declared)):
            missing.setdefault(kind, {})
            if part:
                missing[kind][part] = {}
    return missing


def _capability(request: dict[str, Any]) -> tuple[str, str]:
    """(capability, part of it) that a request needs."""
    method, params = request["method"], request.get("params", {})
    if method == ELICITATION:
        return "elicitation", params.get("mode", "form")
    if method == SAMPLING:
        return "sampling", "tools" if "tools" in params or "toolChoice" in params else ""
    return "roots", ""


def _has(kind: str, part: str, declared: dict[str, Any]) -> bool:
    """An empty `elicitation` means forms, as it did before there were modes."""
    return part in declared or (kind == "elicitation" and part == "form" and not declared)


def round_defect(params: Mapping[str, Any]) -> str:
    """What is wrong with `inputResponses` and `requestState` of a request, as a sentence; else empty."""
    if not is_object(params.get(RESPONSES, _EMPTY)):
        return f"`params.{RESPONSES}` must be an object."
    if type(params.get(STATE, "")) is not str:
        return f"`params.{STATE}` must be text."
    return ""


def digest(method: str, params: Mapping[str, Any]) -> str:
    """What the requests of all rounds of one call have in common: SHA-256 over RFC 8785, hex."""
    common = {key: value for key, value in params.items() if key not in _ROUND}
    return hashlib.sha256(canonical({"method": method, "params": common})).hexdigest()


_EMPTY: dict[str, Any] = {}
