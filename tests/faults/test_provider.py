"""An identity provider in each of its faults, as somebody sees it who asks it directly."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.faults import provider_down, provider_lies, provider_rotated, provider_skewed
from tests.system.provider import DISCOVERY, JWKS, Provider


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def ask(provider: Provider, path: str) -> dict[str, object]:
    with urllib.request.urlopen(provider.url + path, timeout=30) as answer:  # noqa: S310 - a loopback port
        return json.load(answer)


def test_it_is_away_and_comes_back_with_its_keys(provider: Provider) -> None:
    before = ask(provider, JWKS)
    with provider_down(provider) as facts:
        assert facts.fault == "F8d"
        with pytest.raises(urllib.error.URLError):
            ask(provider, DISCOVERY)
    assert ask(provider, JWKS) == before


@pytest.mark.parametrize("keep", [False, True])
def test_it_has_other_keys(provider: Provider, keep: bool) -> None:
    with provider_rotated(provider, keep=keep) as facts:
        assert facts.fault == "F8k"
        before, after = set(facts.values["before"]), set(facts.values["after"])
        assert after - before
        assert bool(after & before) == keep
        assert {key["kid"] for key in ask(provider, JWKS)["keys"]} == after  # type: ignore[attr-defined]


def test_it_lies_and_is_honest_again(provider: Provider) -> None:
    with provider_lies(provider, JWKS, status=503, body="away"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(provider, JWKS)
        refused.value.close()
        assert refused.value.code == 503
    assert "keys" in ask(provider, JWKS)


def test_its_clock_is_wrong_in_its_dates_and_in_what_it_signs(provider: Provider) -> None:
    def issued() -> float:
        _, payload, _ = provider.token().split(".")
        return json.loads(base64.urlsafe_b64decode(payload + "=="))["iat"] - time.time()

    for seconds in (600, -600):
        with provider_skewed(provider, seconds) as facts:
            assert (facts.fault, facts.values) == ("F8c", {"seconds": seconds})
            assert abs(issued() - seconds) < 30
    assert abs(issued()) < 30
