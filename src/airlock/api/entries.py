"""One entry for each address of the management API: what it is called, who may, what it takes and gives.

The table of entries is the API: requests are routed by it, its document is made from it, and the door asks
policy for the permission that stands in it. A resource declares its entries in a function `entries(api)`
beside its handlers.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from airlock.core.errors import Rejected
from airlock.mcp import strict
from airlock.model.http import Headers, HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal

Guarded = Callable[[HttpRequest, Principal], Awaitable[HttpResponse]]
"""A handler that knows who asks."""

Permission = Literal[
    "gateway.read",
    "gateway.reload",
    "incidents.read",
    "incidents.write",
    "alerts.write",
    "leases.write",
    "rules.write",
    "evidence.read",
    "evidence.collect",
    "proposals.approve",
    "comms.send",
    "playbooks.run",
    "servers.write",
    "reports.read",
]
"""What policy is asked about, as `admin:<permission>`. Who may read incidents may read alerts, rules, leases,
proposals and runs."""

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

BODY = 64 * 1024
"""Bytes of a body: a thousand addresses fit."""

INVALID_PARAMS = -32602

_WORD = re.compile(r"Invalid enum value .* at `\$\.(\w+)`")

_Document = TypeVar("_Document", bound=msgspec.Struct)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One address and method."""

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    """Literal, with `{name}` for one segment."""
    permission: Permission | None
    """None: every caller may, for it is about what is theirs."""
    summary: str
    """One sentence."""
    handler: Guarded
    takes: type[msgspec.Struct] | None = None
    """The body; None: it has none, or (with `media`) is no JSON object."""
    optional: bool = False
    """Whether the body may be missing."""
    media: str = "application/json"
    """Of the body."""
    max_body: int = BODY
    asks: type[msgspec.Struct] | None = None
    """What the query may hold; each field is a text, a number, a truth value or one of some words."""
    gives: Any = None
    """The type of the answer; None: an object that the page of its part describes."""
    text: str = ""
    """The media type of an answer that is no JSON."""
    statuses: tuple[int, ...] = (200,)
    """Of answers that are no problems."""
    versioned: bool = False
    """Whether answers have an ETag, and `If-Match` counts."""
    keys: Literal["door", "handler"] = "door"
    """Who looks after `Idempotency-Key`: a handler that keeps it in its own transaction does so itself."""

    @property
    def writes(self) -> bool:
        return self.method != "GET"


def invalid(reason: str, text: str, **more: object) -> Rejected:
    """A request that is understood and cannot be carried out (422)."""
    return Rejected(422, INVALID_PARAMS, reason, text, data=more)


def document(request: HttpRequest, kind: type[_Document]) -> _Document:
    """The body as `kind`. Raises `Rejected`: 400 for what is no JSON object, 422 for a wrong member."""
    value: Any = strict.parse(request.body)
    if not strict.is_object(value):
        raise Rejected(400, strict.INVALID_REQUEST, "not_an_object", "The body is not a JSON object.")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as wrong:
        raise invalid("invalid_params", complaint(wrong, kind)) from wrong


def complaint(wrong: msgspec.ValidationError, kind: type[msgspec.Struct]) -> str:
    """What is wrong with a body. Of a member that takes one of several words, these words too."""
    found = _WORD.search(str(wrong))
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    words = _words(types[found[1]]) if found is not None and found[1] in types else []
    return f"{wrong}." + (f" One of: {', '.join(words)}." if words else "")


def _words(type: Any) -> list[str]:
    """The words of a `Literal`, also within a union."""
    if get_origin(type) is Literal:
        return [str(word) for word in get_args(type) if word]
    return [word for part in get_args(type) for word in _words(part)]


def optional(request: HttpRequest, kind: type[_Document]) -> _Document:
    """The body as `kind`, whose fields all have defaults; without one, these. Raises as `document` does."""
    return document(request, kind) if request.body else kind()


def query(request: HttpRequest, kind: type[_Document]) -> _Document:
    """The query as `kind`. Raises `Rejected` 422 for a name that is not asked for, comes twice or does not
    fit."""
    try:
        pairs = parse_qsl(request.query, keep_blank_values=True, strict_parsing=bool(request.query))
    except ValueError as wrong:
        raise invalid("invalid_params", "The query is not `name=value` pairs.") from wrong
    given = dict(pairs)
    if len(given) != len(pairs):
        raise invalid("invalid_params", "A name stands in the query twice.")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as wrong:
        raise invalid("invalid_params", f"In the query: {wrong}.") from wrong


def etag(version: int) -> Headers:
    """The header of an answer with a resource of this version."""
    return (("etag", f'"{version}"'),)


def versioned(status: int, value: object, version: int) -> HttpResponse:
    """`value` as JSON, with the ETag of its version."""
    return json_response(status, value, etag(version))


def expected(request: HttpRequest) -> int | None:
    """The version that `If-Match` demands; None: whichever there is. Raises `Rejected` 412 for what is not
    an ETag of ours."""
    values = [value.strip() for name, value in request.headers if name == "if-match"]
    if not values or values == ["*"]:
        return None
    tag = values[0]
    digits = tag[1:-1]
    if len(values) == 1 and tag == f'"{digits}"' and digits.isascii() and digits.isdigit():
        return int(digits[:18])
    raise mismatch()


def mismatch() -> Rejected:
    """The resource is not as the caller last saw it (412)."""
    text = "It was changed since you looked: read it again, and decide again."
    return Rejected(412, strict.INVALID_REQUEST, "version_conflict", text)
