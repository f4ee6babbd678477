"""What is contained, as a call asks it: the answer of the join of all leases, at the cost of look-ups."""

from __future__ import annotations

import ipaddress
import random
import timeit
from collections.abc import Mapping

import msgspec
import pytest

from airlock.core.units import Rate
from airlock.model.containment import MAX_ASKED, Index, Leases, RateKind, compiled
from airlock.model.deltas import delta
from airlock.model.effective import about
from airlock.model.lattice import join_all
from airlock.model.lease import RULES, Action, Lease, read_selector
from airlock.model.principal import Principal
from airlock.model.server import Item

NOW = 1_800_000_000.0
DIGEST = "ab" * 32
OTHER_DIGEST = "cd" * 32
EMPTY_SESSION = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing."""


def lease(action: Action, pairs: Mapping[str, str], *, lasts: float = 60.0, id: str = "") -> Lease:
    return Lease(
        id=id or f"{action} {sorted(pairs.items())} {lasts}",
        action=action,
        selector=read_selector(action, pairs),
        state="active",
        reason="test",
        actor="me",
        origin="api",
        created_at=NOW,
        expires_at=None if RULES[action].longest is None else NOW + lasts,
        max_until=None,
        epoch=1,
    )


def index(*leases: Lease) -> Index:
    found = compiled(leases, epoch=1).index
    assert found is not None
    return found


def who(subject: str = "alice", tenant: str = "acme", issuer: str = "https://i.example") -> Principal:
    return Principal(issuer=issuer, subject=subject, tenant=tenant, token_id="j-1", expires_at=0)


def tool(server: str = "docs", name: str = "echo", digest: str = DIGEST) -> Item:
    return Item(
        server=server,
        name=name,
        alias=f"{server}__{name}",
        definition={},
        digest=digest,
        sensitivity="low",
        read_only=False,
    )


def test_without_leases_there_is_nothing_to_ask() -> None:
    assert compiled([], epoch=7) == Leases(epoch=7)
    assert Leases().index is None


@pytest.mark.parametrize(
    ("cidr", "inside", "outside"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("203.0.113.7", "::ffff:203.0.113.7", "2001:db8::1"),
        ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("2001:db8::1", "2001:DB8:0::1", "2001:db8::2"),
        ("203.0.113.7", "203.0.113.7", "no address"),
        ("203.0.113.7", "203.0.113.7", ""),
    ],
)
def test_a_block_holds_its_network_and_no_more(cidr: str, inside: str, outside: str) -> None:
    blocked = index(lease("ip.block", {"cidr": cidr}))
    assert blocked.address(inside, NOW) is not None
    assert blocked.address(outside, NOW) is None


def test_networks_of_every_length_hold_at_once() -> None:
    cidrs = [str(ipaddress.ip_network((f"198.51.{n}.0", 24))) for n in range(100)]
    blocked = index(*(lease("ip.block", {"cidr": cidr}) for cidr in (*cidrs, "203.0.113.64/26", "192.0.2.1")))
    assert {length for _, length in blocked.networks} == {24, 26, 32}
    hits = ["198.51.99.1", "203.0.113.65", "192.0.2.1"]
    assert all(blocked.address(ip, NOW) for ip in hits)
    assert not any(blocked.address(ip, NOW) for ip in ("198.51.100.1", "203.0.113.63", "192.0.2.2"))


def test_an_address_that_asks_again_gets_the_answer_of_the_moment() -> None:
    blocked = index(
        lease("ip.block", {"cidr": "203.0.113.0/24"}, lasts=20), lease("ip.block", {"cidr": "203.0.113.7"})
    )
    ends = [
        found and found.expires_at for found in (blocked.address("203.0.113.7", NOW + t) for t in (0, 30))
    ]
    assert NOW + 60 in ends
    assert None not in ends
    assert blocked.address("203.0.113.7", NOW + 60) is None
    assert blocked.address("203.0.113.8", NOW + 30) is None


def test_addresses_are_remembered_up_to_a_bound() -> None:
    blocked = index(lease("ip.block", {"cidr": "10.0.0.0/16"}))
    hits = [blocked.address(f"10.{n >> 14}.{n >> 7 & 127}.{n & 127}", NOW) for n in range(MAX_ASKED * 5)]
    assert sum(hit is not None for hit in hits) == 1 << 14
    assert blocked.address("10.0.0.0", NOW) is not None


@pytest.mark.parametrize(
    ("pairs", "hit", "missed"),
    [
        ({"subject": "alice"}, who(tenant="other", issuer="x"), who("bob")),
        ({"subject": "alice", "tenant": "acme"}, who(issuer="x"), who(tenant="other")),
        ({"subject": "alice", "issuer": "https://i.example"}, who(tenant="other"), who(issuer="x")),
        (
            {"subject": "alice", "tenant": "acme", "issuer": "https://i.example"},
            who(),
            who(issuer="x"),
        ),
    ],
)
def test_a_subject_is_suspended_as_far_as_the_lease_names_it(
    pairs: dict[str, str], hit: Principal, missed: Principal
) -> None:
    held = index(lease("subject.suspend", pairs))
    assert held.subject(hit, NOW) is not None
    assert held.subject(missed, NOW) is None


def test_who_is_suspended_does_not_act_for_others() -> None:
    held = index(lease("subject.suspend", {"subject": "agent", "tenant": "acme"}))
    assert held.subject(msgspec.structs.replace(who("bob"), actor=("agent",)), NOW) is not None


def test_who_acted_earlier_in_a_delegation_counts_for_nothing() -> None:
    held = index(lease("subject.suspend", {"subject": "agent", "tenant": "acme"}))
    assert held.subject(msgspec.structs.replace(who("bob"), actor=("service", "agent")), NOW) is None


def test_a_tool_is_quarantined_in_any_definition_or_in_one() -> None:
    any_digest = index(lease("tool.quarantine", {"server": "docs", "tool": "echo"}))
    assert any_digest.tool(tool(digest=OTHER_DIGEST), NOW) is not None
    one = index(lease("tool.quarantine", {"server": "docs", "tool": "echo", "digest": DIGEST}))
    assert one.tool(tool(), NOW) is not None
    assert one.tool(tool(digest=OTHER_DIGEST), NOW) is None
    assert one.tool(tool(server="files"), NOW) is None


def test_servers_tenants_tokens_and_sessions_are_held_by_name() -> None:
    held = index(
        lease("server.disable", {"server": "docs"}),
        lease("tenant.isolate", {"tenant": "acme"}),
        lease("token.revoke", {"token": "j-1"}),
        lease("session.terminate", {"session": EMPTY_SESSION}),
    )
    assert held.server("docs", NOW) is not None
    assert held.server("files", NOW) is None
    assert held.tenant("acme", NOW) is not None
    assert held.tenant("other", NOW) is None
    assert held.token("j-1", NOW) is not None
    assert held.token("j-2", NOW) is None
    assert held.session("", NOW) is not None
    assert held.session("s", NOW) is None


def test_what_nothing_is_held_of_is_not_asked() -> None:
    held = index(lease("server.disable", {"server": "docs"}))
    assert held.address("203.0.113.7", NOW) is None
    assert held.session("s", NOW) is None
    assert held.subject(who(), NOW) is None
    assert held.tool(tool(), NOW) is None


def test_a_lease_ends_by_the_clock_alone() -> None:
    blocked = index(lease("ip.block", {"cidr": "203.0.113.7"}, lasts=60))
    assert blocked.address("203.0.113.7", NOW + 59.9) is not None
    assert blocked.address("203.0.113.7", NOW + 60) is None


@pytest.mark.parametrize("order", [(60.0, 600.0), (600.0, 60.0)])
def test_of_two_leases_the_one_that_ends_last_answers(order: tuple[float, float]) -> None:
    blocked = index(*(lease("ip.block", {"cidr": "203.0.113.7"}, lasts=lasts) for lasts in order))
    found = blocked.address("203.0.113.7", NOW)
    assert found is not None
    assert found.expires_at == NOW + 600


@pytest.mark.parametrize(
    ("kind", "tenant", "now", "rate"),
    [
        ("per_token", "acme", NOW, Rate(5, 60)),
        ("per_token", "other", NOW, Rate(10, 60)),
        ("per_token", "", NOW, Rate(10, 60)),
        ("per_token", "acme", NOW + 70, Rate(10, 60)),
        ("per_token", "acme", NOW + 700, None),
        ("per_ip", "", NOW, Rate(50, 60)),
        ("per_tenant", "acme", NOW, None),
    ],
)
def test_the_tightest_rate_that_holds_counts(
    kind: RateKind, tenant: str, now: float, rate: Rate | None
) -> None:
    leases = compiled(
        [
            lease("ratelimit.tighten", {"per_token": "10/min", "per_ip": "50/min"}, lasts=600),
            lease("ratelimit.tighten", {"per_token": "5/min", "tenant": "acme"}, lasts=60),
            lease("ratelimit.tighten", {"per_token": "8/min", "tenant": "acme"}, lasts=60),
        ],
        epoch=1,
    )
    found = leases.rate(kind, tenant, now)
    assert (found and found[0]) == rate
    assert found is None or found[1].holds(now)


def test_without_rates_in_leases_none_is_demanded() -> None:
    assert Leases().rate("per_ip", "", NOW) is None
    blocked = compiled([lease("ip.block", {"cidr": "203.0.113.7"})], epoch=1)
    assert blocked.rate("per_ip", "", NOW) is None


def test_a_rate_for_a_subject_is_about_nobody_else() -> None:
    pairs = {"per_token": "10/min", "subject": "alice", "tenant": "acme", "issuer": "https://i.example"}
    leases = compiled([lease("ratelimit.tighten", pairs, id="pace")], epoch=1)
    ((name, (rate, behind)),) = leases.paced(who(), NOW)
    assert (name, rate, behind.id) == ("alice", Rate(10, 60), "pace")
    assert leases.rate("per_token", "acme", NOW) is None
    assert leases.paced(who(), NOW + 60) == []
    assert not any(leases.paced(each, NOW) for each in (who("bob"), who(tenant="other"), who(issuer="x")))


def test_a_rate_for_a_subject_is_also_for_whom_it_acts() -> None:
    leases = compiled([lease("ratelimit.tighten", {"per_token": "10/min", "subject": "agent"})], epoch=1)
    acting = msgspec.structs.replace(who("bob"), actor=("agent", "service"))
    assert [name for name, _ in leases.paced(acting, NOW)] == ["agent"]
    assert leases.paced(msgspec.structs.replace(who("bob"), actor=("service", "agent")), NOW) == []


def test_the_rates_of_a_subject_are_the_join_of_the_leases_about_it() -> None:
    dice = random.Random("rates of subjects")  # noqa: S311 - the same cases in every run
    for _ in range(2000):
        held: list[Lease] = []
        for n in range(dice.randrange(8)):
            pairs = {"subject": dice.choice(("a", "b")), "per_token": dice.choice(("10/min", "1/s", "5/min"))}
            pairs |= {key: dice.choice(("a", "b")) for key in ("tenant", "issuer") if dice.random() < 0.4}
            held.append(lease("ratelimit.tighten", pairs, lasts=dice.choice((10.0, 20.0, 30.0)), id=str(n)))
        now = NOW + dice.choice((0.0, 15.0, 25.0, 35.0))
        scope = {"subject": "a", "tenant": "b", "issuer": "a"}
        met = [delta(each.action, each.selector) for each in held if each.holds(now) and about(each, scope)]
        found = compiled(held, epoch=1).paced(who("a", "b", "a"), now)
        expected = join_all(met).get("rate.per_token")
        assert [rate for _, (rate, _) in found] == ([] if expected is None else [expected])


def anything(dice: random.Random) -> Lease:
    lasts = dice.choice((10.0, 20.0, 30.0))
    pick = dice.choice
    pairs: dict[Action, dict[str, str]] = {
        "ip.block": {"cidr": pick(("192.0.2.0/24", "192.0.2.7", "192.0.2.128/25"))},
        "subject.suspend": {"subject": pick(("alice", "bob"))},
        "token.revoke": {"token": pick(("j-1", "j-2"))},
        "tenant.isolate": {"tenant": pick(("acme", "other"))},
        "tool.quarantine": {"server": "docs", "tool": pick(("echo", "read"))},
        "ratelimit.tighten": {"per_token": pick(("10/min", "1/s", "5/min"))},
    }
    action = pick(sorted(pairs))
    return lease(action, pairs[action], lasts=lasts)


def test_the_index_says_what_the_join_of_the_leases_in_force_says() -> None:
    dice = random.Random("index")  # noqa: S311 - the same cases in every run
    for _ in range(2000):
        leases = [anything(dice) for _ in range(dice.randrange(1, 7))]
        dice.shuffle(leases)
        now = NOW + dice.choice((0.0, 15.0, 25.0, 35.0))
        joined = join_all(delta(each.action, each.selector) for each in leases if each.holds(now))
        part = compiled(leases, epoch=1)
        assert part.index is not None
        networks = [ipaddress.ip_network(text) for text in joined.get("block.ips", ())]
        for ip in ("192.0.2.7", "192.0.2.200", "192.0.3.1"):
            inside = any(ipaddress.ip_address(ip) in network for network in networks)
            assert (part.index.address(ip, now) is not None) == inside
        suspended = joined.get("suspend.subjects", ())
        assert (part.index.subject(who(), now) is not None) == (("*", "*", "alice") in suspended)
        assert (part.index.token("j-1", now) is not None) == ("j-1" in joined.get("revoke.tokens", ()))
        assert (part.index.tenant("acme", now) is not None) == ("acme" in joined.get("isolate.tenants", ()))
        held = ("docs", "echo", "*") in joined.get("quarantine.tools", ())
        assert (part.index.tool(tool(), now) is not None) == held
        demanded = part.rate("per_token", "acme", now)
        assert (demanded and demanded[0]) == joined.get("rate.per_token")


def test_a_thousand_leases_cost_a_few_look_ups() -> None:
    """Printed; the bound is one that only a walk over all leases could miss."""
    many = [lease("ip.block", {"cidr": f"198.{n // 250}.{n % 250}.0/24"}) for n in range(500)]
    many += [lease("subject.suspend", {"subject": f"s{n}"}) for n in range(500)]
    held = index(*many)
    caller = who()

    def ask() -> None:
        held.address("203.0.113.7", NOW)
        held.tenant(caller.tenant, NOW)
        held.subject(caller, NOW)

    each = min(timeit.repeat(ask, number=1000, repeat=5)) / 1000
    print(f"one caller against 1,000 leases: {each * 1e6:.1f} us")  # noqa: T201 - the figure
    assert each < 100e-6
