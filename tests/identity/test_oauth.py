"""Parameters, PKCE and metadata of the authorization server."""

from __future__ import annotations

import pytest

from airlock.core.errors import Rejected
from airlock.identity import oauth


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {}),
        ("a=1&b=%20x", {"a": "1", "b": " x"}),
        ("a=&b=2", {"b": "2"}),
    ],
)
def test_parameters_are_read_and_empty_ones_left_out(query: str, found: dict[str, str]) -> None:
    assert oauth.parameters(query) == found


@pytest.mark.parametrize(
    "query", ["a=1&a=2", "a=1&a=1", "a=1&b", "a=%ff", "&".join(f"p{n}=1" for n in range(33))]
)
def test_parameters_that_read_two_ways_are_refused(query: str) -> None:
    with pytest.raises(Rejected) as refused:
        oauth.parameters(query)
    assert refused.value.reason == "login_request_invalid"


def test_a_verifier_proves_its_own_challenge() -> None:
    """The example of RFC 7636, appendix B."""
    verifier, challenge = (
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    )
    assert oauth.challenge_of(verifier) == challenge
    assert oauth.proves(verifier, challenge)


@pytest.mark.parametrize(
    "verifier", ["", "short", "x" * 43, "dBjftJeZ4CVP mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "x" * 129]
)
def test_another_verifier_proves_nothing(verifier: str) -> None:
    assert not oauth.proves(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")


def test_a_challenge_is_a_sha256_in_base64url() -> None:
    assert oauth.is_challenge("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    assert not oauth.is_challenge("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=")


def test_the_query_of_a_redirect_uri_stays() -> None:
    assert oauth.with_parameters("https://a.example/", {"code": "a b"}) == "https://a.example/?code=a+b"
    assert oauth.with_parameters("https://a.example/?x=1", {"code": "c"}) == "https://a.example/?x=1&code=c"


def test_the_metadata_promises_only_what_is_served() -> None:
    found = oauth.server_metadata("https://gate.example", registration=False, documents=False)
    assert "registration_endpoint" not in found
    assert found["client_id_metadata_document_supported"] is False
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["token_endpoint_auth_methods_supported"] == ["none"]
    assert found["authorization_response_iss_parameter_supported"] is True
