"""What a provider publishes: which documents are believed, and which keys are taken from them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from airlock.core.config import ALGORITHMS
from airlock.identity.discovery import MOST_KEYS, BadDocument, locations, read_keys, read_metadata

ISSUER = "https://idp.example"

EC = ECKey.generate_key("P-256").as_dict(private=False)
RSA = RSAKey.generate_key(2048).as_dict(private=False)
ED = OKPKey.generate_key("Ed25519").as_dict(private=False)


def document(**members: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks", **members}).encode()


def keys(*jwks: Any, algorithms: tuple[str, ...] = ALGORITHMS) -> dict[str, str]:
    """The algorithm of each key that is taken."""
    found = read_keys(json.dumps({"keys": jwks}).encode(), algorithms)
    return {kid: algorithm for kid, (algorithm, _) in found.items()}


def why(body: bytes) -> str:
    with pytest.raises(BadDocument) as refused:
        read_metadata(body, ISSUER)
    return refused.value.reason


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (
            "https://idp.example",
            (
                "https://idp.example/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server",
            ),
        ),
        (
            "https://idp.example/realms/a/",
            (
                "https://idp.example/realms/a/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server/realms/a",
            ),
        ),
    ],
)
def test_metadata_is_looked_for_where_the_standards_say(issuer: str, expected: tuple[str, ...]) -> None:
    assert locations(issuer) == expected


def test_metadata_of_the_issuer_is_read() -> None:
    found = read_metadata(document(token_endpoint=f"{ISSUER}/token", scopes_supported=["a"]), ISSUER)
    assert (found.jwks_uri, found.token_endpoint) == (f"{ISSUER}/jwks", f"{ISSUER}/token")


@pytest.mark.parametrize("issuer", ["https://idp.example/", "https://evil.example", "", None, 1])
def test_metadata_of_another_issuer_is_not(issuer: object) -> None:
    assert why(document(issuer=issuer)) == "issuer_mismatch"


@pytest.mark.parametrize(
    "name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint"]
)
@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd", "a:$(calc)", "http://idp.example/x", "//idp.example/x", "javascript:alert(1)",
        "https://", "https://idp.example:0/", "https://[x/", "https://idp.example/\u00e9", "https://a/\n",
        7, None,
    ],
)  # fmt: skip
def test_an_address_that_is_none_refuses_the_document(name: str, address: object) -> None:
    assert why(document(**{name: address})) == "ssrf_guard"


def test_a_provider_without_tls_may_name_addresses_without_it() -> None:
    body = document(issuer="http://127.0.0.1:1", jwks_uri="http://127.0.0.1:1/jwks")
    assert read_metadata(body, "http://127.0.0.1:1").jwks_uri == "http://127.0.0.1:1/jwks"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"issuer":"a","issuer":"b"}', b"\xff", b"null", document()[:-1]],
)
def test_what_is_no_object_is_no_metadata(body: bytes) -> None:
    assert why(body) == "metadata_invalid"


def test_a_member_of_a_wrong_type_refuses_the_document() -> None:
    assert why(document(code_challenge_methods_supported="S256")) == "metadata_invalid"
    assert why(json.dumps({"issuer": ISSUER}).encode()) == "metadata_invalid"


def test_each_key_is_pinned_to_one_algorithm() -> None:
    assert keys({**EC, "kid": "e"}, {**RSA, "kid": "r"}, {**ED, "kid": "o"}) == {
        "e": "ES256",
        "r": "RS256",
        "o": "Ed25519",
    }


def test_a_key_signs_with_what_it_names() -> None:
    assert keys({**RSA, "kid": "r", "alg": "PS384"}) == {"r": "PS384"}


def test_a_key_that_names_nothing_signs_with_the_first_that_fits() -> None:
    assert keys({**RSA, "kid": "r"}, algorithms=("ES256", "PS256", "RS256")) == {"r": "PS256"}


def test_a_key_without_an_id_has_the_empty_one() -> None:
    assert keys(EC) == {"": "ES256"}


def test_of_two_keys_with_one_id_the_first_counts() -> None:
    assert keys({**EC, "kid": "a"}, {**RSA, "kid": "a"}) == {"a": "ES256"}


@pytest.mark.parametrize(
    "jwk",
    [
        {**EC, "use": "enc"},
        {**EC, "key_ops": ["sign"]},
        {**EC, "key_ops": "verify"},
        {**EC, "alg": "RS256"},
        {**EC, "alg": "none"},
        {**EC, "alg": ["ES256"]},
        {**EC, "kid": 1},
        {**EC, "crv": "P-257"},
        {**EC, "x": 1},
        {**EC, "y": "AAAA"},
        {**RSA, "n": "A" * 5000},
        {**RSA, "e": "AQ"},
        ECKey.generate_key("P-256").as_dict(private=True),
        OctKey.generate_key(256).as_dict(private=True),
        {"kty": "RSA"},
        {"kty": "none"},
        {"kty": ["RSA"]},
        {},
        "key",
        None,
    ],
)
def test_a_key_that_cannot_verify_is_passed_over(jwk: Any) -> None:
    assert keys(jwk, {**ED, "kid": "good"}) == {"good": "Ed25519"}


def test_a_short_rsa_key_is_passed_over() -> None:
    n = base64.urlsafe_b64encode(((1 << 1023) + 1).to_bytes(128, "big")).rstrip(b"=").decode()
    assert keys({"kty": "RSA", "n": n, "e": "AQAB", "kid": "short"}, {**ED, "kid": "good"}) == {
        "good": "Ed25519"
    }


@pytest.mark.parametrize(
    "body", [b"{}", b'{"keys":{}}', b'{"keys":[]}', json.dumps({"keys": [EC] * (MOST_KEYS + 1)}).encode()]
)
def test_a_set_without_a_usable_key_is_refused(body: bytes) -> None:
    with pytest.raises(BadDocument) as refused:
        read_keys(body, ALGORITHMS)
    assert refused.value.reason == "keys_unusable"


parts = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(max_size=8)
    | st.sampled_from(list(RSA.values())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
members = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "alg", "use", "key_ops", "kid"])
kinds = st.sampled_from(["RSA", "EC", "OKP", "oct"])


@settings(max_examples=300, deadline=None)
@given(
    jwk=st.fixed_dictionaries(
        {"kty": kinds}, optional={"crv": st.sampled_from(["P-256", "X25519", "Ed448", "x"])}
    ),
    more=st.dictionaries(members, parts, max_size=6),
)
def test_any_key_is_taken_or_passed_over(jwk: dict[str, Any], more: dict[str, Any]) -> None:
    assert keys({**jwk, **more}, {**ED, "kid": "good"})["good"] == "Ed25519" or more.get("kid") == "good"
