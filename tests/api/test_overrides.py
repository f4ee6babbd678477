"""Keys of the configuration held for a while over HTTP: `/admin/overrides`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.config import Config
from airlock.store import leases
from airlock.store.database import Store
from tests.api.containing import House

PATH = "/admin/overrides"


def put(house: House, key: str, value: str, **more: Any) -> tuple[int, Any]:
    return house.ask("POST", PATH, {"key": key, "value": value, **more})


def effective(house: House) -> dict[str, object]:
    _, document = house.ask("GET", PATH)
    return {each["key"]: each["effective"] for each in document["settings"] if each["leases"]}


@pytest.mark.parametrize(
    ("key", "value", "change", "seconds"),
    [
        ("rateLimiting.perToken", "10/min", ("200/min", "10/min"), 4 * 3600),
        ("logging.level", "DEBUG", ("info", "debug"), 2 * 3600),
        ("logging.audit_all_requests", "true", (False, True), 2 * 3600),
        ("monitoring.enhanced", "true", (False, True), 24 * 3600),
        ("policy.cacheTTL", "10m", ("5m", "10m"), 24 * 3600),
        ("server.maxClients", "500", (None, 500), 24 * 3600),
    ],
)
def test_a_key_is_held_as_long_as_is_usual(
    store: Store, key: str, value: str, change: tuple[object, object], seconds: int
) -> None:
    house = House(store)
    status, told = put(house, key, value, reason="attack", incident="INC-1")
    assert (status, told["before"], told["after"]) == (200, *change)
    assert (told["replicas_acked"], told["replicas_total"], told["audit_seq"]) == (2, 2, 1)
    lease = told["lease"]
    assert (lease["remaining_seconds"], lease["reason"], lease["incident"]) == (seconds, "attack", "INC-1")
    assert effective(house) == {told["key"]: change[1]}


def test_it_may_be_held_for_less(store: Store) -> None:
    assert put(House(store), "logging.level", "debug", ttl="30m")[1]["lease"]["remaining_seconds"] == 1800


def test_the_usual_time_of_closer_monitoring_is_configured(store: Store) -> None:
    house = House(store)
    house.base = msgspec.convert({"monitoring": {"duration": 3600.0}}, Config)
    told = put(house, "monitoring.enhanced", "true")[1]
    assert told["lease"]["remaining_seconds"] == 3600


@pytest.mark.parametrize(
    ("key", "value", "more", "answer"),
    [
        ("server.port", "80", {}, (422, "override_invalid")),
        ("logging.level", "loud", {}, (422, "override_invalid")),
        ("logging.level", "info", {}, (422, "no_change")),
        ("logging.level", "warn", {}, (422, "would_loosen")),
        ("rate_limiting.per_token", "null", {}, (422, "would_loosen")),
        ("server.max_connections", "2", {}, (422, "selector_invalid")),
        ("rate_limiting.per_ip", "1/h", {}, (422, "would_lock_out")),
        ("logging.level", "debug", {"ttl": "9h"}, (422, "duration_too_long")),
        ("logging.level", "debug", {"ttl": "soon"}, (422, "duration_invalid")),
        ("logging.level", "debug", {"for": "ever"}, (422, "invalid_params")),
    ],
)
def test_what_does_not_fit_changes_nothing(
    store: Store, key: str, value: str, more: dict[str, str], answer: tuple[int, str]
) -> None:
    house = House(store)
    assert put(house, key, value, **more) == answer
    assert effective(house) == {}


def test_protection_has_many_holders_and_capacity_one(store: Store) -> None:
    house = House(store)
    for value in ("10/min", "50/min"):
        assert put(house, "rate_limiting.per_token", value)[0] == 200
    assert put(house, "policy.cache_ttl", "10m")[0] == 200
    assert put(house, "policy.cache_ttl", "20m") == (409, "setting_held")
    assert effective(house) == {"rate_limiting.per_token": "10/min", "policy.cache_ttl": "10m"}


def test_a_second_value_says_what_it_would_change(store: Store) -> None:
    house = House(store)
    put(house, "rate_limiting.per_token", "10/min")
    told = put(house, "rate_limiting.per_token", "50/min", dry_run=True)[1]
    assert (told["before"], told["after"]) == ("10/min", "10/min")


def test_a_rehearsal_gives_no_lease(store: Store, tmp_path: Path) -> None:
    house = House(store)
    house.base = Config(data_dir=str(tmp_path / "without a log"))
    status, told = put(house, "rate_limiting.per_token", "10/min", dry_run=True)
    assert (status, told["before"], told["after"], told["dry_run"]) == (200, "200/min", "10/min", True)
    assert told["hit"] is None
    assert put(house, "logging.level", "debug", dry_run=True)[1]["hit"] is None
    assert leases.listing(store, now=house.clock.wall()) == []


@pytest.mark.parametrize(
    ("key", "value", "more", "answer"),
    [
        ("rate_limiting.per_ip", "0/min", {}, (422, "would_lock_out")),
        ("logging.level", "debug", {"ttl": "soon"}, (422, "duration_invalid")),
    ],
)
def test_a_rehearsal_refuses_what_would_be_refused(
    store: Store, key: str, value: str, more: dict[str, str], answer: tuple[int, str]
) -> None:
    assert put(House(store), key, value, dry_run=True, **more) == answer


def test_a_key_is_given_back_by_all_that_hold_it_alone(store: Store) -> None:
    house = House(store)
    for value in ("10/min", "20/min"):
        put(house, "rate_limiting.per_token", value)
    both = {"per_token": "5/min", "per_ip": "50/min"}
    order = {"action": "ratelimit.tighten", "selector": both, "reason": "x"}
    assert house.ask("POST", "/api/v1/leases", order)[0] == 200
    status, told = house.ask("DELETE", f"{PATH}/rateLimiting.perToken", {"reason": "over"})
    assert (status, told["key"], len(told["leases"])) == (200, "rate_limiting.per_token", 2)
    assert {lease["end_reason"] for lease in told["leases"]} == {"over"}
    assert effective(house) == {"rate_limiting.per_token": "5/min", "rate_limiting.per_ip": "50/min"}
    assert house.ask("DELETE", f"{PATH}/rate_limiting.per_ip") == (404, "lease_unknown")


@pytest.mark.parametrize("key", ["logging.level", "server.port", "nothing"])
def test_what_nobody_holds_cannot_be_given_back(store: Store, key: str) -> None:
    assert House(store).ask("DELETE", f"{PATH}/{key}") == (404, "lease_unknown")


def test_every_key_is_listed_with_its_value(store: Store) -> None:
    _, document = House(store).ask("GET", PATH)
    values = {each["key"]: (each["base"], each["effective"], each["leases"]) for each in document["settings"]}
    assert values["policy.cache_ttl"] == ("5m", "5m", [])
    assert values["rate_limiting.per_ip"] == ("1000/min", "1000/min", [])
    assert len(values) == 10
    assert document["overlay"] is None
