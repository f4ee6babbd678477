"""Observing needs an end that is near, in any spelling that YAML has for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.clock import SYSTEM, moment, rfc3339
from airlock.core.coherence import OBSERVE_MOST
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.settings import load

SERVER = "servers: [{name: docs, transport: http, url: 'http://127.0.0.1:9001/mcp', mode: observe}]\n"


def read(folder: Path, text: str, **environ: str) -> Config:
    file = folder / "airlock.yaml"
    file.write_text(text)
    return load(file, environ).config


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(folder, text)
    return str(error.value)


def soon() -> str:
    return rfc3339(SYSTEM.wall() + OBSERVE_MOST - 3600)


@pytest.mark.parametrize("spelling", ["{}", "'{}'"], ids=["as YAML has it", "in quotes"])
def test_an_end_within_seven_days_is_taken(tmp_path: Path, spelling: str) -> None:
    until = soon()
    config = read(tmp_path, f"{SERVER}observe: {{until: {spelling.format(until)}}}\n")
    assert config.observe.until == moment(until)
    assert config.servers[0].mode == "observe"


def test_the_environment_may_say_it(tmp_path: Path) -> None:
    until = soon()
    assert read(tmp_path, SERVER, AIRLOCK__OBSERVE__UNTIL=until).observe.until == moment(until)


def test_an_end_that_has_passed_is_no_mistake(tmp_path: Path) -> None:
    assert read(tmp_path, f"{SERVER}observe: {{until: 2026-01-01T00:00Z}}\n").observe.until == 1767225600


def test_an_end_that_is_too_far_away_is_refused(tmp_path: Path) -> None:
    far = rfc3339(SYSTEM.wall() + OBSERVE_MOST + 3600)
    said = refusal(tmp_path, f"observe: {{until: {far}}}\n")
    assert f"observe.until: {far} is too far away (seven days at most" in said


@pytest.mark.parametrize(
    ("text", "key"),
    [(SERVER, "servers.0.mode"), ("observe: {tenants: [acme]}\n", "observe.tenants")],
    ids=["a server", "a tenant"],
)
def test_observing_without_an_end_is_refused(tmp_path: Path, text: str, key: str) -> None:
    assert f"{key}: observes, and observe.until does not say how long" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["tomorrow", "2026-11-28", "5", "2026-11-28 10:00:00", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_moment_is_refused(tmp_path: Path, text: str) -> None:
    assert "expected a moment in UTC such as" in refusal(tmp_path, f"observe: {{until: {text}}}\n")


def test_a_moment_is_read_as_it_is_written() -> None:
    assert rfc3339(moment("2026-11-28T00:00:00Z")) == "2026-11-28T00:00:00Z"
    with pytest.raises(ValueError, match="not a moment"):
        moment("2026-11-28T00:00:00+02:00")
