"""So many clients at once, and each of them as often as it likes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from airlock.core.config import ServerSection
from airlock.core.errors import Rejected
from airlock.gateway.crowd import Crowd


def crowd(most: int | None) -> tuple[Crowd, list[Callable[[], None]]]:
    ends: list[Callable[[], None]] = []
    return Crowd(section=ServerSection(max_clients=most), when_done=ends.append), ends


def test_without_a_limit_nobody_is_counted() -> None:
    several, ends = crowd(None)
    for n in range(100):
        several.address(f"203.0.113.{n}")
    assert ends == []


def test_one_client_more_comes_back_later() -> None:
    several, ends = crowd(2)
    for address in ("203.0.113.1", "203.0.113.1", "203.0.113.2"):
        several.address(address)
    with pytest.raises(Rejected) as refused:
        several.address("203.0.113.3")
    assert (refused.value.http, refused.value.reason) == (503, "too_many_clients")
    assert refused.value.headers == (("retry-after", "1"),)
    ends[0]()
    with pytest.raises(Rejected):
        several.address("203.0.113.3")
    ends[1]()
    several.address("203.0.113.3")
    several.address("203.0.113.2")


def test_a_subscriber_of_ipv6_is_one_client() -> None:
    several, _ = crowd(1)
    several.address("2001:db8::1")
    several.address("2001:db8::2")
    with pytest.raises(Rejected):
        several.address("2001:db8:0:1::1")


def test_the_limit_follows_the_configuration() -> None:
    several, ends = crowd(None)
    several.address("203.0.113.1")
    several.configure(msgspec.structs.replace(ServerSection(), max_clients=1))
    several.address("203.0.113.2")
    with pytest.raises(Rejected):
        several.address("203.0.113.3")
    several.configure(ServerSection())
    several.address("203.0.113.3")
    for end in ends:
        end()
