"""An HTTP request and response as the rooms see them: values, whatever server carries them."""

from __future__ import annotations

import msgspec

Headers = tuple[tuple[str, str], ...]


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose transport checks have passed. `params` are the variable parts of the route."""

    method: str
    path: str
    params: dict[str, str]
    authorization: str | None
    source_ip: str
    body: bytes


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A whole response; `headers` without length, which the carrier adds."""

    status: int
    body: bytes = b""
    headers: Headers = ()


def json_response(status: int, value: object, headers: Headers = ()) -> HttpResponse:
    """`value` as `application/json`, never cached."""
    return HttpResponse(
        status=status,
        body=msgspec.json.encode(value),
        headers=(("content-type", "application/json"), ("cache-control", "no-store"), *headers),
    )
