"""The way of a call, its durations, and the three scripts: A-08, A-37, A-75, A-76, A-79, A-93 to A-95."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.runbooks.registry import Run, Shown, row
from tests.runbooks.stack import GATEWAY

SERVER = "files"
STAMPED = {"timestamp", "level", "event", "component", "correlation_id"}


def events(shown: Shown, *names: str) -> list[dict[str, Any]]:
    """Log lines of these events among those that were shown."""
    lines = (json.loads(line) for line in shown.lines if line.startswith("{"))
    return [line for line in lines if line["event"] in names]


@row("A-08")
def every_line_is_one_event(run: Run) -> None:
    shown = run.sh("A-08")
    assert shown.rc == 0, shown
    lines = [json.loads(line) for line in shown.lines if line.startswith("{")]
    assert lines
    assert all(line.keys() >= STAMPED for line in lines), lines
    assert len(shown.lines) <= 100
    assert any(line["component"] == "supervisor" for line in lines) or len(lines) == 100
    run.answer("one JSON object a line, with event and correlation id")


@row("A-08", fault="F18", within=60.0)
def the_server_that_is_away_is_named(run: Run) -> None:
    def found() -> list[dict[str, Any]]:
        run.stack.call("files__echo", text="is anybody there")
        return events(run.sh("A-08"), "upstream_error")

    lines = run.until(found, what="upstream_error among the last lines")
    assert {line["server"] for line in lines if "server" in line} == {SERVER}, lines
    run.answer(f"upstream_error {lines[-1]['server']}: {lines[-1]['reason']}")


@row("A-37")
def the_tools_are_listed_in_one_request(run: Run) -> None:
    shown = run.sh("A-37")
    assert shown.rc == 0, shown
    said = shown.json
    assert (said["jsonrpc"], said["id"]) == ("2.0", "recovery-test"), shown
    names = [tool["name"] for tool in said["result"]["tools"]]
    assert "files__echo" in names, names
    assert all("__" in name for name in names), names
    no_token_of_ours_is_an_error(run)
    checked(run, "e2e", code=0)
    run.answer("one JSON object with the tools, named server__tool")


def no_token_of_ours_is_an_error(run: Run) -> None:
    run.bash('KEPT="$TEST_TOKEN"; TEST_TOKEN=made.up.entirely')
    shown = run.sh("A-37")
    assert "result" not in shown.json, shown
    assert shown.json["error"], shown
    run.bash('TEST_TOKEN="$KEPT"')
    head = run.bash(
        f"curl -s -o /dev/null -D - -X POST https://{GATEWAY}/mcp -H 'Content-Type: application/json'"
        " -H 'Authorization: Bearer made.up' -d '{}'"
    )
    assert re.match(r"HTTP/1.1 401 ", head.out), head
    assert re.search(r"(?im)^www-authenticate: Bearer .*resource_metadata=", head.out), head


@row("A-37", fault="F1")
def a_policy_that_decides_nothing_is_an_error_and_no_empty_list(run: Run) -> None:
    run.until(
        lambda: {answer.status for answer in run.stack.everywhere("/ready")} == {503},
        what="every worker knows of it",
    )
    shown = run.sh("A-37")
    said = shown.json
    assert "result" not in said, shown
    assert said["error"]["code"] == 50302, shown
    assert said["id"] == "recovery-test", shown
    checked(run, "e2e", code=1)
    run.answer(f"error {said['error']['code']}: {said['error']['message']}")


def checked(run: Run, kind: str, *, code: int | None = None) -> dict[str, str]:
    """`airlock verify KIND`, where the operator is; what was observed by each check that failed.

    Without a `code`, an answer counts only where something failed: each worker meets what is wrong by itself.
    """
    told = run.bash(f"airlock verify {kind} --json")
    failed = {one["check"]: one["observed"] for one in told.json["checks"] if one["result"] == "fail"}
    if code is not None or failed:
        run.natives.append(told)
        assert told.rc == (1 if code is None else code), told
    return failed


EDGES = {"0.01", "0.025", "0.05", "0.06", "0.1", "0.2", "0.5", "1.0", "3.0", "+Inf"}
STAGES = ("request", "auth", "policy", "upstream", "redaction", "audit")
SUMS = re.compile(r"^airlock_(\w+)_duration_seconds_sum (\S+)$", re.MULTILINE)


def spent(run: Run) -> dict[str, float]:
    """Seconds that each stage took in all, from what A-75 shows."""
    shown = run.sh("A-75")
    assert shown.rc == 0, shown
    assert set(re.findall(r'le="([^"]+)"', shown.out)) == EDGES, shown
    found = {stage: float(seconds) for stage, seconds in SUMS.findall(shown.out)}
    assert set(STAGES) <= found.keys(), shown
    return found


@row("A-75", within=150.0)
def quick_calls_add_little_to_any_stage(run: Run) -> None:
    grown = spent_by_a_call(run)
    assert grown["upstream"] < 2.5, grown
    run.until(lambda: most_are_quick(run), what="a minute of quick calls")
    told = run.native("status", "--latency", "--json")
    assert told.rc == 0, told
    run.answer("no stage takes long")


def most_are_quick(run: Run) -> bool:
    for _ in range(30):
        run.stack.call("files__echo", text="a quick one")
    return run.stack.airlock("status", "--latency", "--json").rc == 0


@row("A-75", fault="F4u", within=90.0)
def only_the_server_takes_long(run: Run) -> None:
    grown = spent_by_a_call(run)
    assert grown["upstream"] >= 2.5, grown
    assert all(grown[stage] < 2.5 for stage in ("auth", "policy", "redaction", "audit")), grown
    run.until(lambda: most_are_slow(run), what="the native command sees it")
    told = run.native("status", "--latency", "--json")
    assert (told.rc, told.json["slowest_stage"]) == (1, "upstream"), told
    run.answer("upstream takes long, no other stage")


def most_are_slow(run: Run) -> bool:
    """Slow calls, as many at a time as weigh among the quick ones of the last minute."""
    with ThreadPoolExecutor(16) as pool:
        for _ in range(16):
            pool.submit(run.stack.call, "files__echo", text="a slow one")
    return run.stack.airlock("status", "--latency", "--json").rc == 1


def spent_by_a_call(run: Run) -> dict[str, float]:
    """By how much the sums of the stages grew by a call."""
    before = spent(run)
    assert run.stack.call("files__echo", text="how long does it take").status == 200

    def counted() -> dict[str, float] | None:
        now = spent(run)
        return now if all(now[stage] > before[stage] for stage in ("request", "upstream")) else None

    after = run.until(counted, what="the call in the sums")
    return {stage: after[stage] - before[stage] for stage in STAGES}


def slow_lines(shown: Shown) -> list[dict[str, Any]]:
    return [line for line in events(shown, "slow_request") if line["duration_ms"] >= 2500]


@row("A-76")
def no_request_takes_seconds(run: Run) -> None:
    before = {line["correlation_id"] for line in slow_lines(run.sh("A-76"))}
    assert run.stack.call("files__echo", text="a quick one").status == 200
    shown = run.sh("A-76")
    assert {line["correlation_id"] for line in slow_lines(shown)} <= before, shown
    told = run.native("logs", "--slowest", "50", "--since", "1h")
    assert told.rc in {0, 3}, told
    run.answer("no further line with a duration of seconds")


@row("A-76", fault="F4u", within=60.0)
def the_duration_of_a_slow_request_is_told(run: Run) -> None:
    lines = run.until(lambda: slowed(run), what="a slow request among the last lines")
    assert lines[-1]["status"] == 200, lines
    told = run.native("logs", "--slowest", "50", "--since", "1h")
    slowest = json.loads(told.lines[0])
    assert slowest["duration_ms"] >= 2500, told
    run.answer(f"slow_request, duration_ms at least {min(3000, int(lines[-1]['duration_ms']))}")


def slowed(run: Run) -> list[dict[str, Any]]:
    run.stack.call("files__echo", text="a slow one")
    return slow_lines(run.sh(run.check.row))


@row("A-79")
def nothing_is_slow_and_nothing_timed_out(run: Run) -> None:
    before = {line["correlation_id"] for line in slow_lines(run.sh("A-79"))}
    assert run.stack.call("files__echo", text="a quick one").status == 200
    shown = run.sh("A-79")
    assert {line["correlation_id"] for line in slow_lines(shown)} <= before, shown
    assert len(shown.lines) <= 10, "ten lines at most, whatever happened"
    told = run.native("logs", "--event", "slow_request,upstream_timeout")
    assert told.rc in {0, 3}, told
    run.answer("no further slow_request")


@row("A-79", fault="F4u", within=60.0)
def what_is_slow_and_what_timed_out_is_told(run: Run) -> None:
    slow = run.until(lambda: slowed(run), what="a slow request among the last lines")
    ours = run.stack.gateway.sections["servers"]
    hasty = [server | {"timeout": "1s"} if server["name"] == SERVER else server for server in ours]
    with run.stack.configured(servers=hasty):
        late = run.until(lambda: timed_out(run), what="a timeout among the last lines")
    assert {line["server"] for line in late} == {SERVER}, late
    told = run.native("logs", "--event", "slow_request,upstream_timeout")
    known = {json.loads(line)["correlation_id"] for line in told.lines}
    assert {slow[-1]["correlation_id"], late[-1]["correlation_id"]} <= known, told
    run.answer(f"slow_request, then upstream_timeout of {SERVER}")


def timed_out(run: Run) -> list[dict[str, Any]]:
    run.stack.call("files__echo", text="a slow one")
    return events(run.sh("A-79"), "upstream_timeout")


SETTINGS = "export RATE=5 DURATION_S=2 P95_MS=2000 TEST_TOOL=files__echo"
"""Of a short try, on whatever machine this is: the server that becomes slow is asked, not our own echo."""
PASSED = re.compile(r"^ok +(\w+): ", re.MULTILINE)
FAILED = re.compile(r"^FAIL (\w+): (.+)$", re.MULTILINE)


def failures(shown: Shown) -> dict[str, str]:
    """What was observed, by the check that failed."""
    return dict(FAILED.findall(shown.out))


@row("A-93", within=60.0)
def a_call_goes_all_the_way(run: Run) -> None:
    shown = run.sh("A-93")
    assert (shown.rc, failures(shown)) == (0, {}), shown
    tried = {"live", "ready", "tools_list", "call", "forbidden_tool", "canary", "audit_row", "audit_verify"}
    assert tried <= set(PASSED.findall(shown.out)), shown
    assert checked(run, "e2e", code=0) == {}
    run.answer("every check ok, no FAIL")


@row("A-93", fault="F1", within=60.0)
def a_call_ends_where_policy_decides_nothing(run: Run) -> None:
    broken(run, "ready", "policy")


@row("A-93", fault="F6", within=60.0)
def a_call_ends_where_nothing_can_be_recorded(run: Run) -> None:
    broken(run, "ready", "audit")


@row("A-93", fault="F18", within=60.0)
def a_call_ends_where_a_server_is_away(run: Run) -> None:
    broken(run, "upstreams", "")


def broken(run: Run, check: str, culprit: str) -> None:
    """The script names the check that failed, once the gateway has met what is wrong."""

    def found() -> Shown | None:
        run.stack.call("files__echo", text="is anybody there")
        shown = run.sh("A-93")
        return shown if check in failures(shown) else None

    shown = run.until(found, what=f"FAIL {check}")
    assert shown.rc == 1, shown
    assert culprit in failures(shown)[check], shown
    run.until(lambda: check in checked(run, "e2e"), what=f"{check} failed")
    run.answer(f"FAIL {check}: {failures(shown)[check]}")


def performed(run: Run, failing: set[str]) -> Shown | None:
    """The script, once these checks fail, or none where there are none."""
    shown = run.sh("A-94")
    return shown if failing <= failures(shown).keys() and bool(failing) == (shown.rc == 1) else None


@row("A-94", within=60.0)
def calls_are_quick_enough(run: Run) -> None:
    run.bash(SETTINGS)
    shown = run.until(lambda: performed(run, set()), what="quick calls")
    assert failures(shown) == {}, shown
    assert re.search(r"p50 [0-9.]+ ms, p95 [0-9.]+ ms, p99 [0-9.]+ ms", shown.out), shown
    assert checked(run, "performance", code=0) == {}
    run.answer("p50, p95 and p99 within the limit")


@row("A-94", fault="F4u", within=60.0)
def calls_of_a_slow_server_are_not(run: Run) -> None:
    run.bash(SETTINGS)
    shown = run.until(lambda: performed(run, {"p95"}), what="FAIL p95")
    assert shown.rc == 1, shown
    assert "p95" in checked(run, "performance", code=1)
    run.answer(f"FAIL p95: {failures(shown)['p95']}")


@row("A-95", within=60.0, soils=True)
def every_door_is_shut(run: Run) -> None:
    shown = run.sh("A-95")
    assert (shown.rc, failures(shown)) == (0, {}), shown
    tried = {"routes", "wrong_audience", "expired", "alg_none", "bad_host", "bad_origin", "canary"}
    assert tried <= set(PASSED.findall(shown.out)), shown
    assert checked(run, "security", code=0) == {}
    run.answer("every check ok, no FAIL")


@row("A-95", fault="unredacted", within=60.0)
def secrets_that_come_back_are_found(run: Run) -> None:
    shown = run.sh("A-95")
    assert shown.rc == 1, shown
    assert set(failures(shown)) == {"canary"}, shown
    assert set(checked(run, "security", code=1)) == {"canary"}
    run.answer(f"FAIL canary: {failures(shown)['canary']}")
