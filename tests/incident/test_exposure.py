"""What was reached: a planted attack beside usual traffic, counted exactly."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.incident import exposure
from airlock.incident.exposure import Trace, expose, starting_points
from airlock.model.incident import Alert, Finding
from airlock.model.lease import Lease, Selector

BAD, OFFICE = "203.0.113.7", "198.51.100.1"
DIGEST = "a" * 64


def row(id: str, **more: Any) -> Trace:
    usual: dict[str, Any] = {"correlation": id, "phase": "outcome", "decision": "allow"}
    given: dict[str, Any] = {"id": id, "server": "files", "tool": "read", **usual, **more}
    return Trace(**given)


def attack() -> list[Trace]:
    """Refused tokens, one that works, a session, reads, a send whose end nobody knows, another address."""
    return [
        row("s1", phase="single", decision="deny", address=BAD, count=50, server="", tool=""),
        row("c1", subject="carol", address=BAD, session=DIGEST, tenant="acme", bytes=1000),
        row("c2", subject="carol", address=BAD, session=DIGEST, tenant="acme", bytes=500, tool="list"),
        row("i3", correlation="c3", phase="intent", decision="", subject="carol", address=BAD, tool="send"),
        row("i4", correlation="c4", phase="intent", decision="", subject="carol", address=BAD),
        row("c4", subject="carol", address=BAD, tenant="acme", bytes=1),
        row("c5", subject="carol", address="192.0.2.9", decision="error", effect="possible"),
        row("c6", subject="carol", address="192.0.2.9", decision="error", effect="none"),
        row("c7", phase="single", subject="carol", address="192.0.2.9", decision="deny", tool="delete"),
        row("c8", subject="carol", address="192.0.2.9", reason="fail_open"),
    ]


def usual() -> list[Trace]:
    return [row(f"u{n}", subject=f"user{n % 5}", address=OFFICE, tenant="acme", bytes=7) for n in range(20)]


def test_a_planted_attack_is_counted_exactly() -> None:
    found = expose([*usual(), *attack()], [("address", f"{BAD}/32")])
    assert found.counts == {"confirmed": 3, "possible": 3, "prevented": 51}
    assert found.rows["confirmed"] == ("c1", "c2", "c4")
    assert found.rows["possible"] == ("i3", "c5", "c8")
    assert found.rows["prevented"] == ("s1", "c7")
    assert found.tools["prevented"] == ("files/delete",)
    assert (found.bytes, found.tenants) == (1501, ("acme",))
    assert ("subject", "carol") in found.parties
    assert ("address", "192.0.2.9/32") in found.parties


def test_whoever_shares_an_address_is_not_drawn_in() -> None:
    rows = [*usual(), row("c9", subject="carol", address=OFFICE, bytes=3)]
    found = expose(rows, [("subject", "carol")])
    assert found.rows["confirmed"] == ("c9",)
    assert found.shared == (OFFICE,)
    assert found.parties == (("subject", "carol"),)


def test_whoever_called_a_tool_that_turned_bad_is_counted_and_not_followed() -> None:
    rows = [row("a", subject="carol", address=BAD), row("b", subject="carol", address=BAD, tool="other")]
    found = expose(rows, [("tool", "files/read")])
    assert found.rows["confirmed"] == ("a",)
    assert found.parties == (("tool", "files/read"),)


def test_it_goes_three_steps_and_no_further() -> None:
    chain = [row(f"r{n}", subject=f"s{n // 2}", address=f"192.0.2.{(n + 1) // 2}") for n in range(20)]
    found = expose(chain, [("subject", "s0")])
    assert len([party for party in found.parties if party[0] == "subject"]) <= exposure.HOPS + 1
    assert found.counts["confirmed"] < len(chain)


def test_without_a_start_nothing_is_reached() -> None:
    found = expose(usual(), [], unknown=["nowhere to start"])
    assert found.counts == {"confirmed": 0, "possible": 0, "prevented": 0}
    assert found.unknown == ("nowhere to start",)


def test_the_start_is_what_alerts_and_leases_name() -> None:
    group = {"source_ip": BAD, "subject": "carol", "server": "files", "tool": "read"}
    finding = Finding(rule="MCP-002", severity="P1", summary="", since=0, until=1, group=group)
    alert = Alert(id="a", fingerprint="f", finding=finding, first_seen=0, last_seen=1)
    junk = Alert(id="b", fingerprint="g", first_seen=0, last_seen=1,
                 finding=Finding(rule="X", severity="P3", summary="", since=0, until=1,
                                 group={"source_ip": "no address"}))  # fmt: skip
    lease = Lease(
        id="l", action="session.terminate", selector=Selector(session=DIGEST), state="active", reason="",
        actor="", origin="cli", created_at=0, expires_at=None, max_until=None, epoch=1,
    )  # fmt: skip
    assert starting_points([alert, junk], [lease]) == (
        ("address", f"{BAD}/32"), ("session", DIGEST), ("subject", "carol"), ("tool", "files/read"),
    )  # fmt: skip


@pytest.mark.parametrize("address", ["", "no address", "2001:db8::1"])
def test_what_is_in_no_network_is_no_party(address: str) -> None:
    found = expose([row("x", address=address)], [("address", f"{BAD}/32")])
    assert found.counts["confirmed"] == 0
