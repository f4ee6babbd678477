"""Limits of a real gateway with two workers: counted together, told with the time to wait, and no door opens
again for who asks often."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

RATE, ADDRESS, FAILED, BUDGET, RUNNING = 12, 30, 8, 3, 4
LIMITS: dict[str, Any] = {
    "per_token": f"{RATE}/h",
    "burst": None,
    "per_ip": f"{ADDRESS}/h",
    "unauthenticated": f"{FAILED}/h",
    "concurrency": {"per_token": RUNNING},
}
"""Per hour: no test takes long enough for a part of it to come back."""

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    low = {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
    servers = [{**low, "tools": {"slow": {"budget": f"{BUDGET}/h"}}}, {**low, "name": "hung"}]
    with Deployment(
        tmp_path_factory.mktemp("limits"),
        servers,
        server={"trusted_proxies": ["127.0.0.1/32"]},
        rate_limiting=LIMITS,
    ) as deployment:
        yield deployment


ADDRESSES = iter(f"10.{number >> 8}.{number & 255}.7" for number in range(65536))
"""One of each network: the first refusal of a network and reason has a row of its own."""


def fresh() -> dict[str, str]:
    """The header of a client at an address that nobody had before."""
    return {"X-Forwarded-For": next(ADDRESSES)}


def ways(gateway: Deployment, token: str, text: str) -> list[Any]:
    """One call in each era on each route."""
    return [
        gateway.call(
            "low__echo" if path == "/mcp" else "echo",
            {"text": text},
            token,
            path=path,
            modern=modern,
            headers=fresh(),
        )
        for modern in (False, True)
        for path in ("/mcp", "/mcp/low")
    ]


def heard(upstream: Recorder, text: str) -> int:
    return sum(call["params"].get("arguments") == {"text": text} for call in upstream.calls())


def test_a_token_has_one_rate_over_workers_eras_and_routes(gateway: Deployment, upstream: Recorder) -> None:
    token, other = gateway.token("eager"), gateway.token("calm")
    for _ in range(RATE // 4):
        assert all("eager" in answer.text for answer in ways(gateway, token, "eager"))
    for answer in ways(gateway, token, "eager"):
        assert answer.status == 200
        assert (answer.refusal["code"], answer.refusal["reason"]) == (42901, "rate_limited")
        assert int(answer.headers["retry-after"]) == answer.refusal["retry_after"] >= 1
        assert answer.refusal["effect"] == "none"
    assert heard(upstream, "eager") == RATE
    assert gateway.call("low__echo", {"text": "calm"}, other, headers=fresh()).status == 200
    rows = gateway.recorded("subject='eager' AND action='rate_limit_hit'", count=4)
    assert {(row["decision"], row["reason"]) for row in rows} == {("deny", "rate_limited")}


def test_every_method_counts_and_is_told_in_its_own_form(gateway: Deployment) -> None:
    token = gateway.token("lister")
    for _ in range(RATE):
        assert "result" in gateway.post(LIST, token, headers=fresh()).json
    answer = gateway.post(LIST, token, headers=fresh())
    assert answer.status == 200
    assert answer.json["error"]["code"] == 42901
    assert int(answer.headers["retry-after"]) >= 1


def test_an_address_that_asks_too_much_is_turned_away_whoever_it_is(
    gateway: Deployment, upstream: Recorder
) -> None:
    busy = fresh()
    seen = [
        gateway.call("low__echo", {"text": "busy"}, gateway.token(f"guest-{number // 5}"), headers=busy)
        for number in range(ADDRESS + 3)
    ]
    assert [answer.status for answer in seen] == [200] * ADDRESS + [429] * 3
    assert seen[-1].json["error"]["code"] == 42901
    assert int(seen[-1].headers["retry-after"]) >= 1
    assert heard(upstream, "busy") == ADDRESS
    assert gateway.get("/.well-known/oauth-protected-resource", busy).status == 429
    assert gateway.get("/admin/policy/status", busy).status == 429
    assert [gateway.get(path, busy).status for path in ("/live", "/ready", "/health")] == [200] * 3
    assert gateway.post(LIST, gateway.token("guest-x"), headers=fresh()).status == 200
    (row, *_) = gateway.recorded(
        "action='rate_limit_hit' AND json_extract(metadata,'$.source_ip')=?", busy["X-Forwarded-For"]
    )
    assert (row["decision"], row["reason"], row["event_type"]) == ("deny", "rate_limited", "auth")


def test_failed_credentials_close_the_door_for_good_ones_too(gateway: Deployment, upstream: Recorder) -> None:
    bad, good = fresh(), gateway.token("behind")
    assert gateway.call("low__echo", {"text": "behind"}, good, headers=bad).status == 200
    answers = [gateway.post(LIST, "wrong", headers=bad) for _ in range(FAILED - 1)]
    answers.append(gateway.get("/admin/policy/status", {**bad, "Authorization": "Bearer wrong"}))
    assert [answer.status for answer in answers] == [401] * FAILED
    refused = gateway.call("low__echo", {"text": "behind"}, good, headers=bad)
    assert refused.status == 429
    again = [gateway.post(LIST, "wrong", headers=bad).headers["retry-after"] for _ in range(10)]
    assert int(again[-1]) <= int(refused.headers["retry-after"])
    assert gateway.call("low__echo", {"text": "behind"}, good, headers=fresh()).status == 200
    assert heard(upstream, "behind") == 2


def test_a_budget_is_spent_by_calls_that_policy_allows(gateway: Deployment, upstream: Recorder) -> None:
    token = gateway.token("spender")
    assert gateway.call("low__slow", {"text": 5}, token, headers=fresh()).refusal["code"] == 40301
    for path, tool in (("/mcp", "low__slow"), ("/mcp/low", "slow"), ("/mcp", "low__slow")):
        answer = gateway.call(tool, {"text": "spent"}, token, path=path, headers=fresh())
        assert "spent" in answer.text
    answer = gateway.call("low__slow", {"text": "spent"}, token, modern=True, headers=fresh())
    assert (answer.refusal["code"], answer.refusal["reason"]) == (42902, "budget_exhausted")
    assert answer.refusal["scope"] == {"kind": "tool", "server": "low", "name": "slow"}
    assert int(answer.headers["retry-after"]) >= 1
    assert gateway.call("low__echo", {"text": "free"}, token, headers=fresh()).text
    assert heard(upstream, "spent") == BUDGET
    (row,) = gateway.recorded("subject='spender' AND action='rate_limit_hit'")
    assert (row["reason"], row["tool_name"]) == ("budget_exhausted", "slow")


def test_only_so_many_requests_of_a_token_run_at_once(gateway: Deployment, upstream: Recorder) -> None:
    token = gateway.token("parallel")

    def hang(number: int) -> int:
        return gateway.call("hung__hang", {"text": f"held-{number}"}, token, headers=fresh()).status

    def held() -> int:
        return sum("held-" in str(call) for call in upstream.calls())

    upstream.release.clear()
    with ThreadPoolExecutor(RUNNING) as pool:
        running = [pool.submit(hang, number) for number in range(RUNNING)]
        until(lambda: held() == RUNNING, within=30)
        refused = gateway.call("low__echo", {"text": "one more"}, token, headers=fresh())
        assert refused.refusal["code"] == 42901
        assert refused.refusal["retry_after"] == 1
        assert gateway.call("low__echo", {"text": "x"}, gateway.token("alone"), headers=fresh()).text
        upstream.release.set()
        assert [each.result(60) for each in running] == [200] * RUNNING
    until(lambda: "result" in gateway.post(LIST, token, headers=fresh()).json, within=30)


def test_a_reload_changes_the_limits_of_every_worker(gateway: Deployment) -> None:
    def apply(**limits: Any) -> None:
        digests = active()
        gateway.sections["rate_limiting"] = {**LIMITS, **limits}
        gateway.write()
        assert gateway.process is not None
        os.kill(gateway.process.pid, signal.SIGHUP)
        until(lambda: (now := active()) != digests and len(set(now)) == 1, within=30)

    def active() -> list[str]:
        door = {**fresh(), "Authorization": f"Bearer {gateway.token('admin', roles=['admin'])}"}
        answer = gateway.get("/admin/policy/status", door)
        return [str(replica and replica["digest"]) for replica in answer.json["replicas"]]

    token = [gateway.token(f"tenant-{number}", tenant="limited") for number in range(4)]
    apply(per_tenant="2/h")
    try:
        told = [gateway.post(LIST, each, headers=fresh()).json for each in token]
        assert [("result" in each) for each in told] == [True, True, False, False]
        assert told[-1]["error"]["data"]["scope"] == {"kind": "tenant"}
    finally:
        apply()
    assert "result" in gateway.post(LIST, token[-1], headers=fresh()).json


def memory(gateway: Deployment) -> int:
    """Resident bytes of all workers."""
    pages = [
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in gateway.children("airlock.worker")
    ]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def test_a_flood_of_addresses_without_a_token_fills_neither_memory_nor_log(gateway: Deployment) -> None:
    crowd, networks, seats = 2000, 20, threading.Barrier(4)
    before, size = memory(gateway), gateway.log.stat().st_size
    body = json.dumps(LIST).encode()

    def rush(part: int) -> list[int]:
        statuses: list[int] = []
        with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)) as connection:
            seats.wait(30)
            for number in range(part, crowd, 4):
                source = f"198.18.{number % networks}.{number // networks}"
                headers = {"Content-Type": "application/json", "X-Forwarded-For": source}
                connection.request("POST", "/mcp", body, headers)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        parts = [pool.submit(rush, part) for part in range(4)]
        statuses = [status for part in parts for status in part.result(120)]
    assert statuses == [401] * crowd
    rows = gateway.rows(
        "SELECT count(*) FROM audit_events WHERE reason='token_missing' "
        "AND json_extract(metadata,'$.source_ip') LIKE '198.18.%'"
    )[0][0]
    grown, told = memory(gateway) - before, gateway.log.stat().st_size - size
    assert 0 < rows <= 10 * networks
    assert grown < 64 << 20
    assert told < crowd * 500, "no more than a line each, and less under load"
    assert gateway.call("low__echo", {"text": "calm"}, gateway.token("after"), headers=fresh()).text
