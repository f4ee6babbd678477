"""`policy`: how long and how many decisions are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.config import PolicySection
from airlock.core.errors import ConfigError
from airlock.core.settings import load


def section(tmp_path: Path, text: str) -> PolicySection:
    file = tmp_path / "airlock.yaml"
    file.write_text(f"policy: {{{text}}}")
    return load(file, {}).config.policy


def test_decisions_are_remembered_for_five_minutes_by_default() -> None:
    found = load(None, {}).config.policy
    assert (found.cache_ttl, found.cache_size) == (300.0, 10_000)


@pytest.mark.parametrize(
    "text",
    [
        "cache_ttl: 10m, cache_size: 20000",
        "cacheTTL: 10m, cacheSize: 20000",
        "cacheTTL: 600, cache_size: 20000",
    ],
)
def test_time_and_number_can_be_set_in_the_spelling_of_the_runbooks_too(tmp_path: Path, text: str) -> None:
    found = section(tmp_path, text)
    assert (found.cache_ttl, found.cache_size) == (600.0, 20_000)


def test_zero_switches_the_cache_off(tmp_path: Path) -> None:
    assert section(tmp_path, "cache_ttl: 0").cache_ttl == 0


@pytest.mark.parametrize(
    "text", ["cache_ttl: 61m", "cache_ttl: -1", "cache_ttl: soon", "cache_size: 0", "cache_size: 1000001"]
)
def test_both_have_bounds(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"policy\.cache_(ttl|size): found"):
        section(tmp_path, text)


def test_two_spellings_of_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.cacheTTL: given twice"):
        section(tmp_path, "cache_ttl: 1m, cacheTTL: 2m")
