"""Identity tokens: for us, for this login, from this provider, and now."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import OKPKey

from airlock.core.errors import Unauthenticated
from airlock.identity import idtoken
from airlock.identity.claims import Claims
from tests.gateway.parts import NOW
from tests.identity.login_parts import ISSUER, KEYS, id_token


def verify(token: str, *, max_age: int | None = None, nonce: str = "n") -> Claims:
    return idtoken.verify(
        token, issuer=ISSUER, keys=KEYS, client_id="airlock", nonce=nonce, max_age=max_age, now=NOW
    )


def reason(token: str, **how: Any) -> str:
    with pytest.raises(Unauthenticated) as refused:
        verify(token, **how)
    return str(refused.value.reason)


def test_an_identity_token_says_who_logged_in() -> None:
    claims = verify(id_token(roles=["developer"]))
    assert (claims.sub, claims.tenant, claims.roles) == ("alice", "acme", ("developer",))


@pytest.mark.parametrize("typ", [{}, {"typ": "JWT"}], ids=["none", "JWT"])
def test_its_type_may_be_left_out(typ: dict[str, str]) -> None:
    assert verify(id_token(header=typ))


@pytest.mark.parametrize(
    ("token", "word"),
    [
        (id_token(header={"typ": "at+jwt"}), "token_type"),
        (id_token(header={"kid": "other"}), "token_key_unknown"),
        (id_token(key=OKPKey.generate_key("Ed25519", private=True)), "token_signature"),
        (id_token(iss="https://evil.example"), "token_issuer"),
        (id_token(aud="another-client"), "token_audience"),
        (id_token(aud=["airlock", "another-client"]), "token_audience"),
        (id_token(aud=["airlock", "another"], azp="another"), "token_audience"),
        (id_token(azp="another"), "token_audience"),
        (id_token(nonce=None), "token_nonce"),
        (id_token(nonce=1), "token_nonce"),
        (id_token(nonce="of another login"), "token_nonce"),
        (id_token(exp=NOW - 61), "token_lifetime"),
        (id_token(iat=NOW - 400, exp=NOW - 61), "token_expired"),
        (id_token(exp=None), "token_expiry_missing"),
        (id_token(iat=NOW + 120, exp=NOW + 200), "token_not_yet_valid"),
        (id_token(roles="admin"), "token_claims"),
        ("x" * 20000, "token_malformed"),
        ("é.é.é", "token_malformed"),
    ],
)
def test_any_other_token_is_refused(token: str, word: str) -> None:
    assert reason(token) == word


def test_several_audiences_are_fine_where_we_asked() -> None:
    assert verify(id_token(aud=["airlock", "another"], azp="airlock"))


def test_a_login_that_is_too_old_is_refused() -> None:
    assert verify(id_token(auth_time=NOW - 30), max_age=0)
    assert reason(id_token(auth_time=NOW - 400), max_age=300) == "login_insufficient"
    assert reason(id_token(), max_age=300) == "login_insufficient"
