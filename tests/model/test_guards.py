"""Nobody locks the operator out, or everybody."""

from __future__ import annotations

import pytest

from airlock.model.guards import lock_out
from airlock.model.lease import Selector, Unfit

PROXIES = ("10.0.0.0/24", "2001:db8:ffff::1")
CALLER = "198.51.100.9"


@pytest.mark.parametrize(
    ("cidr", "word"),
    [
        ("0.0.0.0/0", "everybody"),
        ("::/0", "everybody"),
        ("127.0.0.1/32", "loopback"),
        ("127.0.0.0/8", "loopback"),
        ("0.0.0.0/1", "loopback"),
        ("::1/128", "loopback"),
        ("::/128", "loopback"),
        ("0.0.0.0/32", "loopback"),
        ("10.0.0.7/32", "proxies"),
        ("10.0.0.0/16", "proxies"),
        ("2001:db8:ffff::/48", "proxies"),
        ("198.51.100.9/32", "you come from"),
        ("198.51.100.0/24", "you come from"),
    ],
)
def test_these_would_lock_out(cidr: str, word: str) -> None:
    with pytest.raises(Unfit, match=word) as unfit:
        lock_out(Selector(cidr=cidr), CALLER, PROXIES)
    assert unfit.value.reason == "would_lock_out"


@pytest.mark.parametrize("cidr", ["203.0.0.0/15", "2400::/16", "100.0.0.0/6"])
def test_these_are_too_wide_for_one_person(cidr: str) -> None:
    with pytest.raises(Unfit) as unfit:
        lock_out(Selector(cidr=cidr), CALLER, PROXIES)
    assert unfit.value.reason == "network_too_wide"


@pytest.mark.parametrize(
    "cidr", ["203.0.113.7/32", "203.0.0.0/16", "2400:cb00::/32", "198.51.100.8/32", "10.0.1.0/24"]
)
def test_these_pass(cidr: str) -> None:
    lock_out(Selector(cidr=cidr), CALLER, PROXIES)


def test_a_caller_behind_a_socket_for_both_versions_is_found() -> None:
    with pytest.raises(Unfit, match="you come from"):
        lock_out(Selector(cidr="198.51.100.9/32"), "::ffff:198.51.100.9", ())


def test_a_command_on_this_machine_comes_from_nowhere() -> None:
    lock_out(Selector(cidr="198.51.100.9/32"), "", ())


def test_selectors_without_a_network_lock_nobody_out() -> None:
    lock_out(Selector(subject="alice"), CALLER, PROXIES)


@pytest.mark.parametrize("rate", ["0/s", "0/d", "59/h", "1/h", "1/d"])
def test_a_rate_that_leaves_no_address_a_request_would_lock_out(rate: str) -> None:
    with pytest.raises(Unfit, match="every address") as unfit:
        lock_out(Selector(per_ip=rate), CALLER, PROXIES)
    assert unfit.value.reason == "would_lock_out"


@pytest.mark.parametrize(
    "selector", [Selector(per_ip="1/min"), Selector(per_ip="60/h"), Selector(per_token="0/s")]
)
def test_a_rate_that_leaves_operators_a_request_passes(selector: Selector) -> None:
    lock_out(selector, CALLER, PROXIES)
