"""Who asks too much is told how long to wait; waiting helps, asking again does not make it worse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from airlock.core import counters
from airlock.core.config import ConcurrencySection, RateLimitingSection, ToolEntry
from airlock.core.counters import Shared
from airlock.core.errors import Refused, Rejected
from airlock.gateway import rates
from airlock.gateway.rates import MAX_LIMITS, Rates, request_ends, subscriber
from airlock.model.call import Identified, Routed
from airlock.model.containment import compiled
from airlock.model.lease import Lease, Selector
from airlock.model.snapshot import Current
from tests.gateway.parts import (
    HandClock,
    authenticated,
    call_message,
    identified,
    principal,
    registered,
    routed,
    snapshot,
)

OPEN: dict[str, Any] = {
    "per_token": None,
    "burst": None,
    "per_ip": None,
    "per_tenant": None,
    "unauthenticated": None,
    "concurrency": ConcurrencySection(per_token=None),
}


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the product, and quicker to make."""
    monkeypatch.setattr(counters, "SETS", 64)


class Worker:
    """The limits of one worker; requests end when the test says so."""

    def __init__(self, words: memoryview, slot: int, clock: HandClock, **limits: Any) -> None:
        self.ends: list[Callable[[], None]] = []
        self.current = Current(snapshot())
        self.rates = Rates(
            section=section(**limits),
            shared=Shared(words, workers=2, slot=slot),
            current=self.current,
            clock=clock,
            when_done=self.ends.append,
        )

    def ask(self, of: Identified | None = None) -> Refused | None:
        """One request of a known caller: what it is refused with."""
        try:
            self.rates.permit(of or identified())
        except Refused as refused:
            return refused
        return None

    def come(self, source_ip: str = "192.0.2.7") -> Rejected | None:
        """One request of an address: what it is turned away with."""
        try:
            self.rates.address(source_ip)
        except Rejected as rejected:
            return rejected
        return None

    def call(self, of: Routed) -> Refused | None:
        """One call that policy allows: what it is refused with."""
        try:
            self.rates.budget(of)
        except Refused as refused:
            return refused
        self.rates.spend(of)
        return None


def section(**limits: Any) -> RateLimitingSection:
    return RateLimitingSection(**{**OPEN, **limits})


class Host:
    """Two workers and their clock."""

    def __init__(self, **limits: Any) -> None:
        self.clock = HandClock()
        self.clock.seconds = 7200.0
        words = memoryview(bytearray(Shared.size(2) * 8)).cast("Q")
        self.one, self.other = (Worker(words, slot, self.clock, **limits) for slot in range(2))


def by(subject: str = "alice", tenant: str = "acme", **more: Any) -> Identified:
    return identified(caller=authenticated(who=principal(subject, tenant, **more)))


def test_nothing_is_counted_where_nothing_is_limited() -> None:
    host = Host()
    assert [host.one.ask() or host.one.come() for _ in range(1000)] == [None] * 1000
    host.one.rates.stranger("192.0.2.7")
    assert host.one.come() is None
    assert host.one.ends == []


def test_a_token_has_its_rate_over_all_workers() -> None:
    host = Host(per_token="4/min")
    assert [worker.ask() for worker in (host.one, host.other) * 2] == [None] * 4
    refused = host.other.ask()
    assert refused is not None
    assert (refused.code, refused.reason, refused.scope) == (42901, "rate_limited", {"kind": "principal"})
    assert host.one.ask(by("bob")) is None


@pytest.mark.parametrize(("auth", "more"), [("login", False), ("oidc", True)])
def test_a_client_that_refreshes_its_token_has_no_new_allowance(auth: str, more: bool) -> None:
    """Tokens of one login share what one token may; what a provider issues is not ours to tell apart."""
    host = Host(per_token="4/min")
    for n in range(4):
        assert host.one.ask(by(auth=auth, token_id=f"grant.{n}")) is None
    assert (host.other.ask(by(auth=auth, token_id="grant.4")) is None) is more
    assert host.other.ask(by(auth=auth, token_id="another.4")) is None


def test_who_waits_as_told_is_served() -> None:
    host = Host(per_token="4/min")
    while (refused := host.one.ask()) is None:
        host.clock.seconds += 7
    assert refused.retry_after is not None
    host.clock.seconds += refused.retry_after
    assert host.one.ask() is None


def test_asking_again_does_not_make_the_wait_longer() -> None:
    host = Host(per_token="4/min")
    for _ in range(4):
        host.one.ask()
    first = host.one.ask()
    for _ in range(500):
        host.one.ask()
        host.other.ask()
    again = host.one.ask()
    assert first is not None
    assert again is not None
    assert again.retry_after == first.retry_after


def test_what_one_limit_refuses_no_other_counts() -> None:
    host = Host(per_token="2/min", per_tenant="3/min")
    for _ in range(20):
        host.one.ask()
    assert host.one.ask(by("bob")) is None
    refused = host.one.ask(by("carol"))
    assert refused is not None
    assert refused.scope == {"kind": "tenant"}
    assert host.one.ask(by("dave", "other")) is None


def test_a_burst_is_what_comes_within_a_second() -> None:
    host = Host(per_token="100/min", burst=3)
    assert [host.one.ask() for _ in range(3)] == [None] * 3
    refused = host.one.ask()
    assert refused is not None
    assert refused.retry_after in {1, 2}
    host.clock.seconds += 2
    assert host.one.ask() is None


def test_only_so_many_of_a_token_run_at_once() -> None:
    host = Host(concurrency=ConcurrencySection(per_token=2))
    assert host.one.ask() is None
    assert host.other.ask() is None
    refused = host.one.ask()
    assert refused is not None
    assert (refused.code, refused.retry_after) == (42901, 1)
    assert host.one.ask(by("bob")) is None
    host.other.ends.pop()()
    assert host.one.ask() is None


def test_a_refused_request_does_not_run() -> None:
    host = Host(per_token="1/min", concurrency=ConcurrencySection(per_token=5))
    for _ in range(10):
        host.one.ask()
    assert len(host.one.ends) == 1


def test_an_address_has_its_rate_whoever_asks() -> None:
    host = Host(per_ip="3/min")
    assert [worker.come() for worker in (host.one, host.other, host.one)] == [None] * 3
    rejected = host.other.come()
    assert rejected is not None
    assert (rejected.http, rejected.reason) == (429, "rate_limited")
    ((name, seconds),) = rejected.headers
    assert name == "retry-after"
    host.clock.seconds += int(seconds)
    assert host.other.come() is None
    assert host.one.come("198.51.100.1") is None


def test_failed_credentials_close_the_door_before_the_token_is_looked_at() -> None:
    host = Host(unauthenticated="3/min")
    for worker in (host.one, host.other, host.one):
        assert worker.come() is None
        worker.rates.stranger("192.0.2.7")
    rejected = host.other.come()
    assert rejected is not None
    assert rejected.data is not None
    assert host.other.come("192.0.2.8") is None
    for _ in range(100):
        host.one.come()
    host.clock.seconds += int(str(rejected.data["retry_after"]))
    assert host.other.come() is None


@pytest.mark.parametrize(
    ("source_ip", "who"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no:address", "no:address"),
        ("", ""),
    ],
)
def test_an_ipv6_network_is_one_subscriber(source_ip: str, who: str) -> None:
    assert subscriber(source_ip) == who


def spender(subject: str = "alice", tool: str = "echo", budget: str | None = "2/h", **more: Any) -> Routed:
    server = registered("docs", tools={tool: ToolEntry(budget=budget)}, **more)
    caller = authenticated(who=principal(subject), at=snapshot(server))
    return routed(identified(params=call_message()["params"], caller=caller))


def test_a_budget_is_for_one_tool_and_one_caller_over_all_workers() -> None:
    host = Host()
    assert host.one.call(spender()) is None
    assert host.other.call(spender()) is None
    refused = host.one.call(spender())
    assert refused is not None
    assert (refused.code, refused.reason) == (42902, "budget_exhausted")
    assert refused.scope == {"kind": "tool", "server": "docs", "name": "echo"}
    assert refused.retry_after is not None
    assert "2 calls in 1h" in refused.text
    assert host.one.call(spender("bob")) is None
    assert host.one.call(spender(tool="other")) is None
    assert host.one.call(spender(budget=None)) is None
    host.clock.seconds += refused.retry_after
    assert host.other.call(spender()) is None


def test_another_token_of_the_same_caller_has_the_same_budget() -> None:
    host = Host()
    of = spender()
    caller = of.identified.caller
    fresh = msgspec.structs.replace(
        caller, principal=msgspec.structs.replace(caller.principal, token_id="other")
    )
    again = msgspec.structs.replace(of, identified=msgspec.structs.replace(of.identified, caller=fresh))
    assert [host.one.call(of), host.one.call(again)] == [None, None]
    assert host.one.call(of) is not None


def test_a_look_costs_nothing() -> None:
    host = Host()
    for _ in range(20):
        host.one.rates.budget(spender())
    assert host.one.call(spender()) is None


def lease(clock: HandClock, *, id: str = "L1", incident: str = "", **selector: str) -> Lease:
    return Lease(
        id=id,
        incident=incident,
        action="ratelimit.tighten",
        selector=Selector(**selector),
        reason="test",
        actor="test",
        origin="api",
        created_at=clock.wall(),
        expires_at=clock.wall() + 600,
        max_until=None,
        state="active",
        epoch=1,
    )


def test_a_lease_makes_a_rate_stricter_at_once_and_until_it_ends() -> None:
    host = Host(per_token="10/min")
    at = msgspec.structs.replace(snapshot(), leases=compiled([lease(host.clock, per_token="2/min")], epoch=1))
    for _ in range(5):
        host.one.ask()
    assert host.one.ask(identified(caller=authenticated(at=at))) is not None
    assert host.one.ask() is None
    host.clock.seconds += 700
    assert [host.one.ask(identified(caller=authenticated(at=at))) for _ in range(10)] == [None] * 10


def test_a_lease_loosens_nothing() -> None:
    host = Host(per_token="2/min")
    at = msgspec.structs.replace(
        snapshot(), leases=compiled([lease(host.clock, per_token="100/min")], epoch=1)
    )
    asked = identified(caller=authenticated(at=at))
    assert [host.one.ask(asked) is None for _ in range(3)] == [True, True, False]


def under(of: Identified, *leases: Lease) -> Identified:
    """The same request while these leases hold."""
    caller = msgspec.structs.replace(
        of.caller, snapshot=msgspec.structs.replace(snapshot(), leases=compiled(leases, epoch=1))
    )
    return msgspec.structs.replace(of, caller=caller)


def test_a_lease_for_a_subject_counts_all_its_tokens_in_all_workers_and_nobody_else() -> None:
    host = Host()
    held = lease(host.clock, per_token="4/min", subject="alice", tenant="acme", incident="INC-1")
    for n, worker in enumerate((host.one, host.other) * 2):
        assert worker.ask(under(by(token_id=f"t-{n}"), held)) is None
    refused = host.other.ask(under(by(token_id="another"), held))
    assert refused is not None
    assert (refused.reason, refused.lease, refused.incident) == ("rate_limited", "L1", "INC-1")
    assert (refused.scope, refused.expires_at) == ({"kind": "principal"}, None)
    assert "identity" in refused.text
    for other in (by("bob"), by(tenant="globex")):
        assert [host.one.ask(under(other, held)) for _ in range(20)] == [None] * 20
    assert refused.retry_after is not None
    host.clock.seconds += refused.retry_after
    assert host.other.ask(under(by(token_id="another"), held)) is None


def test_a_lease_for_a_subject_gives_no_credit_for_what_a_token_asked_before() -> None:
    host = Host(per_token="100/min")
    assert [host.one.ask() for _ in range(50)] == [None] * 50
    held = lease(host.clock, per_token="10/min", subject="alice")
    refused = host.other.ask(under(by(), held))
    assert refused is not None
    assert refused.lease == "L1"
    host.clock.seconds += 60
    assert [host.one.ask(under(by(), held)) for _ in range(3)] != [None] * 3


def test_a_lease_for_a_subject_holds_for_whoever_it_acts_for_too() -> None:
    host = Host()
    held = lease(host.clock, per_token="2/min", subject="agent")
    for n in range(2):
        assert host.one.ask(under(by(f"s-{n}", actor=("agent",)), held)) is None
    refused = host.other.ask(under(by("agent"), held))
    assert refused is not None
    assert refused.lease == "L1"
    assert host.other.ask(under(by("s-0"), held)) is None


def test_of_two_leases_over_a_caller_the_stricter_one_refuses_and_is_named() -> None:
    host = Host()
    held = (
        lease(host.clock, id="own", per_token="10/min", subject="alice"),
        lease(host.clock, id="all", per_token="2/min", incident="INC-2"),
    )
    answers = [host.one.ask(under(by(), *held)) for _ in range(3)]
    assert [found and found.lease for found in answers] == [None, None, "all"]
    assert answers[2] is not None
    assert answers[2].incident == ""
    assert "token" in answers[2].text
    tenant = lease(host.clock, id="tenant", per_tenant="1/min")
    refused = host.other.ask(under(by("bob"), tenant)) or host.other.ask(under(by("bob"), tenant))
    assert refused is not None
    assert (refused.lease, refused.scope) == ("tenant", {"kind": "tenant"})


def test_a_lease_for_a_subject_that_is_looser_than_the_configuration_changes_nothing() -> None:
    host = Host(per_token="2/min")
    held = lease(host.clock, per_token="100/min", subject="alice")
    answers = [host.one.ask(under(by(), held)) for _ in range(3)]
    assert [found and found.lease for found in answers] == [None, None, ""]


def test_a_lease_limits_where_nothing_was_limited() -> None:
    host = Host()
    host.one.current.swap(leases=compiled([lease(host.clock, per_ip="1/min")], epoch=1))
    assert [host.one.come() is None for _ in range(2)] == [True, False]


def test_other_limits_are_taken_over_and_counts_stay() -> None:
    host = Host(per_token="100/min")
    for _ in range(5):
        host.one.ask()
    host.one.rates.configure(section(per_token="6/min"))
    assert [host.one.ask() is None for _ in range(2)] == [True, False]


def test_the_limits_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_LIMITS", 3)
    assert MAX_LIMITS > 3
    host = Host()
    for count in range(1, 20):
        host.one.rates.configure(section(per_token=f"{count}/h"))
        host.one.ask()
    assert host.one.ask() is not None


def test_the_end_of_a_request_is_the_end_of_its_task() -> None:
    async def scenario() -> list[str]:
        ended: list[str] = []

        async def request(name: str) -> None:
            request_ends(lambda: ended.append(name))
            await asyncio.sleep(0 if name == "short" else 30)

        async with asyncio.TaskGroup() as group:
            group.create_task(request("short"))
            cut = group.create_task(request("cut"))
            await asyncio.sleep(0.01)
            cut.cancel()
        return ended

    assert asyncio.run(scenario()) == ["short", "cut"]


def test_outside_of_a_task_nothing_can_end() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def call() -> None:
            try:
                request_ends(lambda: None)
            except RuntimeError as error:
                done.set_result(str(error))

        loop.call_soon(call)
        assert await done == "a request runs in a task"

    asyncio.run(scenario())
