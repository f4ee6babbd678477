"""Who speaks: the token counts for the route, against the keys and revocations of the snapshot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airlock.core.errors import Unauthenticated
from airlock.gateway import authenticate
from airlock.gateway.authenticate import MAX_ROUTES, Authenticate
from airlock.identity.local import trust
from airlock.identity.tokens import Verifier
from airlock.model.call import Inbound
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


class Renewals:
    """Counts how often somebody waited for keys."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> bool:
        self.count += 1
        return True


def waiting(house: House, renewals: Renewals | None) -> Authenticate:
    verifier = Verifier(issuers=[trust(PUBLIC)])
    return Authenticate(
        current=house.current, verifier=verifier, clock=house.clock, public_url=PUBLIC, renew=renewals
    )


def foreign(house: House, tmp_path: Path) -> Inbound:
    """A request whose token names a key that the house does not know."""
    other = House(tmp_path / "other")
    return house.inbound(b"", token=other.token())


def test_a_token_under_an_unknown_key_waits_for_keys(tmp_path: Path) -> None:
    house, renewals = House(tmp_path), Renewals()
    asyncio.run(waiting(house, renewals).introduce(foreign(house, tmp_path)))
    assert renewals.count == 1


def test_nobody_else_waits(tmp_path: Path) -> None:
    house, renewals = House(tmp_path), Renewals()
    stage = waiting(house, renewals)
    for request in (
        house.inbound(b""),
        house.inbound(b""),
        inbound(b""),
        inbound(b"", headers={"authorization": "x"}),
    ):
        asyncio.run(stage.introduce(request))
    house.clock.seconds += 2 * 3600
    asyncio.run(stage.introduce(house.inbound(b"")))
    assert renewals.count == 0


def test_nobody_waits_where_nobody_can_be_asked(tmp_path: Path) -> None:
    house = House(tmp_path)
    asyncio.run(waiting(house, None).introduce(foreign(house, tmp_path)))


def test_a_door_without_streams_does_both_at_once(tmp_path: Path) -> None:
    house, renewals = House(tmp_path), Renewals()
    stage = waiting(house, renewals)
    assert asyncio.run(stage.patiently(house.inbound(b""))).principal.subject == "alice"
    with pytest.raises(Unauthenticated):
        asyncio.run(stage.patiently(foreign(house, tmp_path)))
    assert renewals.count == 1


def test_beginnings_of_tokens_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticate, "MAX_FAMILIAR", 1)
    house, renewals = House(tmp_path), Renewals()
    stage = waiting(house, renewals)
    for scheme in ("Bearer", "bearer", "BEARER"):
        asyncio.run(stage.introduce(inbound(b"", headers={"authorization": f"{scheme} {house.token()}"})))
    assert renewals.count == 0
