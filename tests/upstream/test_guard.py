"""Where the gateway may connect (rule G-1)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.guard import Origin, Watch, check, endpoint, is_public

PUBLIC = Origin("https", "mcp.example.com", 443)

NOWHERE = str(IPv4Address(0))
INWARD = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.127.255.255", NOWHERE, "0.1.2.3", "224.0.0.1", "239.1.1.1", "255.255.255.255",
    "240.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "192.88.99.1",
    "168.63.129.16", "100.100.100.200", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
    "fd12:3456::1", "ff02::1", "fec0::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "::ffff:0:10.0.0.1", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INWARD)
def test_a_public_name_never_leads_inward(address: str) -> None:
    with pytest.raises(UpstreamFault) as caught:
        check(PUBLIC, ["8.8.8.8", address])
    assert caught.value.effect is Effect.NONE


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_pass(address: str) -> None:
    assert check(PUBLIC, [address]) == (address,)
    assert is_public(address)


def test_plain_http_needs_a_configured_origin() -> None:
    with pytest.raises(UpstreamFault, match="plain HTTP"):
        check(Origin("http", "mcp.example.com", 80), ["8.8.8.8"])


def test_a_name_without_addresses_is_refused() -> None:
    with pytest.raises(UpstreamFault, match="no address"):
        check(PUBLIC, [])


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "fd12::1", "8.8.8.8"])
def test_a_configured_origin_may_be_inside(address: str) -> None:
    inside = Origin("http", "tools.corp", 9001)
    assert check(inside, [address], {inside}) == (address,)


@pytest.mark.parametrize(
    "other",
    [Origin("https", "tools.corp", 9001), Origin("http", "tools.corp", 9002), Origin("http", "x.corp", 9001)],
)
def test_a_configured_origin_allows_only_itself(other: Origin) -> None:
    with pytest.raises(UpstreamFault):
        check(other, ["10.1.2.3"], {Origin("http", "tools.corp", 9001)})


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "100.100.100.200"])
def test_a_configured_name_never_leads_to_a_metadata_service(address: str) -> None:
    inside = Origin("http", "tools.corp", 80)
    with pytest.raises(UpstreamFault, match="metadata"):
        check(inside, [address], {inside})


def test_a_configured_literal_is_taken_at_its_word() -> None:
    literal = Origin("http", "169.254.10.20", 80)
    assert check(literal, ["169.254.10.20"], {literal})


@pytest.mark.parametrize("address", [NOWHERE, "::", "224.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::"])
def test_no_configuration_allows_disguises_and_unusable_addresses(address: str) -> None:
    literal = Origin("http", address, 80)
    with pytest.raises(UpstreamFault):
        check(literal, [address], {literal})


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_in_any_disguise_is_refused(number: int) -> None:
    inner = int(IPv4Address(number))
    disguises = [
        IPv6Address(inner),
        IPv6Address(0xFFFF << 32 | inner),
        IPv6Address(0xFFFF << 48 | inner),
        IPv6Address(0x64_FF9B << 96 | inner),
        IPv6Address(0x64_FF9B_0001 << 80 | inner),
        IPv6Address(0x2002 << 112 | inner << 80),
        IPv6Address(0x2001 << 112 | inner ^ 0xFFFFFFFF),
    ]
    for disguise in disguises:
        with pytest.raises(UpstreamFault):
            check(PUBLIC, [str(disguise)])


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_passes_is_global_by_the_registries_too(address: IPv4Address | IPv6Address) -> None:
    if is_public(str(address)):
        assert ip_address(str(address)).is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    ("url", "origin", "target", "authority"),
    [
        ("http://127.0.0.1:9001/mcp", Origin("http", "127.0.0.1", 9001), "/mcp", "127.0.0.1:9001"),
        ("https://MCP.Example.com", Origin("https", "mcp.example.com", 443), "/", "mcp.example.com"),
        ("https://h.example.:443/a?b=c", Origin("https", "h.example", 443), "/a?b=c", "h.example"),
        ("http://[::1]:80/x", Origin("http", "::1", 80), "/x", "[::1]"),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: Origin, target: str, authority: str) -> None:
    found = endpoint(url)
    assert (found.origin, found.target, found.authority) == (origin, target, authority)


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://h/x", "http:///x", "http://user@h/x", "http://user:pass@h/x", "http://h/x#y", "http://h/x#",
        "http://h/a b", "http://h/a\r\nX: y", "http://h\\@evil/x", "http://bücher.example/", "http://h:99999/x",
        "//h/x", "http://[::1/x",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        endpoint(url)


def test_a_name_that_turns_inward_is_refused_even_if_it_is_configured() -> None:
    origin = Origin("https", "mcp.example.com", 443)
    watch = Watch(origin=origin, allowed={origin})
    assert watch.check(["8.8.8.8"]) == ("8.8.8.8",)
    assert watch.check(["1.1.1.1"]) == ("1.1.1.1",)
    with pytest.raises(UpstreamFault, match="turned"):
        watch.check(["127.0.0.1"])


def test_a_configured_name_may_be_inside_from_the_start() -> None:
    origin = Origin("http", "tools.corp", 80)
    watch = Watch(origin=origin, allowed={origin})
    assert watch.check(["10.0.0.1"]) == watch.check(["10.0.0.1"])
