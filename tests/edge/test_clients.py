"""Who a request comes from: the socket says it, or proxies that are trusted, and nobody else."""

from __future__ import annotations

import pytest

from airlock.edge.clients import MAX_HOPS, Clients
from airlock.edge.visit import Client, Fields

PROXIES = ("10.0.0.0/24", "2001:db8:ffff::/48", "127.0.0.1/32")


def fields(*values: str, name: str = "x-forwarded-for") -> Fields:
    return [(name.encode(), value.encode("latin-1")) for value in values]


@pytest.mark.parametrize(
    ("peer", "forwarded", "real"),
    [
        (("203.0.113.7", 5), (), ("203.0.113.7", 5)),
        (("203.0.113.7", 5), ("198.51.100.1",), ("203.0.113.7", 5)),
        (("10.0.0.1", 5), (), ("10.0.0.1", 5)),
        (("10.0.0.1", 5), ("",), ("10.0.0.1", 5)),
        (("10.0.0.1", 5), ("203.0.113.7",), ("203.0.113.7", 0)),
        (("10.0.0.1", 5), ("198.51.100.1, 203.0.113.7",), ("203.0.113.7", 0)),
        (("10.0.0.1", 5), ("198.51.100.1", "203.0.113.7"), ("203.0.113.7", 0)),
        (("10.0.0.1", 5), ("127.0.0.1, 203.0.113.7, 10.0.0.2",), ("203.0.113.7", 0)),
        (("10.0.0.1", 5), ("203.0.113.7:4711",), ("203.0.113.7", 0)),
        (("10.0.0.1", 5), ("[2001:db8::7]:4711",), ("2001:db8::7", 0)),
        (("10.0.0.1", 5), ("2001:DB8::7",), ("2001:db8::7", 0)),
        (("10.0.0.1", 5), ("::ffff:203.0.113.7",), ("203.0.113.7", 0)),
        (("2001:db8:ffff::1", 5), ("203.0.113.7",), ("203.0.113.7", 0)),
        (("::ffff:10.0.0.1", 5), ("203.0.113.7",), ("203.0.113.7", 0)),
        (("10.0.0.1", 5), ("10.0.0.3, 10.0.0.2",), ("10.0.0.3", 0)),
        (("10.0.0.1", 5), ("unknown",), ("10.0.0.1", 5)),
        (("10.0.0.1", 5), ("203.0.113.7, _hidden, 10.0.0.2",), ("10.0.0.2", 0)),
        (("10.0.0.1", 5), ("203.0.113.7, \xe4",), ("10.0.0.1", 5)),
        (("10.0.0.1", 5), ("fe80::1%eth0",), ("10.0.0.1", 5)),
        (("", 0), ("203.0.113.7",), ("", 0)),
        (None, ("203.0.113.7",), ("", 0)),
    ],
)
def test_the_first_from_the_right_that_is_no_proxy_of_ours(
    peer: Client | None, forwarded: tuple[str, ...], real: Client
) -> None:
    assert Clients(PROXIES).real(peer, fields(*forwarded)) == real


@pytest.mark.parametrize("name", ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip"])
def test_other_headers_count_for_nothing(name: str) -> None:
    assert Clients(PROXIES).real(("10.0.0.1", 5), fields("203.0.113.7", name=name)) == ("10.0.0.1", 5)


def test_a_list_of_proxies_is_followed_up_to_a_bound() -> None:
    hops = ", ".join(["203.0.113.7", *(f"10.0.0.{n}" for n in range(2, MAX_HOPS + 2))])
    assert Clients(PROXIES).real(("10.0.0.1", 5), fields(hops)) == ("10.0.0.2", 0)


@pytest.mark.parametrize(
    ("peer", "real"),
    [
        (("203.0.113.7", 5), ("203.0.113.7", 5)),
        (("::ffff:203.0.113.7", 5), ("203.0.113.7", 5)),
        (("2001:DB8::7", 5), ("2001:db8::7", 5)),
        (("fe80::1%eth0", 5), ("fe80::1", 5)),
        (None, ("", 0)),
    ],
)
def test_without_proxies_the_socket_is_believed(peer: Client | None, real: Client) -> None:
    assert Clients().real(peer, fields("198.51.100.1")) == real


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="not an address"):
        Clients(["proxy.example"])
