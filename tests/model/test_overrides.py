"""Keys that leases hold: what may be asked for, and what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core import fragment
from airlock.core.config import Config
from airlock.core.fragment import Asked
from airlock.model import fields, overrides
from airlock.model.lattice import LATTICE
from airlock.model.lease import RULES, Lease, Unfit, read_selector
from airlock.model.overrides import KEYS

NOW = 1_000_000.0
BASE = Config()


def asked(key: str, value: object) -> Asked:
    return Asked(key=key, value=value, where="o.yaml:1")


def lease(
    key: str, text: str, *, epoch: int = 1, lasts: float = 60.0, whose: Mapping[str, str] | None = None
) -> Lease:
    of = KEYS[key]
    pairs = {of.field: text} | dict(whose or {})
    return Lease(
        id=f"{key}{epoch}",
        action=of.action,
        selector=read_selector(of.action, pairs),
        state="active",
        reason="r",
        actor="a",
        origin="config",
        created_at=NOW,
        expires_at=NOW + lasts,
        max_until=NOW + 9999,
        epoch=epoch,
    )


def test_a_fragment_has_these_keys_and_no_other() -> None:
    assert set(KEYS) == {*fragment.TIGHTENING, *fragment.TUNING}
    assert {key for key, of in KEYS.items() if of.setting} == set(fragment.TIGHTENING)
    for of in KEYS.values():
        assert not of.setting or of.setting in LATTICE
        assert fields.known(of.field)
        longest = RULES[of.action].longest
        assert longest is not None
        assert of.lasts <= longest
        assert RULES[of.action].overrides
        assert RULES[of.action].alone is not bool(of.setting)


@pytest.mark.parametrize(
    ("key", "value", "pairs", "hours"),
    [
        ("rate_limiting.per_token", "10/min", {"per_token": "10/min"}, 4),
        ("rate_limiting.per_ip", "50/min", {"per_ip": "50/min"}, 4),
        ("rate_limiting.per_tenant", "5/s", {"per_tenant": "5/s"}, 4),
        ("logging.level", "debug", {"level": "debug"}, 2),
        ("logging.audit_all_requests", True, {"audit_all_requests": "true"}, 2),
        ("monitoring.enhanced", True, {"enhanced": "true"}, 24),
        ("policy.cache_ttl", 600.0, {"cache_ttl": "10m"}, 24),
        ("policy.cache_size", 20000, {"cache_size": "20000"}, 24),
        ("server.max_connections", 1000, {"max_connections": "1000"}, 24),
        ("server.max_clients", 500, {"max_clients": "500"}, 24),
    ],
)
def test_each_key_becomes_a_lease(key: str, value: object, pairs: dict[str, str], hours: int) -> None:
    order = overrides.order(asked(key, value), BASE)
    assert order is not None
    told = msgspec.to_builtins(order.selector)
    assert (order.action, told, order.lasts) == (KEYS[key].action, pairs, hours * 3600)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rate_limiting.per_token", "200/min"),
        ("rate_limiting.per_tenant", None),
        ("logging.level", "info"),
        ("logging.audit_all_requests", False),
        ("monitoring.enhanced", False),
    ],
)
def test_what_the_configuration_says_already_needs_no_lease(key: str, value: object) -> None:
    assert overrides.order(asked(key, value), BASE) is None


LOUD = msgspec.convert({"logging": {"level": "debug", "audit_all_requests": True}}, Config)


@pytest.mark.parametrize(
    ("key", "value", "base"),
    [
        ("rate_limiting.per_token", "201/min", BASE),
        ("rate_limiting.per_token", "4/s", BASE),
        ("rate_limiting.per_ip", None, BASE),
        ("logging.level", "warn", BASE),
        ("logging.level", "info", LOUD),
        ("logging.audit_all_requests", False, LOUD),
    ],
)
def test_less_protection_is_refused(key: str, value: object, base: Config) -> None:
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "would_loosen") as refused:
        overrides.order(asked(key, value), base)
    assert key in refused.value.text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("policy.cache_size", fields.MOST_DECISIONS + 1),
        ("server.max_connections", fields.FEWEST - 1),
        ("server.max_connections", fields.MOST + 1),
        ("server.max_clients", 1),
        ("server.max_clients", None),
        ("policy.cache_ttl", fields.LONGEST_TTL + 1),
    ],
)
def test_capacity_stays_within_bounds(key: str, value: object) -> None:
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "selector_invalid"):
        overrides.order(asked(key, value), BASE)


def test_of_protection_the_strictest_counts_and_of_capacity_the_lease() -> None:
    held = [
        lease("rate_limiting.per_token", "10/min"),
        lease("rate_limiting.per_token", "50/min", epoch=2),
        lease("rate_limiting.per_ip", "5000/min"),
        lease("logging.level", "debug"),
        lease("policy.cache_ttl", "10m"),
        lease("server.max_clients", "500"),
    ]
    values = overrides.in_force(BASE, held, NOW)
    assert values == {
        "rate_limiting.per_token": "10/min",
        "logging.level": "debug",
        "policy.cache_ttl": 600.0,
        "server.max_clients": 500,
    }
    config = overrides.over(BASE, values)
    assert config.rate_limiting.per_token == "10/min"
    assert config.rate_limiting.burst == BASE.rate_limiting.burst
    assert (config.logging.level, config.policy.cache_ttl, config.server.max_clients) == ("debug", 600.0, 500)


def test_a_lease_that_is_over_holds_nothing() -> None:
    held = [lease("logging.level", "debug", lasts=60)]
    assert overrides.in_force(BASE, held, NOW + 60) == {}
    assert overrides.over(BASE, {}) is BASE


@pytest.mark.parametrize("whose", [{"tenant": "acme"}, {"subject": "bob"}])
def test_a_lease_of_one_tenant_or_subject_is_no_value_of_the_configuration(whose: dict[str, str]) -> None:
    assert overrides.in_force(BASE, [lease("rate_limiting.per_token", "1/min", whose=whose)], NOW) == {}


TEXTS: dict[str, list[str]] = {
    "rate_limiting.per_token": ["1/s", "10/min", "500/min", "2000/h"],
    "rate_limiting.per_ip": ["1/s", "50/min", "5000/min"],
    "rate_limiting.per_tenant": ["1/s", "50/min"],
    "logging.level": list(fields.LEVELS),
    "logging.audit_all_requests": ["true"],
    "monitoring.enhanced": ["true"],
}


@given(
    st.lists(
        st.sampled_from(sorted(TEXTS)).flatmap(
            lambda key: st.tuples(st.just(key), st.sampled_from(TEXTS[key]))
        ),
        max_size=8,
    )
)
def test_no_later_wish_undoes_an_earlier_one(wishes: list[tuple[str, str]]) -> None:
    """Whatever the order of tightening leases, one more never protects less."""
    held: list[Lease] = []
    before = BASE
    for epoch, (key, text) in enumerate(wishes, 1):
        held.append(lease(key, text, epoch=epoch))
        after = overrides.over(BASE, overrides.in_force(BASE, held, NOW))
        for name, of in KEYS.items():
            if of.setting:
                was, now = (_typed(config, name) for config in (before, after))
                assert now == was or was is None or LATTICE[of.setting](was, now) == now
        assert overrides.in_force(BASE, held[::-1], NOW) == overrides.in_force(BASE, held, NOW)
        before = after


def _typed(config: Config, key: str) -> Any:
    value = fragment.value_of(config, key)
    return fields.read(KEYS[key].field, value) if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("level", "loud"),
        ("audit_all_requests", "false"),
        ("cache_ttl", "soon"),
        ("cache_ttl", "2h"),
        ("cache_size", "1e3"),
        ("cache_size", "\u0661\u0660"),
        ("max_clients", "9" * 40),
        ("per_ip", "fast"),
    ],
)
def test_a_field_says_what_would_be_right(field: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"one of|write|at most|a whole number"):
        fields.read(field, text)


@pytest.mark.parametrize(
    ("action", "pairs"),
    [
        ("logging.enhance", {}),
        ("monitoring.enhance", {}),
        ("cache.tune", {"level": "debug"}),
        ("limits.tune", {"max_clients": "3"}),
    ],
)
def test_a_selector_of_settings_needs_one_that_fits(action: Any, pairs: dict[str, str]) -> None:
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "selector_invalid"):
        read_selector(action, pairs)
