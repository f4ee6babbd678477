"""How limits are written: rates, other spellings, switches, and a section inside a section."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.config import RateLimitingSection
from airlock.core.errors import ConfigError
from airlock.core.settings import load


def section(tmp_path: Path, text: str, **environ: str) -> RateLimitingSection:
    file = tmp_path / "airlock.yaml"
    file.write_text(text)
    return load(file, environ).config.rate_limiting


def test_without_a_word_the_usual_limits_apply() -> None:
    found = load(None, {}).config.rate_limiting
    assert (found.per_token, found.per_ip, found.per_tenant) == ("200/min", "1000/min", None)
    assert (found.burst, found.unauthenticated, found.concurrency.per_token) == (50, "60/min", 32)


def test_each_limit_can_be_set_and_switched_off(tmp_path: Path) -> None:
    found = section(
        tmp_path,
        "rate_limiting: {per_token: 5/s, per_ip: null, per_tenant: 9/d, burst: null, unauthenticated: 1/h,"
        " concurrency: {per_token: null}}",
    )
    assert (found.per_token, found.per_ip, found.per_tenant) == ("5/s", None, "9/d")
    assert (found.burst, found.unauthenticated, found.concurrency.per_token) == (None, "1/h", None)


def test_runbooks_spell_the_section_and_its_keys_in_their_own_way(tmp_path: Path) -> None:
    found = section(tmp_path, "rateLimiting: {perToken: 10/min, perIp: 50/min, perTenant: 70/min}")
    assert (found.per_token, found.per_ip, found.per_tenant) == ("10/min", "50/min", "70/min")


def test_variables_reach_the_section_inside(tmp_path: Path) -> None:
    found = section(
        tmp_path,
        "{}",
        AIRLOCK__RATE_LIMITING__CONCURRENCY__PER_TOKEN="7",
        AIRLOCK__RATE_LIMITING__PER_IP="3/min",
    )
    assert (found.concurrency.per_token, found.per_ip) == (7, "3/min")


@pytest.mark.parametrize(
    "text", ["200", "'200/m'", "200 / min", "ten/min", "-1/min", "1.5/min", "10/week", "[]"]
)
def test_what_is_no_rate_is_refused_with_what_would_be_right(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        section(tmp_path, f"rate_limiting:\n  per_token: {text}\n")
    (problem,) = caught.value.problems
    assert problem.where == f"{tmp_path / 'airlock.yaml'}:2"
    assert problem.what.startswith("rate_limiting.per_token: found ")
    assert problem.hint == "expected a rate such as 10/s, 200/min, 1000/h or 5/d or null"


@pytest.mark.parametrize(
    "text", ["burst: 0", "burst: 70000", "concurrency: {per_token: 0}", "concurrency: 5"]
)
def test_counts_have_bounds(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="rate_limiting"):
        section(tmp_path, f"rate_limiting: {{{text}}}")


def test_a_tool_may_have_a_budget(tmp_path: Path) -> None:
    file = tmp_path / "airlock.yaml"
    file.write_text(
        "servers:\n- {name: docs, transport: http, url: 'http://h/', tools: {find: {budget: 100/h}}}\n"
    )
    assert load(file, {}).config.servers[0].tools["find"].budget == "100/h"
