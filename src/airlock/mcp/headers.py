"""HTTP header fields of MCP: read once, no duplicates that two readers would see differently, bounded.

Also the annotation `x-mcp-header` of tool schemas, which mirrors arguments into `Mcp-Param-*` fields, and
the `=?base64?...?=` form of values (MCP 2026-07-28, Streamable HTTP, custom headers).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from airlock.core.errors import Rejected
from airlock.mcp.schemas import positions
from airlock.mcp.strict import INVALID_REQUEST, ecma_number, is_object, shown

MAX_BLOCK = 32 * 1024
"""Bytes of all fields together, separators included; what common servers accept."""
MAX_VALUE = 8 * 1024
"""Bytes of one value."""

SINGLE = frozenset(
    {
        "authorization",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "mcp-session-id",
        "content-length",
        "host",
    }
)
PARAM_PREFIX = "mcp-param-"
ANNOTATION = "x-mcp-header"
MIRRORED_TYPES = ("string", "integer", "boolean")

ParamHeaders = tuple[tuple[tuple[str, ...], str], ...]
"""(property path, header token) of each annotated property of a tool."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_JSON = re.compile(rb'application/json\s*(;\s*charset\s*=\s*("utf-8"|utf-8)\s*)?', re.IGNORECASE)
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class Headers:
    """The fields of one request. Names have no case; repeated ordinary fields are joined by a comma."""

    __slots__ = ("_fields", "get")

    get: Callable[[str], str | None]
    """The value of a field, by its name in lower case."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        given = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in raw]
        fields = dict(given)
        size = sum(map(len, fields)) + sum(map(len, fields.values())) + 4 * len(fields)
        if len(fields) < len(given) or size > MAX_VALUE:
            fields = _joined(given)
        if "transfer-encoding" in fields and "content-length" in fields:
            text = "Transfer-Encoding and Content-Length exclude each other."
            raise Rejected(400, INVALID_REQUEST, "ambiguous_length", text, headers=(("connection", "close"),))
        self._fields = fields
        self.get = fields.get

    @property
    def params(self) -> dict[str, str]:
        """The `Mcp-Param-*` fields: token in lower case -> value as sent."""
        if PARAM_PREFIX not in "\n".join(self._fields):  # most requests have none: one look instead of many
            return {}
        return {
            name[len(PARAM_PREFIX) :]: value
            for name, value in self._fields.items()
            if name.startswith(PARAM_PREFIX)
        }


def _joined(given: list[tuple[str, str]]) -> dict[str, str]:
    """Fields of which some came twice, or which are long together: one by one."""
    fields: dict[str, str] = {}
    size = 0
    for name, value in given:
        size += len(name) + len(value) + 4
        if len(value) > MAX_VALUE:
            raise _too_large(f"The header {name} is longer than {MAX_VALUE} bytes.")
        if name in fields:
            if name in SINGLE or name.startswith(PARAM_PREFIX):
                text = f"The header {name} is sent more than once."
                raise Rejected(400, INVALID_REQUEST, "duplicate_header", text)
            fields[name] += ", " + value
        else:
            fields[name] = value
    if size > MAX_BLOCK:
        raise _too_large(f"The headers are longer than {MAX_BLOCK} bytes together.")
    return fields


def _too_large(text: str) -> Rejected:
    return Rejected(431, INVALID_REQUEST, "headers_too_large", text)


def check_content(headers: Headers) -> None:
    """The body must be plain JSON in UTF-8, or 415."""
    kind = headers.get("content-type") or ""
    if kind != "application/json" and not _JSON.fullmatch(kind.encode()):
        text = "Content-Type must be application/json."
        raise Rejected(415, INVALID_REQUEST, "unsupported_content_type", text)
    if (headers.get("content-encoding") or "identity").lower() != "identity":
        text = "Content-Encoding is not supported: send the body as it is."
        raise Rejected(415, INVALID_REQUEST, "unsupported_content_encoding", text)


class Accept(msgspec.Struct, frozen=True):
    """The forms of answer that a client takes; at least one is true."""

    json: bool
    sse: bool


ANY = Accept(json=True, sse=True)


def accepts(headers: Headers) -> Accept:
    """What the client can read (RFC 9110 section 12.5.1); nothing of ours is 406."""
    value = headers.get("accept")
    if value is None or value in ("*/*", "application/json, text/event-stream"):
        return ANY
    weights: dict[str, bool] = {}
    for element in value.lower().split(","):
        media, *parameters = (part.strip() for part in element.split(";"))
        weights[media] = not any(_zero(parameter) for parameter in parameters)
    accept = Accept(
        json=_allowed(weights, "application/json", "application/*"),
        sse=_allowed(weights, "text/event-stream", "text/*"),
    )
    if not (accept.json or accept.sse):
        text = "Accept must allow application/json or text/event-stream."
        raise Rejected(406, INVALID_REQUEST, "not_acceptable", text)
    return accept


def _zero(parameter: str) -> bool:
    return parameter.startswith("q=") and not parameter[2:].strip("0.")


def _allowed(weights: dict[str, bool], *ranges: str) -> bool:
    """The most specific range decides."""
    return next((weights[media] for media in (*ranges, "*/*") if media in weights), False)


def encode_value(text: str) -> str:
    """A header value that carries the text: itself if it survives as it is, else the base64 form."""
    if _PRINTABLE.fullmatch(text) and text == text.strip() and not _wrapped(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decode_value(value: str) -> str:
    """The text in a header value. Raises `ValueError` for a broken base64 form."""
    if not _wrapped(value):
        return value
    payload = value[9:-2].encode("latin-1")
    try:
        decoded = base64.b64decode(payload, validate=True)
        if base64.b64encode(decoded) == payload:
            return decoded.decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("the base64 form is broken") from error
    raise ValueError("the base64 form has loose bits")


def _wrapped(value: str) -> bool:
    return len(value) >= 11 and value.startswith("=?base64?") and value.endswith("?=")


def find_defects(input_schema: Any) -> str:
    """Why the `x-mcp-header` annotations of a tool cannot be used; empty if they can."""
    seen: set[str] = set()
    for path, _, schema in positions(input_schema):
        if ANNOTATION in schema:
            defect = _defect(path, schema, seen)
            if defect:
                return defect
    return ""


def _defect(path: tuple[str, ...] | None, schema: dict[str, Any], seen: set[str]) -> str:
    token = schema[ANNOTATION]
    if not path:
        return f"{ANNOTATION} stands where no chain of `properties` leads from the root"
    where = shown(".".join(path))
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return f"{ANNOTATION} of {where} is not a token (RFC 9110)"
    if schema.get("type") not in MIRRORED_TYPES:
        return f"{ANNOTATION} of {where} needs the type string, integer or boolean"
    if token.lower() in seen:
        return f"{ANNOTATION} {shown(token)} is used twice"
    seen.add(token.lower())
    return ""


def param_headers(input_schema: Any) -> ParamHeaders:
    """The annotated properties of a schema without defects, in order of their paths."""
    found = (
        (path, schema[ANNOTATION]) for path, _, schema in positions(input_schema) if ANNOTATION in schema
    )
    return tuple(sorted((path, token) for path, token in found if path))


def render_param_headers(declared: ParamHeaders, arguments: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The `Mcp-Param-*` fields of a call; absent, null and composite values have none."""
    if not declared:
        return ()
    rendered = ((token, render(value_at(arguments, path))) for path, token in declared)
    return tuple((f"Mcp-Param-{token}", encode_value(text)) for token, text in rendered if text is not None)


def undeclared(declared: ParamHeaders, headers: Headers) -> tuple[tuple[str, str], ...]:
    """The `Mcp-Param-*` fields of a request that its tool does not declare, as they can be sent on (E-10)."""
    sent = headers.params
    if not sent:
        return ()
    known = {token.lower() for _, token in declared}
    return tuple(
        (f"Mcp-Param-{token}", value)
        for token, value in sent.items()
        if token not in known and _TOKEN.fullmatch(token) and _PRINTABLE.fullmatch(value)
    )


def unmirrored(definition: dict[str, Any], declared: ParamHeaders, names: frozenset[str]) -> dict[str, Any]:
    """The definition of a tool without the annotations of properties that have, or stand below, one of these
    names (E-11)."""
    for path, _ in declared:
        if not names.isdisjoint(path):
            schema = _unannotated(definition["inputSchema"], path)
            definition = {**definition, "inputSchema": schema}
    return definition


def _unannotated(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    if not path:
        return {key: said for key, said in schema.items() if key != ANNOTATION}
    below = schema["properties"]
    if path[0] not in below:  # its name was taken out as a secret: no client can send it
        return schema
    return {**schema, "properties": {**below, path[0]: _unannotated(below[path[0]], path[1:])}}


def value_at(arguments: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a property path, None where there is none."""
    value: Any = arguments
    for name in path:
        if not is_object(value):
            return None
        value = value.get(name)
    return value


def render(value: Any) -> str | None:
    """A scalar as its header writes it; None for what is not mirrored."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return ecma_number(value)
    return str(value) if isinstance(value, str | int) else None
