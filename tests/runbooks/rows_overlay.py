"""What a patch of one section does to a running gateway: A-52, A-54, A-81, A-82, A-96.

The patch puts a fragment in the place of the whole `config.yaml`. Whatever stood there before (F16: another
fragment), the gateway keeps all that the fragment does not name, and holds each key of it by a lease.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from airlock.identity.jws import take_apart
from tests.runbooks.registry import Run, row
from tests.runbooks.stack import Stack
from tests.system.deployment import Answer, until

LISTS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
RATES = {"rate_limiting.per_token": "10/min", "rate_limiting.per_ip": "50/min"}
LOGGING = {"logging.level": "debug", "logging.audit_all_requests": True}
CACHE = {"policy.cache_ttl": "10m", "policy.cache_size": 20000}
CONNECTIONS = {"server.max_connections": 1000, "server.max_clients": 500}
MONITORING = {"monitoring.enhanced": True}
ALL = RATES | LOGGING | CACHE | CONNECTIONS | MONITORING


def asked(stack: Stack, method: str = "GET", path: str = "/admin/overrides") -> Answer:
    """The management API."""
    headers = {"Authorization": f"Bearer {stack.tokens['admin']}", **elsewhere()}
    return stack.gateway.send(method, path, None, headers)


def elsewhere() -> dict[str, str]:
    """An address that no limit has seen yet."""
    return {
        "X-Forwarded-For": f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    }


def held(stack: Stack) -> dict[str, Any]:
    """Every key that is held by a lease, with what is in force for it."""
    told = asked(stack)
    settings: list[dict[str, Any]] = told.json["settings"] if told.status == 200 else []
    return {each["key"]: each for each in settings if each["leases"]}


def all_held(stack: Stack, wanted: dict[str, Any]) -> dict[str, Any] | None:
    found = held(stack)
    return found if wanted.keys() <= found.keys() else None


def taken(stack: Stack) -> set[str]:
    """The keys of the text that was taken last."""
    told = asked(stack)
    return set(told.json["overlay"]["keys"]) if told.status == 200 else set(ALL)


def released(stack: Stack, key: str) -> bool:
    return asked(stack, "DELETE", f"/admin/overrides/{key}").status in {200, 404}


@contextmanager
def patched(run: Run, row: str, wanted: dict[str, Any]) -> Generator[dict[str, Any]]:
    """The command of a row was run, and its keys are held. Afterwards they are not, and the file is other."""
    before = run.stack.overlay.read_text() if run.stack.overlay.exists() else ""
    shown = run.sh(row)
    assert (shown.rc, shown.out) == (0, "configmap/airlock-config patched\n"), shown
    try:
        yield run.until(lambda: all_held(run.stack, wanted), what=f"{', '.join(wanted)} held")
    finally:
        # Another text each time: a text that was taken already is not taken again.
        run.stack.overlay.write_text(f"# {secrets.token_hex(8)}\n{before}")
        until(lambda: not wanted.keys() & taken(run.stack), within=60, what="the other text")
        for key in wanted:
            until(lambda key=key: released(run.stack, key), within=60, what=f"{key} released")


def still_governed(run: Run) -> None:
    """What the fragment does not name is there still: servers, and whose tokens count."""
    gateway = run.stack.gateway
    told = gateway.post(LISTS, gateway.token(f"still-{secrets.token_hex(4)}"), headers=elsewhere())
    tools = [tool["name"] for tool in told.json["result"]["tools"]]
    assert "files__echo" in tools, f"the servers of the base are gone: {tools}"
    assert gateway.post(LISTS, "made.up.entirely", headers=elsewhere()).status == 401


def listed(stack: Stack, *, times: int) -> int:
    """How many of so many lists a token gets that nobody used before, from an address of its own."""
    token = stack.gateway.token(f"hasty-{secrets.token_hex(4)}")
    answers = [stack.gateway.post(LISTS, token, headers=elsewhere()) for _ in range(times)]
    return sum("result" in answer.json for answer in answers)


@row("A-52", within=60.0)
@row("A-52", fault="F16", within=60.0, tells=False)
def the_rates_are_tightened_and_nothing_else_changes(run: Run) -> None:
    assert listed(run.stack, times=20) == 20
    with patched(run, "A-52", RATES) as found:
        assert {key: found[key]["effective"] for key in RATES} == RATES, found
        still_governed(run)
        run.until(lambda: 1 <= listed(run.stack, times=20) <= 15, what="ten lists a minute for a token")
    native(run, "rate_limiting.per_token=11/min", "4h")
    run.answer("10/min for each token, 50/min for each address; servers and issuers as before")


@row("A-54", within=60.0)
def a_later_patch_does_not_undo_an_earlier_one(run: Run) -> None:
    with patched(run, "A-52", RATES), patched(run, "A-54", LOGGING) as found:
        assert found["rate_limiting.per_token"]["effective"] == RATES["rate_limiting.per_token"], found
        assert found["logging.level"]["effective"] == "debug", found
        still_governed(run)
        subject = f"listing-{secrets.token_hex(4)}"
        token = run.stack.gateway.token(subject)
        assert run.stack.gateway.post(LISTS, token, headers=elsewhere()).status == 200
        run.stack.gateway.recorded("subject = ?", subject)
        run.until(lambda: '"level":"debug"' in run.stack.gateway.log.read_text(), what="a line at debug")
        assert token not in run.stack.gateway.log.read_text()
    native(run, "logging.level=debug", "2h")
    run.answer("debug, every request recorded, and the rates of the patch before")


@row("A-81", within=60.0)
def a_long_memory_keeps_no_revoked_token_alive(run: Run) -> None:
    stack = run.stack
    with patched(run, "A-81", CACHE) as found:
        assert seconds(found["policy.cache_ttl"]["effective"]) == 600, found
        assert int(found["policy.cache_size"]["effective"]) == CACHE["policy.cache_size"], found
        still_governed(run)
        token = stack.gateway.token(f"leaver-{secrets.token_hex(4)}")
        assert {stack.call("files__echo", token=token, text="x").status for _ in range(6)} == {200}
        jti = take_apart(token).payload["jti"]
        given = stack.airlock("contain", "token.revoke", "--selector", f"token={jti}", "--reason", "gone")
        assert given.rc == 0, given
        assert {stack.call("files__echo", token=token, text="x").status for _ in range(12)} == {401}
    native(run, "policy.cache_ttl=9m", "24h")
    run.answer("decisions are remembered for 10m; a revoked token is refused at once")


def seconds(said: Any) -> float:
    """A duration as a number or as `10m`."""
    if isinstance(said, (int, float)):
        return float(said)
    number, unit = re.fullmatch(r"([0-9.]+)([smh]?)", str(said)).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return float(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit]


@row("A-82", within=60.0)
def one_connection_too_many_is_refused_and_not_dropped(run: Run) -> None:
    with patched(run, "A-82", CONNECTIONS) as found:
        assert {key: int(found[key]["effective"]) for key in CONNECTIONS} == CONNECTIONS, found
        still_governed(run)
    native(run, "server.max_connections=20", "24h", crowded)
    run.answer("1000 connections, 500 clients; one too many gets 503")


def crowded(run: Run) -> None:
    """More connections than both workers may hold, all of them open: each is answered."""
    with ExitStack() as left:

        def status() -> int:
            connection = left.enter_context(closing(run.stack.gateway.connection()))
            connection.request("GET", "/live")
            return connection.getresponse().status

        told = {status() for _ in range(60)}
    assert told == {200, 503}, told


@row("A-96", within=60.0)
def monitoring_is_enhanced_for_a_day_and_ends_by_itself(run: Run) -> None:
    with patched(run, "A-96", MONITORING) as found:
        assert found["monitoring.enhanced"]["effective"] is True, found
        still_governed(run)
    order = ("override", "set", "monitoring.enhanced=true", "--ttl", "5s", "--reason", "a moment", "--json")
    told = run.native(*order)
    assert told.rc == 0, told
    lease = told.json["lease"]["id"]
    run.until(lambda: not held(run.stack), what="the end of the lease")
    run.until(lambda: ended(run, lease), what="lease_expired in the log")
    run.answer("enhanced; it ends by itself")


def ended(run: Run, lease: str) -> bool:
    return any(line["lease"] == lease for line in run.stack.gateway.lines("lease_expired"))


def native(run: Run, setting: str, ttl: str, seen: Callable[[Run], None] = lambda _: None) -> None:
    """The native command holds one key, without a file, and can be asked first. `seen` looks at it."""
    order = ("override", "set", setting, "--ttl", ttl, "--reason", "a check", "--json")
    dry = run.stack.airlock(*order, "--dry-run")
    assert dry.rc == 0, dry
    assert not held(run.stack), "asking changes nothing"
    told = run.native(*order)
    assert told.rc == 0, told
    key = setting.partition("=")[0]
    assert list(held(run.stack)) == [key]
    try:
        seen(run)
    finally:
        run.until(lambda: released(run.stack, key), what=f"{key} released")
