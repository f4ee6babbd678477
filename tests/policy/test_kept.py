"""Policies that are kept: whole or not there, exactly of their revision, and no more than wanted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airlock.core.errors import ConfigError
from airlock.policy import kept
from airlock.policy.bundle import Bundle, load_bundle

ONE = Bundle.of(
    {"main.rego": b"package airlock\n", "more/data.json": b"{}", "a.decisions.jsonl": b""}, origin="here"
)
TWO = Bundle.of({"main.rego": b"package airlock\n# two\n"}, origin="here")


def test_what_is_kept_comes_back_as_it_was(tmp_path: Path) -> None:
    assert kept.names(tmp_path) == frozenset()
    kept.keep(tmp_path, ONE)
    kept.keep(tmp_path, ONE)
    found = kept.load(tmp_path, ONE.revision)
    assert (found.files, found.revision) == (ONE.files, ONE.revision)
    assert kept.names(tmp_path) == {ONE.revision}
    assert (tmp_path / kept.FOLDER).stat().st_mode & 0o077 == 0


def test_the_starter_policy_is_kept_too(tmp_path: Path) -> None:
    starter = load_bundle(None)
    kept.keep(tmp_path, starter)
    assert kept.load(tmp_path, starter.revision).files == starter.files


def test_what_is_gone_or_was_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not kept"):
        kept.load(tmp_path, ONE.revision)
    kept.keep(tmp_path, ONE)
    (tmp_path / kept.FOLDER / ONE.revision / "main.rego").write_text("package airlock\nallow := true\n")
    with pytest.raises(ConfigError, match="was changed"):
        kept.load(tmp_path, ONE.revision)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        kept.keep(tmp_path, ONE)
    assert list((tmp_path / kept.FOLDER).iterdir()) == []


def test_the_others_go_and_what_a_crash_left(tmp_path: Path) -> None:
    kept.keep(tmp_path, ONE)
    kept.keep(tmp_path, TWO)
    (tmp_path / kept.FOLDER / f"{kept.UNFINISHED}x").mkdir()
    assert kept.names(tmp_path) == {ONE.revision, TWO.revision}
    kept.prune(tmp_path, {TWO.revision})
    assert [each.name for each in (tmp_path / kept.FOLDER).iterdir()] == [TWO.revision]
