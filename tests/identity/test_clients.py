"""Which clients there are, and where their answers may go."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.core.errors import Rejected
from airlock.identity import clients
from airlock.identity.clients import Client
from tests.gateway.parts import NOW
from tests.identity.login_parts import SEALER

APP = "https://app.example/callback"


def refusal(document: object, schemes: tuple[str, ...] = ()) -> str:
    with pytest.raises(Rejected) as refused:
        clients.metadata(document, schemes)
    assert refused.value.reason == "login_client_invalid"
    return str((refused.value.data or {})["error"])


@pytest.mark.parametrize(
    "uri",
    [
        APP,
        "https://app.example:8443/callback?x=1",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:8123/callback",
        "http://[::1]:8123/callback",
        "http://localhost:8123",
        "vscode://vendor.extension/callback",
    ],
)
def test_an_answer_may_go_to_https_loopback_and_allowed_applications(uri: str) -> None:
    assert clients.objection(uri, ("vscode",)) == ""


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/callback",
        "https://",
        "https://user@app.example/",
        "https://app.example/#fragment",
        "https://app.example/ space",
        "https://app.example/\\evil",
        "https://app.example/é",
        "https://app.example:port/",
        "https://app.example/" + "x" * 600,
        "javascript:alert(1)",
        "cursor://callback",
        "//app.example/",
        "https://[::1/",
        "",
    ],
)
def test_an_answer_goes_nowhere_else(uri: str) -> None:
    assert clients.objection(uri, ("vscode",))


@pytest.mark.parametrize(
    ("known", "uri", "fits"),
    [
        (APP, APP, True),
        (APP, APP + "/", False),
        (APP, "https://app.example:443/callback", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:8123/cb", True),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", True),
        ("http://[::1]/cb", "http://[::1]:8123/cb", True),
        ("http://localhost/cb?a=1", "http://localhost:8123/cb?a=1", True),
        ("http://localhost/cb?a=1", "http://localhost:8123/cb?a=2", False),
        ("http://127.0.0.1/cb", "http://localhost/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:8123/cb/x", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:8123@evil.example/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:70000/cb", False),
        ("http://127.0.0.1/cb", "HTTP://127.0.0.1/cb", False),
    ],
)
def test_a_redirect_uri_is_exact_and_on_loopback_up_to_the_port(known: str, uri: str, fits: bool) -> None:
    assert clients.answers_to(Client(id="x", name="", redirect_uris=(known,)), uri) is fits


def test_metadata_keeps_what_means_something() -> None:
    found = clients.metadata(
        {"redirect_uris": [APP], "client_name": "App", "logo_uri": "https://x/", "contacts": None}, ()
    )
    assert (found.redirect_uris, found.client_name) == ((APP,), "App")


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"redirect_uris": "text"},
        {"redirect_uris": [APP], "client_name": "x" * 65},
        {"redirect_uris": [APP], "client_name": "nice\u202eeman"},
        {"redirect_uris": [APP], "client_name": "two\nlines"},
        {"redirect_uris": [APP], "grant_types": ["client_credentials"]},
        {"redirect_uris": [APP], "response_types": ["token"]},
    ],
)
def test_metadata_that_cannot_be_used_is_refused(document: object) -> None:
    assert refusal(document) == "invalid_client_metadata"


@pytest.mark.parametrize(
    "uris",
    [[], ["http://app.example/"], [APP] * 11, [APP + "x" * 480] * 5],
    ids=["none", "plain", "many", "long"],
)
def test_redirect_uris_that_cannot_be_used_are_refused(uris: list[str]) -> None:
    assert refusal({"redirect_uris": uris}) == "invalid_redirect_uri"


def test_a_registered_client_is_known_by_its_id_alone() -> None:
    found = clients.metadata({"redirect_uris": [APP], "client_name": "App"}, ())
    client_id = clients.register(SEALER, found, now=NOW)
    client = clients.registered(SEALER, client_id)
    assert client == Client(id=clients.name_of(client_id), name="App", redirect_uris=(APP,))


def test_an_id_that_was_not_given_out_is_unknown() -> None:
    found = clients.metadata({"redirect_uris": [APP]}, ())
    client_id = clients.register(SEALER, found, now=NOW)
    changed = client_id[:-2] + ("AA" if client_id[-2:] != "AA" else "BB")
    assert clients.registered(SEALER, changed) is None
    assert clients.registered(SEALER, SEALER.seal("something else", b"{}")) is None
    assert clients.registered(SEALER, SEALER.seal("oauth client", b"no json")) is None


def test_the_name_of_a_client_in_rows_is_short_or_its_url() -> None:
    assert clients.name_of("https://app.example/client.json") == "https://app.example/client.json"
    assert len(clients.name_of("x" * 2000)) == 43


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://app.example/client.json", True),
        ("https://app.example:8443/a/b?x=1", True),
        ("http://127.0.0.1:9/client.json", True),
        ("http://127.0.0.1:8/client.json", False),
        ("http://app.example/client.json", False),
        ("https://app.example", False),
        ("https://app.example/", False),
        ("https://app.example/a/../b", False),
        ("https://app.example/%2e%2e/b", False),
        ("https://user@app.example/b", False),
        ("https://app.example/b#c", False),
        ("https://app.example:port/b", False),
        ("https://app.example/" + "x" * 256, False),
        ("https:///b", False),
        ("text", False),
    ],
)
def test_the_url_of_a_document_is_https_and_reads_one_way(url: str, is_one: bool) -> None:
    assert clients.is_document(url, ("http://127.0.0.1:9",)) is is_one


def document(**changed: Any) -> dict[str, Any]:
    return {"client_id": "https://app.example/c", "redirect_uris": [APP], "client_name": "App", **changed}


def test_a_document_describes_the_client_of_its_own_url() -> None:
    client = clients.described("https://app.example/c", document(), ())
    assert client == Client(id="https://app.example/c", name="App", redirect_uris=(APP,))


@pytest.mark.parametrize(
    "changed",
    [{"client_id": "https://app.example/other"}, {"token_endpoint_auth_method": "private_key_jwt"}],
    ids=["other", "confidential"],
)
def test_a_document_of_another_client_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(Rejected):
        clients.described("https://app.example/c", document(**changed), ())


def test_a_registration_gets_no_secret_whatever_it_asked_for() -> None:
    asked = {"redirect_uris": [APP], "token_endpoint_auth_method": "client_secret_post"}
    answer = clients.registration("id", clients.metadata(asked, ()), now=NOW)
    assert answer["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in answer
