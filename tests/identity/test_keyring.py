"""The life of a provider's keys, as values."""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey

from airlock.identity import keyring
from airlock.identity.discovery import Pinned
from airlock.identity.jws import pin
from airlock.identity.keyring import AGAIN_FIRST, AGAIN_MOST, COOLDOWN, REFRESH, Ring

NOW = 10_000.0
A, B = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")


def pinned(key: ECKey, algorithm: str = "ES256") -> Pinned:
    """As read from a document: another object each time."""
    return pin(algorithm, ECKey.import_key(key.as_dict(private=False)))


def ring(stale: float = 3600.0) -> Ring:
    return Ring(issuer="https://idp.example", stale=stale)


def good(*, at: float = NOW, stale: float = 3600.0) -> Ring:
    return keyring.renewed(ring(stale), {"a": pinned(A)}, at)


def test_nothing_serves_before_the_first_look() -> None:
    assert keyring.serving(ring(), NOW) == {}
    assert keyring.due(ring()) <= NOW


def test_a_key_that_is_published_again_stays_the_same_object() -> None:
    before = good()
    after = keyring.renewed(before, {"a": pinned(A), "b": pinned(B)}, NOW + 1)
    assert after.keys["a"] is before.keys["a"]
    assert set(after.keys) == {"a", "b"}


def test_another_key_under_the_same_id_is_another_object() -> None:
    before = good()
    assert keyring.renewed(before, {"a": pinned(B)}, NOW).keys["a"] is not before.keys["a"]


def test_a_key_that_is_published_no_more_is_gone() -> None:
    assert set(keyring.renewed(good(), {"b": pinned(B)}, NOW).keys) == {"b"}


def test_keys_serve_while_the_provider_is_away_and_then_no_more() -> None:
    away = keyring.missed(good(), "provider_unavailable", NOW + 300)
    later = keyring.missed(away, "provider_timeout", NOW + 600)
    assert set(keyring.serving(later, NOW + 300 + 3599)) == {"a"}
    assert keyring.serving(later, NOW + 300 + 3600) == {}


def test_a_provider_that_comes_back_serves_again() -> None:
    away = keyring.missed(good(), "provider_unavailable", NOW)
    back = keyring.renewed(away, {"a": pinned(A)}, NOW + 7200)
    assert set(keyring.serving(back, NOW + 999_999)) == {"a"}
    assert (back.failures, back.reason, back.failing) == (0, "", None)


def test_keys_of_an_earlier_process_are_as_old_as_they_are() -> None:
    kept = keyring.remembered(ring(), {"a": pinned(A)}, NOW - 1000)
    assert keyring.due(kept) <= NOW
    assert keyring.serving(kept, NOW + 2599)
    assert not keyring.serving(keyring.missed(kept, "provider_timeout", NOW), NOW + 2600)


def test_a_provider_that_answers_is_asked_now_and_then() -> None:
    assert keyring.due(good()) == NOW + REFRESH
    assert keyring.due_for_unknown_key(good()) == NOW + COOLDOWN


def test_a_provider_that_fails_is_asked_less_and_less() -> None:
    failing, waits = good(), list[float]()
    for _ in range(20):
        failing = keyring.missed(failing, "provider_timeout", NOW)
        waits.append(keyring.due(failing) - NOW)
        assert keyring.due_for_unknown_key(failing) == keyring.due(failing)
    assert waits[:3] == [AGAIN_FIRST, 2 * AGAIN_FIRST, 4 * AGAIN_FIRST]
    assert waits == sorted(waits)
    assert waits[-1] == AGAIN_MOST


GOOD = good()
AWAY = keyring.missed(good(), "provider_unavailable", NOW)
NEVER = keyring.missed(ring(), "ssrf_guard", NOW)


@pytest.mark.parametrize(
    ("rings", "others", "expected"),
    [
        ((), True, ("ok", "")),
        ((), False, ("failed", "no issuer is configured")),
        ((GOOD,), False, ("ok", "")),
        ((ring(),), False, ("failed", "no keys of 1 of 1 identity providers: not asked yet")),
        ((ring(),), True, ("degraded", "no keys of 1 of 1 identity providers: not asked yet")),
        ((NEVER,), False, ("failed", "no keys of 1 of 1 identity providers: ssrf_guard")),
        ((NEVER, GOOD), False, ("degraded", "no keys of 1 of 2 identity providers: ssrf_guard")),
        ((AWAY, GOOD), False, ("degraded", "1 of 2 identity providers serve old keys: provider_unavailable")),
        (
            (AWAY, NEVER),
            False,
            ("degraded", "no keys of 1 of 2 identity providers: provider_unavailable, ssrf_guard"),
        ),
    ],
)
def test_the_state_of_all(rings: tuple[Ring, ...], others: bool, expected: tuple[str, str]) -> None:
    assert keyring.judge(rings, NOW + 10, others=others) == expected


def test_a_gateway_whose_only_keys_are_too_old_has_failed() -> None:
    assert keyring.judge((AWAY,), NOW + 3600, others=False)[0] == "failed"
