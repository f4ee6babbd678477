"""An HTTP request and response as the rooms see them: values, whatever server carries them."""

from __future__ import annotations

import msgspec

Headers = tuple[tuple[str, str], ...]


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose transport checks have passed. `params` are the variable parts of the route."""

    method: str
    path: str
    params: dict[str, str]
    query: str = ""
    """As sent, without the question mark; not decoded."""
    headers: Headers = ()
    """Names in lower case, in the order in which they came; one that came twice is here twice."""
    authorization: str | None
    source_ip: str
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The one value of a header; None where it is missing or was sent twice."""
        values = [value for known, value in self.headers if known == name]
        return values[0] if len(values) == 1 else None


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
