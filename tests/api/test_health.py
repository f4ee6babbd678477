"""Whether the process runs, whether it may serve, and what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

import airlock
from airlock.api.health import STALL, HealthApi
from airlock.model.health import COMPONENTS, Health, State
from airlock.model.http import HttpRequest, HttpResponse
from tests.gateway.parts import HandClock

SINCE = "2027-01-15T08:00:00Z"
REQUEST = HttpRequest(method="GET", path="/", params={}, authorization=None, source_ip="", body=b"")


def health(states: Mapping[str, State] | None = None) -> Health:
    """Every component, well unless told otherwise."""
    known = Health(components={})
    for name in COMPONENTS:
        state = (states or {}).get(name, "ok")
        known.set(name, state, "" if state == "ok" else f"{name} is {state}", SINCE)
    return known


def answer(of: Health, path: str, *, clock: HandClock | None = None) -> tuple[int, Mapping[str, Any]]:
    api = HealthApi(health=of, clock=clock or HandClock())
    handler = {"/live": api.live, "/ready": api.ready, "/health": api.health}[path]

    async def asked() -> HttpResponse:
        return await handler(REQUEST)

    response = asyncio.run(asked())
    return response.status, json.loads(response.body)


def test_a_gateway_in_which_all_is_well_is_ready() -> None:
    status, body = answer(health(), "/ready")
    assert (status, body["ready"]) == (200, True)


def test_all_seven_components_are_told() -> None:
    _, body = answer(health(), "/ready")
    assert set(body["components"]) == {
        "config",
        "policy",
        "audit",
        "auth",
        "database",
        "upstreams",
        "clock",
    }


@pytest.mark.parametrize("name", COMPONENTS)
def test_one_failed_component_makes_it_503_with_the_reason(name: str) -> None:
    status, body = answer(health({name: "failed"}), "/ready")
    assert (status, body["ready"]) == (503, False)
    assert body["components"][name] == {"state": "failed", "reason": f"{name} is failed", "since": SINCE}


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_degraded_component_is_told_and_calls_are_served(name: str) -> None:
    status, body = answer(health({name: "degraded"}), "/ready")
    assert (status, body["ready"], body["components"][name]["state"]) == (200, True, "degraded")


@pytest.mark.parametrize(
    ("states", "status", "word"),
    [
        ({}, 200, "ok"),
        ({"upstreams": "degraded"}, 200, "degraded"),
        ({"audit": "failed"}, 503, "down"),
        ({"audit": "failed", "upstreams": "degraded"}, 503, "down"),
    ],
)
def test_health_is_one_word(states: dict[str, State], status: int, word: str) -> None:
    found, body = answer(health(states), "/health")
    assert (found, body["status"]) == (status, word)


def test_health_names_the_version() -> None:
    assert answer(health(), "/health")[1]["version"] == airlock.__version__


@pytest.mark.parametrize("path", ["/ready", "/health"])
def test_before_anything_is_known_there_is_nothing_against_it(path: str) -> None:
    assert answer(Health(components={}), path)[0] == 200


def live(api: HealthApi) -> tuple[int, bytes]:
    async def asked() -> HttpResponse:
        return await api.live(REQUEST)

    response = asyncio.run(asked())
    return response.status, response.body


def test_a_process_is_alive_while_its_loop_turns() -> None:
    clock = HandClock()
    api = HealthApi(health=health(), clock=clock)
    for _ in range(10):
        clock.seconds += STALL
        api.tick()
    assert live(api) == (200, b'{"status":"alive"}')


@pytest.mark.parametrize(("seconds", "status"), [(STALL, 200), (STALL + 0.1, 503)])
def test_a_loop_that_stalls_is_not_alive(seconds: float, status: int) -> None:
    clock = HandClock()
    api = HealthApi(health=health(), clock=clock)
    clock.seconds += seconds
    assert live(api)[0] == status


def test_a_loop_that_turns_again_is_alive_again() -> None:
    clock = HandClock()
    api = HealthApi(health=health(), clock=clock)
    clock.seconds += 60
    api.tick()
    assert live(api)[0] == 200


def test_a_process_that_may_not_serve_is_alive() -> None:
    assert answer(health({"audit": "failed"}), "/live") == (200, {"status": "alive"})
