"""JSON-RPC 2.0 as MCP uses it: one message at a time, ids that are text or integers, params that are objects.

`read` turns a parsed value into a message or raises `Rejected` (-32600) that carries the id where one could
be read. Batches are refused in every version: one request is one decision and one record. The writers
return the bytes of one message.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import msgspec

from airlock.core.errors import Rejected
from airlock.mcp.strict import (
    INVALID_REQUEST,
    MAX_INTEGER,
    MIN_INTEGER,
    KnownKeys,
    check_known_keys,
    is_array,
    is_object,
    shown,
)

MAX_ID_BYTES = 256
"""A client's id is kept, logged and echoed; nobody needs a longer one."""

Id = str | int

ENVELOPE = KnownKeys("jsonrpc", "id", "method", "params", "result", "error")
PARAMS = KnownKeys(
    "_meta", "name", "arguments", "uri", "cursor", "ref", "argument", "context", "level", "protocolVersion",
    "capabilities", "clientInfo", "requestId", "reason", "progressToken", "progress", "total", "message",
    "inputResponses", "requestState", "notifications", "task",
)  # fmt: skip
META = KnownKeys(
    "progressToken", "traceparent", "tracestate", "baggage",
    "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/serverInfo",
    "io.modelcontextprotocol/logLevel", "io.modelcontextprotocol/subscriptionId",
    "io.modelcontextprotocol/related-task",
)  # fmt: skip


class Request(msgspec.Struct, frozen=True):
    """Asks for an answer."""

    id: Id
    method: str
    params: dict[str, Any]


class Notification(msgspec.Struct, frozen=True):
    """Never answered."""

    method: str
    params: dict[str, Any]


class ClientResponse(msgspec.Struct, frozen=True):
    """A client's answer to a request of a server: exactly one of `result` and `error` is set."""

    id: Id
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def method(self) -> str:
        """None: it is told apart by that."""
        return ""

    @property
    def params(self) -> dict[str, Any]:
        return {}


Message = Request | Notification | ClientResponse


def read(value: Any) -> Message:
    """The message in a parsed JSON value.

    1. One object, not a batch or a scalar.
    2. Only keys of the envelope, written as they are.
    3. `jsonrpc` is exactly "2.0".
    4. `id` is text of 256 bytes at most or an integer; a notification has none.
    5. `params` is an object, and no key of it or of `_meta` is a known one in other case.
    """
    try:
        return _read(value)
    except Rejected as rejected:
        rejected.request_id = readable_id(value)
        raise


def readable_id(value: Any) -> Id | None:
    """The id to echo in an error, as far as the message has a proper one."""
    found = value.get("id") if is_object(value) else None
    return found if _is_id(found) else None


def _read(message: Any) -> Message:
    if not is_object(message):  # 1
        what = "A batch" if is_array(message) else "A single value"
        raise _invalid("not_an_object", f"{what} is not a message: send one JSON-RPC object per request.")
    if not ENVELOPE.names.issuperset(message):  # 2
        check_known_keys(message, ENVELOPE, "the message")
        unknown = next(key for key in message if key not in ENVELOPE.names)
        raise _invalid("unknown_envelope_key", f"The message has an unknown key {shown(unknown)}.")
    if message.get("jsonrpc") != "2.0":  # 3
        raise _invalid("bad_jsonrpc_version", 'The message must have "jsonrpc": "2.0".')
    if "method" in message:
        return _call(message)
    return _response(message)


def _call(message: dict[str, Any]) -> Request | Notification:
    method = message["method"]
    if type(method) is not str:
        raise _invalid("bad_method", "`method` must be text.")
    if "result" in message or "error" in message:
        raise _invalid("ambiguous_message", "A message has either `method`, or `result`, or `error`.")
    params = _params(message)
    if "id" not in message:  # 4
        return Notification(method, params)
    if method.startswith("notifications/"):
        raise _invalid("notification_with_id", "A notification must not have an `id`.")
    return Request(_id(message), method, params)


def _params(message: dict[str, Any]) -> dict[str, Any]:
    if "params" not in message:
        return {}
    params = message["params"]
    if not is_object(params):  # 5
        raise _invalid("bad_params", "`params` must be an object.")
    check_known_keys(params, PARAMS, "`params`")
    meta = params.get("_meta")
    if is_object(meta):
        check_known_keys(meta, META, "`params._meta`")
    return params


def _response(message: dict[str, Any]) -> ClientResponse:
    if ("result" in message) == ("error" in message) or "params" in message:
        raise _invalid("ambiguous_message", "A message has either `method`, or `result`, or `error`.")
    if "result" in message:
        result = message["result"]
        if not is_object(result):
            raise _invalid("bad_result", "`result` must be an object.")
        return ClientResponse(_id(message), result=result)
    error = message["error"]
    if not is_object(error) or type(error.get("code")) is not int or type(error.get("message")) is not str:
        raise _invalid("bad_error", "`error` must be an object with an integer `code` and a text `message`.")
    return ClientResponse(_id(message), error=error)


def _id(message: dict[str, Any]) -> Id:
    found = message.get("id")
    if not _is_id(found):
        raise _invalid(
            "bad_id", f"`id` must be text of at most {MAX_ID_BYTES} bytes or an integer of 64 bits, not null."
        )
    return found


def _is_id(value: Any) -> TypeGuard[Id]:
    if type(value) is str:
        return len(value) * 4 <= MAX_ID_BYTES or len(value.encode()) <= MAX_ID_BYTES
    return type(value) is int and MIN_INTEGER <= value <= MAX_INTEGER


def _invalid(reason: str, text: str) -> Rejected:
    return Rejected(400, INVALID_REQUEST, reason, text)


_encode = msgspec.json.Encoder().encode


class _Wire(msgspec.Struct, frozen=True, tag_field="jsonrpc", tag="2.0"):
    """Every message starts with `"jsonrpc":"2.0"`."""


class _Result(_Wire, frozen=True):
    id: Id
    result: Any


class _ErrorObject(msgspec.Struct, frozen=True, omit_defaults=True):
    code: int
    message: str
    data: Any = None


class _Error(_Wire, frozen=True):
    id: Id | None
    error: _ErrorObject


class _Request(_Wire, frozen=True):
    id: Id
    method: str
    params: dict[str, Any]


class _Notification(_Wire, frozen=True):
    method: str
    params: dict[str, Any]


def result(id: Id, result: Any) -> bytes:
    """A successful answer. `result` is a JSON value, or `msgspec.Raw` of one."""
    return _encode(_Result(id, result))


def error(id: Id | None, code: int, message: str, data: Any = None) -> bytes:
    """An error answer; `id` is None where the request's could not be read, which is written as null."""
    return _encode(_Error(id, _ErrorObject(code, message, data)))


def request(id: Id, method: str, params: dict[str, Any]) -> bytes:
    """A request of ours."""
    return _encode(_Request(id, method, params))


def notification(method: str, params: dict[str, Any]) -> bytes:
    """A notification of ours."""
    return _encode(_Notification(method, params))
