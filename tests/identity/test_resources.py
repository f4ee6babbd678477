"""What tokens are issued for."""

from __future__ import annotations

import pytest

from airlock.identity.resources import accepted, belongs, metadata_url, origin, resource


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("https://GW.example", "https://gw.example"),
        ("HTTP://localhost:8080/", "http://localhost:8080"),
        ("https://user:secret@gw.example/base?x=1", "https://gw.example"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_origin_is_scheme_host_and_port(public_url: str, expected: str) -> None:
    assert origin(public_url) == expected


def test_a_route_accepts_itself_and_its_ancestors() -> None:
    assert accepted("https://gw.example/", "a") == (
        "https://gw.example/mcp/a",
        "https://gw.example/mcp",
        "https://gw.example",
    )
    assert accepted("https://gw.example") == ("https://gw.example/mcp", "https://gw.example")
    assert resource("https://gw.example", "a") in accepted("https://gw.example", "a")


@pytest.mark.parametrize(
    ("audience", "ours"),
    [
        ("https://gw.example", True),
        ("https://gw.example/mcp/a", True),
        ("https://gw.example.evil", False),
        ("https://gw.example:8443", False),
        ("http://gw.example", False),
        ("https://gw.example@evil", False),
    ],
)
def test_what_is_under_an_origin_starts_with_it_and_a_slash(audience: str, ours: bool) -> None:
    assert belongs("https://gw.example", audience) is ours


@pytest.mark.parametrize("path", ["", "/mcp", "/mcp/a"])
def test_a1_the_well_known_part_stands_between_host_and_path(path: str) -> None:
    url = metadata_url(f"https://gw.example{path}")
    assert url == f"https://gw.example/.well-known/oauth-protected-resource{path}"
