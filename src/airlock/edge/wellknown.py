"""`/.well-known/oauth-protected-resource...`: where a client learns which issuer to ask for a token (RFC
9728)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from airlock.identity.challenge import identifier, metadata
from airlock.model.http import HttpRequest, HttpResponse, json_response


def well_known(
    *, public_url: str, issuers: tuple[str, ...]
) -> Callable[[HttpRequest], Awaitable[HttpResponse]]:
    """The handler. Any well-formed server name has a document, so it is no oracle for which servers exist."""

    async def document(request: HttpRequest) -> HttpResponse:
        resource = identifier(request.path, public_url)
        if resource is None or not issuers:
            return json_response(404, {"error": "not_found"})
        return json_response(200, metadata(resource, authorization_servers=issuers, name="Airlock"))

    return document
