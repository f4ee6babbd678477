"""P-1 and P-3b: what is started, with which environment, and what is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from airlock.upstream import spawn
from tests.upstream.stdio_parts import toy

if TYPE_CHECKING:
    from pathlib import Path


def test_the_environment_is_what_the_entry_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOCK_SECRET", "inherited")
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    entry = toy(env={"A": "1", "LANG": "C"}, env_from={"TOKEN": str(secret)})
    assert spawn.environment(entry, tmp_path / "home") == {
        "PATH": spawn.search_path(entry.command[0]),
        "HOME": str(tmp_path / "home"),
        "LANG": "C",
        "A": "1",
        "TOKEN": "s3cret",
    }


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_secret_that_cannot_be_read_prevents_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(spawn.CannotStart, match="the file for TOKEN"):
        spawn.environment(toy(env_from={"TOKEN": str(tmp_path / "secret")}), tmp_path)


@pytest.mark.parametrize(
    ("command", "reason"), [((), "no command"), (("no-such-program-anywhere",), "is no program on")]
)
def test_what_is_no_program_is_not_started(command: tuple[str, ...], reason: str) -> None:
    entry = toy()
    with pytest.raises(spawn.CannotStart, match=reason):
        spawn.resolve(type(entry)(name="x", transport="stdio", command=command))


def test_a_program_is_resolved_to_an_absolute_path() -> None:
    entry = toy()
    assert os.path.isabs(spawn.resolve(type(entry)(name="x", transport="stdio", command=("env", "-i"))))


@pytest.mark.parametrize(
    ("fields", "root", "refused"),
    [
        ({"sensitivity": "low"}, False, False),
        ({"sensitivity": "medium"}, False, True),
        ({"sensitivity": "critical"}, False, True),
        ({"sensitivity": "high", "unsafe_shared_user": True}, False, False),
        ({"sensitivity": "critical"}, True, False),
    ],
)
def test_without_root_only_harmless_servers_run(fields: dict[str, Any], root: bool, refused: bool) -> None:
    assert bool(spawn.refusal(toy(**fields), root=root)) is refused


def test_a_directory_is_new_each_time_and_closed(tmp_path: Path) -> None:
    place = tmp_path / "toy"
    spawn.fresh_directory(place, None)
    (place / "home" / "left-behind").write_text("x")
    spawn.fresh_directory(place, None)
    assert sorted(path.name for path in place.rglob("*")) == ["home", "work"]
    assert place.stat().st_mode & 0o777 == 0o700
