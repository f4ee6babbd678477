"""Shapes of results and errors between eras, and the bounds of tool schemas. Nothing here changes its input.

What an era does not know is added, taken away or put in its own words; what nobody knows is refused as a
breach of the protocol by the server (`UpstreamFault`), never passed on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from airlock.core.errors import Effect, UpstreamFault
from airlock.mcp.refusals import REASONS
from airlock.mcp.schemas import positions
from airlock.mcp.strict import is_array, is_object

MAX_SCHEMA_DEPTH = 32
MAX_SUBSCHEMAS = 2000
MAX_SCHEMA_BYTES = 256 * 1024
"""Beyond these a schema costs more to check than any honest tool needs."""

LIST_TTL_MS = 30_000
"""Milliseconds that a modern client may keep a list of a server that says nothing of it."""

SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"
PROTOCOL_PREFIX = "io.modelcontextprotocol/"
OWN_PREFIX = "dev.airlock/"
MODERN_FIELDS = frozenset({"resultType", "ttlMs", "cacheScope"})
RESULT_TYPES = ("complete", "input_required")

BLOCKS_ADDED = {
    "audio": frozenset({"2025-03-26", "2025-06-18", "2025-11-25"}),
    "resource_link": frozenset({"2025-06-18", "2025-11-25"}),
}
"""Content block -> the legacy versions that know it; the others are known to all."""

RESOURCE_NOT_FOUND = -32002
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
CAPABILITY_MISSING = -32021
UNSUPPORTED_VERSION = -32022
URL_ELICITATION = -32042
METHOD_NOT_FOUND = -32601
_STATUS = {CAPABILITY_MISSING: 400, METHOD_NOT_FOUND: 404}
SERVER_RANGE = range(-32019, -31999)
PROTOCOL_RANGE = range(-32099, -32022)
"""Codes left to implementations, and codes that the protocol reserves and has not defined."""

_encode = msgspec.json.encode


def without_ours(result: dict[str, Any]) -> dict[str, Any]:
    """A server's result without `_meta` keys of the gateway: only the gateway says why it refused."""
    if "_meta" not in result:
        return result
    meta = _meta(result)
    if not any(key.startswith(OWN_PREFIX) for key in meta):
        return result
    return {**result, "_meta": {key: said for key, said in meta.items() if not key.startswith(OWN_PREFIX)}}


def to_modern(
    result: dict[str, Any],
    *,
    server_info: dict[str, Any],
    cacheable: bool,
    ttl_ms: int = LIST_TTL_MS,
    untold_ms: int = LIST_TTL_MS,
) -> dict[str, Any]:
    """The result as a modern client expects it.

    A missing `resultType` is added, which repairs legacy and sloppy modern servers alike. Cacheable results
    may be kept as long as the server (`untold_ms`, where it says nothing) and `ttl_ms` both allow, and by
    nobody but this client.
    """
    if result.get("resultType", "complete") not in RESULT_TYPES:
        raise UpstreamFault.protocol("resultType is unknown")
    shaped = {"resultType": "complete", **result}
    shaped["_meta"] = {**_meta(result), SERVER_INFO_KEY: server_info}
    if cacheable:
        said = result.get("ttlMs")
        shaped["ttlMs"] = min(said if type(said) is int and said >= 0 else untold_ms, ttl_ms)
        shaped["cacheScope"] = "private"
    return shaped


def to_legacy(result: dict[str, Any], version: str) -> dict[str, Any]:
    """The result as a client of this legacy version expects it. Raises `UpstreamFault` unless complete."""
    if result.get("resultType", "complete") != "complete":
        raise UpstreamFault.protocol("a result that is not complete cannot be told to a legacy client")
    shaped = result.copy()
    for key in MODERN_FIELDS.intersection(result):
        del shaped[key]
    if "_meta" in shaped:
        shaped["_meta"] = {
            key: value for key, value in _meta(result).items() if not key.startswith(PROTOCOL_PREFIX)
        }
        if not shaped["_meta"]:
            del shaped["_meta"]
    if is_array(content := shaped.get("content")):
        shaped["content"] = [_known_block(block, version) for block in content]
    if "messages" in shaped and is_array(messages := shaped["messages"]):
        shaped["messages"] = [_known_message(message, version) for message in messages]
    if "structuredContent" in shaped and not is_object(shaped["structuredContent"]):
        _structured_to_text(shaped)
    return shaped


def tool_to_legacy(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition less an `outputSchema` that legacy clients would refuse: its root must be an object."""
    output = definition.get("outputSchema")
    if output is None or (is_object(output) and output.get("type") == "object"):
        return definition
    return {key: value for key, value in definition.items() if key != "outputSchema"}


def _meta(result: dict[str, Any]) -> dict[str, Any]:
    meta = result.get("_meta", {})
    if not is_object(meta):
        raise UpstreamFault.protocol("`_meta` of a result is not an object")
    return meta


def _known_message(message: Any, version: str) -> Any:
    if not is_object(message):
        raise UpstreamFault.protocol("a message of a prompt is not an object")
    return {**message, "content": _known_block(message.get("content"), version)}


def _known_block(block: Any, version: str) -> Any:
    if not is_object(block):
        raise UpstreamFault.protocol("a content block is not an object")
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in BLOCKS_ADDED or version in BLOCKS_ADDED[kind]:
        return block
    about = f": {block.get('uri')}" if kind == "resource_link" else ""
    return {"type": "text", "text": f"[{kind} content, which this protocol version cannot carry{about}]"}


def _structured_to_text(shaped: dict[str, Any]) -> None:
    """Legacy `structuredContent` is an object; any other value is told as a text block of the same JSON."""
    value = shaped.pop("structuredContent")
    content: Any = shaped.get("content")
    blocks: list[Any] = content if is_array(content) else []
    if not any(_tells(block, value) for block in blocks):
        shaped["content"] = [*blocks, {"type": "text", "text": _encode(value).decode()}]


def _tells(block: dict[str, Any], value: Any) -> bool:
    text = block.get("text")
    if not isinstance(text, str):
        return False
    try:
        return msgspec.json.decode(text) == value
    except msgspec.DecodeError:
        return False


def map_error(
    error: dict[str, Any],
    *,
    client_modern: bool,
    upstream_modern: bool,
    method: str = "tools/call",
    uri: str = "",
) -> dict[str, Any]:
    """A server's error object in the words of the client's era.

    -32022 means that the gateway used the wrong version: nothing was executed, and no client is told.
    """
    code, message = error.get("code"), error.get("message")
    if type(code) is not int or type(message) is not str:
        raise UpstreamFault.protocol("an error without integer code and text message")
    if code == UNSUPPORTED_VERSION:
        raise UpstreamFault.protocol("the server refuses our protocol version", effect=Effect.NONE)
    data = error.get("data")
    said: dict[str, Any] = data if is_object(data) else {}
    if code == RESOURCE_NOT_FOUND and client_modern:
        return _error(INVALID_PARAMS, message, {"uri": said.get("uri", uri)})
    if code == INVALID_PARAMS and method == "resources/read" and upstream_modern and not client_modern:
        return _error(RESOURCE_NOT_FOUND, message, {"uri": said.get("uri", uri)})
    if code == CAPABILITY_MISSING and not client_modern:
        return _error(INVALID_PARAMS, message, {"requiredCapabilities": said.get("requiredCapabilities", {})})
    if _untellable(code, client_modern=client_modern, upstream_modern=upstream_modern):
        return _error(INTERNAL_ERROR, message, {"upstreamCode": code})
    return _error(code, message, data)


def error_status(code: int, *, client_modern: bool) -> int:
    """The HTTP status of an error as `map_error` gives it: legacy clients read all of them with 200."""
    return _STATUS.get(code, 200) if client_modern else 200


def _untellable(code: int, *, client_modern: bool, upstream_modern: bool) -> bool:
    """Codes that mean nothing to this client, or something else than the server meant."""
    if code == URL_ELICITATION:
        return client_modern or upstream_modern
    if code == HEADER_MISMATCH or code in PROTOCOL_RANGE or code in REASONS:
        return True  # the last are ours: no server speaks for the gateway
    return client_modern and code in SERVER_RANGE


def _error(code: int, message: str, data: Any) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return error


def schema_defect(schema: Any) -> str:
    """Why a tool's schema cannot be served; empty if it can."""
    if not is_object(schema):
        return "its schema is not an object"
    if len(_encode(schema)) > MAX_SCHEMA_BYTES:
        return f"its schema is longer than {MAX_SCHEMA_BYTES} bytes"
    for count, (_, depth, _) in enumerate(positions(schema), start=1):
        if depth > MAX_SCHEMA_DEPTH:
            return f"its schema is nested deeper than {MAX_SCHEMA_DEPTH} levels"
        if count > MAX_SUBSCHEMAS:
            return f"its schema has more than {MAX_SUBSCHEMAS} subschemas"
    return ""
