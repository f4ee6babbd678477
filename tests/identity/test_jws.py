"""Which keys may be pinned, and for what."""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey, OKPKey

from airlock.identity.jws import pin


def test_a_pinned_key_is_public_and_bound_to_its_algorithm() -> None:
    algorithm, key = pin("Ed25519", OKPKey.generate_key("Ed25519", private=True))
    assert (algorithm, key.is_private, key.alg) == ("Ed25519", False, "Ed25519")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA", "", "ES256K"])
def test_an_algorithm_outside_the_list_is_not_pinned(algorithm: str) -> None:
    with pytest.raises(ValueError, match="not an algorithm"):
        pin(algorithm, OKPKey.generate_key("Ed25519", private=True))


@pytest.mark.parametrize(("algorithm", "curve"), [("ES384", "P-256"), ("RS256", "P-256")])
def test_a_key_of_another_kind_is_not_pinned(algorithm: str, curve: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pin(algorithm, ECKey.generate_key(curve, private=False))
