"""What leases cost a call that none of them is about, and how long the replay of a dry run takes."""

from __future__ import annotations

import timeit
from collections.abc import Iterator
from time import perf_counter

from airlock.audit.past import MOST, Past
from airlock.core.clock import SYSTEM, timestamp
from airlock.core.config import ServerEntry
from airlock.gateway.contain import of_caller, of_tool
from airlock.gateway.restrict import Restrict
from airlock.incident.replay import predict
from airlock.mcp.headers import Headers
from airlock.mcp.jsonrpc import Request
from airlock.model.call import (
    Admitted,
    Allowed,
    Authenticated,
    Client,
    Findings,
    Identified,
    Inbound,
    Redacted,
    Routed,
)
from airlock.model.containment import Leases, compiled
from airlock.model.decision import Decision
from airlock.model.lease import Action, Lease, Selector, read_selector
from airlock.model.principal import Principal
from airlock.model.server import Item, RegisteredServer, Registry
from airlock.model.snapshot import Current, Snapshot
from airlock.model.upstream import UpstreamRequest
from bench import figures

LEASES = 1000
RUNS, TIMES = 7, 2000
NAME = "t"
"""Of the credential of every call."""

KINDS: tuple[tuple[Action, dict[str, str]], ...] = (
    ("ip.block", {"cidr": "198.51.{n}.{m}"}),
    ("subject.suspend", {"subject": "other-{n}-{m}", "tenant": "acme"}),
    ("token.revoke", {"token": "t-{n}-{m}"}),
    ("tool.quarantine", {"server": "docs", "tool": "t-{n}-{m}"}),
    ("ratelimit.tighten", {"per_token": "1{m}/min", "tenant": "tenant-{n}"}),
    ("ratelimit.tighten", {"per_token": "10/min", "subject": "other-{n}-{m}", "tenant": "acme"}),
    ("stepup.require", {"subject": "other-{n}-{m}"}),
    ("policy.deny_overlay", {"server": "docs", "tool": "t-{n}-{m}"}),
    ("egress.restrict", {"subject": "other-{n}-{m}", "max_bytes": "100"}),
    ("redaction.strengthen", {"server": "s-{n}-{m}", "mode": "block"}),
)
"""Leases of which none is about the call that is measured."""


def measure() -> list[figures.Part]:
    """Every check of a call with no lease and with a thousand, and a replay of as many calls as one takes."""
    return [
        figures.Part(name="checks of a call, no lease", value=_least_us(0), unit="us"),
        figures.Part(name=f"checks of a call, {LEASES} leases", value=_least_us(LEASES), bar=20, unit="us"),
        replay(),
    ]


def replay() -> figures.Part:
    """A lease over some of the callers of as many calls as a dry run takes."""
    calls = list(_past(MOST))
    now = SYSTEM.wall()
    start = perf_counter()
    predict(
        calls,
        action="policy.deny_overlay",
        selector=read_selector("policy.deny_overlay", {"subject": "bob-3", "server": "docs"}),
        since=now - 3600,
        until=now,
    )
    seconds = perf_counter() - start
    return figures.Part(name=f"replay of {MOST} calls", value=seconds, bar=10, unit="s")


def _least_us(number: int) -> float:
    snapshot = Snapshot(
        registry=Registry(servers={}), policy_revision="", leases=compiled(_leases(number), epoch=1)
    )
    call, current = _call(snapshot), Current(snapshot)
    restrict = Restrict(current=current, clock=SYSTEM)
    routed = call.allowed.admitted.routed
    principal, leases = routed.identified.caller.principal, snapshot.leases

    def checks() -> None:
        now = SYSTEM.wall()
        if leases.index is not None:
            of_caller(leases.index, principal, "203.0.113.7", now)
            of_tool(leases.index, routed.item, principal.tenant, now)
        _rates(leases, principal, now)
        restrict.call(routed)
        restrict.sending(call)
        restrict.strength(call)

    return min(timeit.repeat(checks, number=TIMES, repeat=RUNS)) / TIMES * 1e6


def _rates(leases: Leases, principal: Principal, now: float) -> None:
    leases.rate("per_ip", "", now)
    leases.rate("per_token", principal.tenant, now)
    leases.rate("per_tenant", principal.tenant, now)
    leases.paced(principal, now)


def _leases(number: int) -> Iterator[Lease]:
    now = SYSTEM.wall()
    for n in range(number):
        action, pairs = KINDS[n % len(KINDS)]
        told = {key: value.format(n=n // 250, m=n % 250) for key, value in pairs.items()}
        selector: Selector = read_selector(action, told)
        yield Lease(
            id=str(n), action=action, selector=selector, state="active", reason="r", actor="me", origin="api",
            created_at=now, expires_at=None if action == "token.revoke" else now + 3600, max_until=None,
            epoch=1,
        )  # fmt: skip


def _call(snapshot: Snapshot) -> Redacted:
    principal = Principal(
        issuer="https://i", subject="bob", tenant="acme", token_id=NAME, expires_at=0, auth_time=None
    )
    inbound = Inbound(
        request_id="r", route="/mcp", server="", headers=Headers(()), body=b"", source_ip="203.0.113.7",
        source_port=0, received=0.0,
    )  # fmt: skip
    params = {"name": "docs__echo", "arguments": {"text": "x"}}
    tool = Item(
        server="docs", name="echo", alias="docs__echo", definition={}, digest="ab" * 32, sensitivity="medium",
        read_only=False,
    )  # fmt: skip
    identified = Identified(
        caller=Authenticated(inbound=inbound, principal=principal, snapshot=snapshot),
        client=Client(version="2026-07-28", modern=True, capabilities={}),
        message=Request(1, "tools/call", params),
    )
    server = RegisteredServer(entry=ServerEntry(name="docs", transport="http", url="http://127.0.0.1:9/mcp"))
    routed = Routed(identified=identified, server=server, item=tool, arguments={"text": "x"})
    decision = Decision(allow=True, reason="yes", revision="")
    return Redacted(
        allowed=Allowed(admitted=Admitted(routed=routed), decision=decision, question=b"{}"),
        request=UpstreamRequest(method="tools/call", params=params, deadline=0.0),
        arguments=b"{}",
        question=b"{}",
        found=Findings(),
    )


def _past(number: int) -> Iterator[Past]:
    at = timestamp(SYSTEM.wall() - 60)
    for n in range(number):
        yield Past(
            id=str(n), timestamp=at, request=str(n), tenant="acme", server="docs", tool=f"t{n % 9}",
            digest="ab" * 32, sensitivity="medium", result_bytes=100, redacted=False, known=True,
            issuer="https://i", subject=f"bob-{n % 50}", actor="", source_ip="203.0.113.7", token=NAME,
            session="s",
        )  # fmt: skip
