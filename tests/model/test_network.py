"""One spelling for each address and network."""

from __future__ import annotations

import pytest

from airlock.model.network import address, normalised


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("203.0.113.7", "203.0.113.7/32"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("2001:DB8::0:1", "2001:db8::1/128"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_has_one_spelling(text: str, normal: str) -> None:
    assert normalised(text) == normal


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("203.0.113.7/24", "write 203.0.113.0/24 for the network"),
        ("::ffff:203.0.113.7/120", "for the network"),
        ("fe80::1%eth0", "a zone"),
        ("fe80::%eth0/64", "a zone"),
        ("203.0.113.300", "not an address"),
        ("0x7f.1", "not an address"),
        ("010.0.0.1", "not an address"),
        ("127.1", "not an address"),
        ("2130706433", "not an address"),
        ("203.0.113.7/33", "not an address"),
        ("203.0.113.7 ", "not an address"),
        ("localhost", "not an address"),
        ("", "not an address"),
        ("*", "not an address"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        normalised(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("2001:DB8::1", "2001:db8::1")],
)
def test_an_address_that_carries_ipv4_is_ipv4(text: str, plain: str) -> None:
    assert str(address(text)) == plain


def test_an_address_with_a_zone_is_none() -> None:
    with pytest.raises(ValueError, match="zone"):
        address("fe80::1%eth0")
