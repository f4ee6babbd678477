"""`/api/v1/openapi.json`: the management API as an OpenAPI 3.1 document, made from its table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

import airlock
from airlock.api.entries import Entry
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal

Node = dict[str, Any]

PATH = "/api/v1/openapi.json"

_PLACE = "#/components/schemas/{name}"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal (RFC 9457). `code` is the stable word of `docs/errors.md`; some have more members, such as
    `missing` of a guard."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class OpenApi:
    """Answers with the document."""

    def __init__(self, *, public_url: str) -> None:
        self._url = public_url
        self._entries: tuple[Entry, ...] = ()
        self._body = b""

    def over(self, entries: tuple[Entry, ...]) -> None:
        """The table that it is about."""
        self._entries = entries

    async def document(self, request: HttpRequest, caller: Principal) -> HttpResponse:
        """The document; made once."""
        if not self._body:
            self._body = json_response(200, document(self._entries, self._url)).body
        response = json_response(200, {})
        return msgspec.structs.replace(response, body=self._body)


def entries(api: OpenApi) -> tuple[Entry, ...]:
    """The address of the document."""
    entry = Entry(
        method="GET",
        path=PATH,
        permission="gateway.read",
        summary="This document.",
        handler=api.document,
    )
    return (entry,)


def document(table: Sequence[Entry], url: str) -> Node:
    """OpenAPI 3.1 of a table; `url` is the public address of the gateway."""
    kinds = [kind for entry in table for kind in (entry.takes, entry.gives) if kind is not None]
    schemas, components = msgspec.json.schema_components([*kinds, Problem], ref_template=_PLACE)
    known = dict(zip(map(id, kinds), schemas, strict=False))
    paths: dict[str, Node] = {}
    for entry in table:
        paths.setdefault(entry.path, {})[entry.method.lower()] = _operation(entry, known)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {"title": "Airlock management API", "version": airlock.__version__},
        "servers": [{"url": url}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"problem": _problem()},
        },
    }


def _operation(entry: Entry, known: dict[int, Node]) -> Node:
    permission = "For every caller: it is about what is theirs."
    if entry.permission is not None:
        permission = f"Needs the role `admin`, or a policy that allows `admin:{entry.permission}`."
    told: Node = {
        "operationId": _name(entry),
        "summary": entry.summary,
        "description": permission,
        "x-permission": entry.permission,
        "parameters": [*_in_path(entry), *_in_query(entry), *_in_head(entry)],
        "responses": {str(status): _answer(entry, status, known) for status in entry.statuses},
    }
    told["responses"]["default"] = {"$ref": "#/components/responses/problem"}
    body = _body(entry, known)
    return told | ({"requestBody": body} if body else {})


def _name(entry: Entry) -> str:
    words = [part for part in re.split(r"[/{}.\-]+", entry.path) if part not in ("", "api", "v1")]
    return "_".join([entry.method.lower(), *words])


def _body(entry: Entry, known: dict[int, Node]) -> Node:
    if entry.takes is not None:
        schema = known[id(entry.takes)]
    elif entry.media != "application/json":
        schema = {}
    else:
        return {}
    return {"required": not entry.optional, "content": {entry.media: {"schema": schema}}}


def _answer(entry: Entry, status: int, known: dict[int, Node]) -> Node:
    schema = {"type": "object"} if entry.gives is None else known[id(entry.gives)]
    content: Node = {entry.text: {}} if entry.text else {"application/json": {"schema": schema}}
    told: Node = {"description": HTTPStatus(status).phrase, "content": content}
    if entry.versioned:
        told["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return told


def _in_path(entry: Entry) -> Iterable[Node]:
    for name in re.findall(r"\{([a-z_]+)\}", entry.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _in_query(entry: Entry) -> Iterable[Node]:
    if entry.asks is None:
        return
    schema: Node = msgspec.json.schema(entry.asks)["$defs"][entry.asks.__name__]
    for name, kind in schema["properties"].items():
        required = name in schema.get("required", ())
        yield {"name": name, "in": "query", "required": required, "schema": kind}


def _in_head(entry: Entry) -> Iterable[Node]:
    names = ["Idempotency-Key"] if entry.writes else []
    names += ["If-Match"] if entry.writes and entry.versioned else []
    for name in names:
        yield {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}


def _problem() -> Node:
    schema = {"$ref": _PLACE.format(name="Problem")}
    return {"description": "Refused", "content": {"application/problem+json": {"schema": schema}}}
