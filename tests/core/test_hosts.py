"""Hosts have one spelling, and an entry of a list is a host or everything below one."""

from __future__ import annotations

import pytest

from airlock.core.hosts import canonical, listed


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Docs.Example.ORG", "docs.example.org"),
        ("docs.example.org.", "docs.example.org"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("\uff44ocs.example", "docs.example"),
        ("d%6Fcs.example", "docs.example"),
        ("0x7f.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("[0:0::1]", "[::1]"),
        ("", ""),
        ("a b", ""),
        ("1.2.3.999", ""),
        ("xn--a", ""),
        ("a." * 600, ""),
    ],
)
def test_a_host_has_one_spelling(host: str, name: str) -> None:
    assert canonical(host) == name


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ("docs.example", ("docs.example", False)),
        ("*.Example", ("example", True)),
        ("[::1]", ("[::1]", False)),
    ],
)
def test_an_entry_is_a_host_or_everything_below_it(entry: str, meant: tuple[str, bool]) -> None:
    assert listed(entry) == meant


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.",
        "https://docs.example",
        "docs.example:443",
        "docs.example/x",
        "u@docs.example",
        "a*b",
        "a b",
    ],
)
def test_what_says_more_or_less_than_a_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        listed(entry)
