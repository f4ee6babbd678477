"""Who speaks: the token counts for the route, against the keys and revocations of the snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.errors import Unauthenticated
from airlock.gateway.authenticate import MAX_ROUTES
from airlock.model.snapshot import Keys, Revocations
from tests.gateway.parts import PUBLIC, House, inbound


def test_a_token_of_this_gateway_counts_and_the_snapshot_of_the_moment_stays_with_the_call(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    caller = house.authenticate(house.inbound(b""))
    assert (caller.principal.subject, caller.principal.tenant) == ("alice", "acme")
    assert caller.snapshot is house.current.get()


def test_no_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated) as error:
        House(tmp_path).authenticate(inbound(b""))
    assert (error.value.http, error.value.error) == (401, None)


def test_a_token_of_one_route_opens_no_other(tmp_path: Path) -> None:
    house = House(tmp_path)
    token = house.issuer.issue(
        subject="alice", tenant="acme", ttl=60, audience=f"{PUBLIC}/mcp/docs", now=house.clock.wall()
    )
    assert house.authenticate(house.inbound(b"", token=token, server="docs"))
    for server in ("", "other"):
        with pytest.raises(Unauthenticated):
            house.authenticate(house.inbound(b"", token=token, server=server))


def test_a_revoked_token_is_refused_from_the_next_snapshot_on(tmp_path: Path) -> None:
    house = House(tmp_path)
    request = house.inbound(b"")
    caller = house.authenticate(request)
    house.current.swap(revocations=Revocations(token_ids=frozenset([caller.principal.token_id])))
    with pytest.raises(Unauthenticated):
        house.authenticate(request)


def test_a_key_that_is_gone_verifies_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    request = house.inbound(b"")
    house.authenticate(request)
    house.current.swap(keys=Keys())
    with pytest.raises(Unauthenticated):
        house.authenticate(request)


def test_an_expired_token_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path)
    request = house.inbound(b"")
    house.authenticate(request)
    house.clock.seconds += 2 * 3600
    with pytest.raises(Unauthenticated):
        house.authenticate(request)


def test_routes_that_strangers_make_up_do_not_fill_the_memory(tmp_path: Path) -> None:
    house = House(tmp_path)
    token = house.token()
    for number in range(MAX_ROUTES + 5):
        house.authenticate(house.inbound(b"", token=token, server=f"s{number}"))
    assert house.authenticate(house.inbound(b"", token=token, server="one-more")).principal.subject == "alice"


def test_asking_whether_a_token_counts_decides_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert house.authenticate.accepts(house.inbound(b"")) is True
    assert house.authenticate.accepts(inbound(b"")) is False
