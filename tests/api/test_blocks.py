"""Addresses that nobody may come from: `/admin/security/block` and `/admin/security/blocks`."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.api.blocks import MOST
from airlock.store import leases
from tests.api.containing import PROXY, House
from tests.gateway.parts import NOW

BLOCK = "/admin/security/block"
BLOCKS = "/admin/security/blocks"
CALLER = "198.51.100.9"


def block(house: House, *addresses: str, duration: str = "1h", **more: Any) -> Any:
    status, answer = house.ask("POST", BLOCK, {"ip_addresses": addresses, "duration": duration, **more})
    assert status == 200, answer
    return answer


def blocked(house: House) -> list[str]:
    return [lease.selector.cidr for lease in leases.listing(house.store, now=house.clock.wall())]


def test_the_answer_says_what_is_blocked_until_when_and_who_enforces_it(house: House) -> None:
    answer = block(house, "203.0.113.7")
    (found,) = answer.pop("blocks")
    assert found == {
        "id": found["lease_id"],
        "cidr": "203.0.113.7/32",
        "expires_at": "2027-01-15T09:00:00Z",
        "lease_id": found["lease_id"],
    }
    assert answer == {
        "epoch": 1,
        "replicas_acked": 2,
        "replicas_total": 2,
        "missing": [],
        "audit_seq": 1,
    }


def test_every_network_is_a_lease_of_its_own(house: House) -> None:
    answer = block(house, "203.0.113.7", "198.51.100.128/25", "2001:db8::/48", "203.0.113.7/32")
    assert [found["cidr"] for found in answer["blocks"]] == [
        "203.0.113.7/32",
        "198.51.100.128/25",
        "2001:db8::/48",
    ]
    assert len({found["lease_id"] for found in answer["blocks"]}) == 3
    assert blocked(house) == ["203.0.113.7/32", "198.51.100.128/25", "2001:db8::/48"]


def test_a_lease_says_who_asked_for_it_and_why(house: House) -> None:
    block(house, "203.0.113.7", reason="scans", incident="INC-1")
    (lease,) = leases.listing(house.store, now=NOW)
    assert (lease.actor, lease.reason, lease.incident, lease.origin) == (
        "https://issuer.example|alice",
        "scans",
        "INC-1",
        "api",
    )


def test_without_a_duration_it_lasts_an_hour(house: House) -> None:
    status, answer = house.ask("POST", BLOCK, {"ip_addresses": ["203.0.113.7"]})
    assert (status, answer["blocks"][0]["expires_at"]) == (200, "2027-01-15T09:00:00Z")


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("203.0.113", "invalid_ip"),
        ("203.0.113.7/33", "invalid_ip"),
        ("203.0.113.7/24", "invalid_ip"),
        ("example.com", "invalid_ip"),
        ("fe80::1%eth0", "invalid_ip"),
        ("203.0.113.7\n", "selector_invalid"),
        ("", "selector_invalid"),
        ("0.0.0.0/0", "would_lock_out"),
        ("::/0", "would_lock_out"),
        ("127.0.0.1", "would_lock_out"),
        ("127.9.0.0/16", "would_lock_out"),
        ("::1", "would_lock_out"),
        ("::ffff:127.0.0.1", "would_lock_out"),
        ("0.0.0.0", "would_lock_out"),  # noqa: S104 (refused, not bound to)
        (CALLER, "would_lock_out"),
        ("198.51.100.0/24", "would_lock_out"),
        (f"::ffff:{CALLER}", "would_lock_out"),
        ("192.0.2.3", "would_lock_out"),
        ("192.0.2.0/24", "would_lock_out"),
        (PROXY, "would_lock_out"),
        ("10.0.0.0/8", "network_too_wide"),
        ("2001:d00::/24", "network_too_wide"),
    ],
)
def test_an_address_that_must_not_be_blocked(house: House, address: str, word: str) -> None:
    found = house.ask("POST", BLOCK, {"ip_addresses": ["203.0.113.7", address], "duration": "1h"})
    assert found == (422, word)
    assert blocked(house) == []


@pytest.mark.parametrize(
    ("duration", "word"),
    [
        ("25h", "duration_too_long"),
        ("2d", "duration_too_long"),
        ("0s", "duration_invalid"),
        ("-1h", "duration_invalid"),
        ("an hour", "duration_invalid"),
        ("1h30m", "duration_invalid"),
    ],
)
def test_a_duration_that_is_none(house: House, duration: str, word: str) -> None:
    assert house.ask("POST", BLOCK, {"ip_addresses": ["203.0.113.7"], "duration": duration}) == (422, word)
    assert blocked(house) == []


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({}, 422, "invalid_params"),
        ({"ip_addresses": []}, 422, "invalid_params"),
        ({"ip_addresses": "203.0.113.7"}, 422, "invalid_params"),
        ({"ip_addresses": ["203.0.113.7"], "duration": 3600}, 422, "invalid_params"),
        ({"ip_addresses": ["203.0.113.7"], "durration": "1h"}, 422, "invalid_params"),
        ({"ip_addresses": ["203.0.113.7"], "incident": "a\nb"}, 422, "invalid_params"),
        ({"ip_addresses": ["203.0.113.7"], "incident": "x" * 513}, 422, "invalid_params"),
        ({"ip_addresses": ["203.0.113.7"], "reason": "a\nb"}, 422, "reason_invalid"),
        ({"ip_addresses": [f"203.0.113.{n}" for n in range(MOST + 1)]}, 422, "invalid_params"),
        (b"ip_addresses=203.0.113.7", 400, "parse_error"),
    ],
)
def test_a_body_that_asks_for_something_else(house: House, body: Any, status: int, word: str) -> None:
    assert house.ask("POST", BLOCK, body) == (status, word)
    assert blocked(house) == []


def test_a_worker_that_has_not_looked_is_named(house: House) -> None:
    house.workers.asleep.add("two")
    status, answer = house.ask("POST", BLOCK, {"ip_addresses": ["203.0.113.7"]})
    assert status == 207
    assert (answer["replicas_acked"], answer["replicas_total"], answer["missing"]) == (1, 2, ["two"])
    assert blocked(house) == ["203.0.113.7/32"]


def test_a_row_that_is_not_durable_yet_is_no_success(house: House) -> None:
    house.workers.recorded = False
    status, answer = house.ask("POST", BLOCK, {"ip_addresses": ["203.0.113.7"]})
    assert (status, answer["audit_seq"]) == (207, None)


def test_without_any_worker_nobody_enforces_it_and_nobody_waits(store: Any) -> None:
    house = House(store, names=(), origin="cli")
    status, answer = house.ask("POST", BLOCK, {"ip_addresses": ["203.0.113.7"]})
    assert (status, answer["replicas_acked"], answer["replicas_total"]) == (207, 0, 0)
    assert house.clock.waited < 1


def test_a_gateway_waits_for_its_own_worker_although_none_is_counted(store: Any) -> None:
    house = House(store, names=())
    status, answer = house.ask("POST", BLOCK, {"ip_addresses": ["203.0.113.7"]})
    assert (status, answer["replicas_total"]) == (207, 0)
    assert house.clock.waited > 1


def test_the_same_key_blocks_once(house: House) -> None:
    body = {"ip_addresses": ["203.0.113.7", "203.0.113.8"], "duration": "1h"}
    first = house.ask("POST", BLOCK, body, idempotency_key="k1")
    assert house.ask("POST", BLOCK, body, idempotency_key="k1") == first
    assert blocked(house) == ["203.0.113.7/32", "203.0.113.8/32"]


def test_a_key_that_conflicts_for_one_address_blocks_none(house: House) -> None:
    before = {"ip_addresses": ["203.0.113.8"], "duration": "1h"}
    assert house.ask("POST", BLOCK, before, idempotency_key="k1")[0] == 200
    body = {"ip_addresses": ["203.0.113.7", "203.0.113.8"], "duration": "2h"}
    assert house.ask("POST", BLOCK, body, idempotency_key="k1") == (409, "idempotency_conflict")
    assert blocked(house) == ["203.0.113.8/32"]


def test_a_key_whose_block_is_over_is_no_second_yes(house: House) -> None:
    body = {"ip_addresses": ["203.0.113.7"], "duration": "1h"}
    assert house.ask("POST", BLOCK, body, idempotency_key="k1")[0] == 200
    house.clock.seconds += 3600
    assert house.ask("POST", BLOCK, body, idempotency_key="k1") == (409, "lease_ended")


def test_the_list_has_what_is_in_force_and_the_seconds_that_are_left(house: House) -> None:
    block(house, "203.0.113.7", duration="1h", reason="scans")
    block(house, "203.0.113.8", duration="30s")
    house.clock.seconds += 40
    status, answer = house.ask("GET", BLOCKS)
    (found,) = answer["blocks"]
    assert (status, found["cidr"], found["remaining_seconds"], found["reason"]) == (
        200,
        "203.0.113.7/32",
        3560,
        "scans",
    )


def test_the_list_has_blocks_only(house: House) -> None:
    order = {"action": "subject.suspend", "selector": {"subject": "bob"}, "reason": "x"}
    assert house.ask("POST", "/api/v1/leases", order)[0] == 200
    assert house.ask("GET", BLOCKS) == (200, {"blocks": []})


def test_a_released_block_is_told_and_gone(house: House) -> None:
    (found,) = block(house, "203.0.113.7")["blocks"]
    status, answer = house.ask("DELETE", f"{BLOCKS}/{found['id']}")
    assert (status, answer["state"], answer["replicas_acked"], answer["audit_seq"]) == (200, "released", 2, 2)
    assert blocked(house) == []


def test_a_release_says_why(house: House) -> None:
    (found,) = block(house, "203.0.113.7")["blocks"]
    house.ask("DELETE", f"{BLOCKS}/{found['id']}", {"reason": "a mistake"})
    lease = leases.get(house.store, id=found["id"], now=NOW)
    assert lease is not None
    assert (lease.end_reason, lease.ended_by) == ("a mistake", "https://issuer.example|alice")


def test_what_is_no_block_cannot_be_released_as_one(house: House) -> None:
    order = {"action": "subject.suspend", "selector": {"subject": "bob"}, "reason": "x"}
    other = house.ask("POST", "/api/v1/leases", order)[1]["lease_id"]
    assert house.ask("DELETE", f"{BLOCKS}/{other}") == (404, "lease_unknown")
    assert house.ask("DELETE", f"{BLOCKS}/nothing") == (404, "lease_unknown")


def test_a_block_is_released_once(house: House) -> None:
    (found,) = block(house, "203.0.113.7")["blocks"]
    house.ask("DELETE", f"{BLOCKS}/{found['id']}")
    assert house.ask("DELETE", f"{BLOCKS}/{found['id']}") == (409, "lease_ended")
