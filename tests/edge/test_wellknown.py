"""Where a client learns which issuer to ask for a token (RFC 9728)."""

from __future__ import annotations

import asyncio
import json

import pytest

from airlock.edge.wellknown import well_known
from airlock.model.http import HttpRequest, HttpResponse

PREFIX = "/.well-known/oauth-protected-resource"
PUBLIC = "https://gate.example"


def ask(path: str, *, issuers: tuple[str, ...] = ("https://issuer.example",)) -> HttpResponse:
    request = HttpRequest(method="GET", path=path, params={}, authorization=None, source_ip="", body=b"")

    async def asked() -> HttpResponse:
        return await well_known(public_url=PUBLIC, issuers=issuers)(request)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (PREFIX, PUBLIC),
        (f"{PREFIX}/mcp", f"{PUBLIC}/mcp"),
        (f"{PREFIX}/mcp/docs", f"{PUBLIC}/mcp/docs"),
        (f"{PREFIX}/mcp/no-such-server", f"{PUBLIC}/mcp/no-such-server"),
    ],
)
def test_the_document_of_a_resource_names_it(path: str, resource: str) -> None:
    response = ask(path)
    assert (response.status, json.loads(response.body)["resource"]) == (200, resource)


def test_the_document_tells_what_a_client_needs() -> None:
    document = json.loads(ask(f"{PREFIX}/mcp").body)
    assert document["authorization_servers"] == ["https://issuer.example"]
    assert document["bearer_methods_supported"] == ["header"]
    assert document["resource_name"] == "Airlock"
    assert "offline_access" not in document["scopes_supported"]


@pytest.mark.parametrize("path", [f"{PREFIX}/mcp/Docs", f"{PREFIX}/mcp/a/b", f"{PREFIX}/other", "/mcp"])
def test_what_is_no_resource_has_no_document(path: str) -> None:
    assert ask(path).status == 404


def test_without_an_issuer_there_is_no_document() -> None:
    assert ask(f"{PREFIX}/mcp", issuers=()).status == 404
