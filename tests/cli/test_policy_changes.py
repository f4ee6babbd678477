"""`airlock policy diff` and `rollback` on the files of a gateway that does not run."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner, Result

from airlock.app.revisions import choose
from airlock.audit.database import open_writer
from airlock.cli.policy import app
from airlock.cli.policy_changes import went_back
from airlock.incident import rejudge
from airlock.model.proposal import Prediction
from airlock.store.database import Store
from tests.app.play_parts import opened
from tests.policy.revised import Files, text
from tests.system.deployment import free_port


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def files(store: Store, tmp_path: Path) -> Files:
    made = Files(tmp_path)
    config = {"data_dir": ".", "policy": {"path": "files"}, "server": {"port": free_port()}}
    (tmp_path / "airlock.yaml").write_text(yaml.safe_dump(config))
    return made


def told(files: Files, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(files.data / "airlock.yaml")])


def test_one_person_goes_back_where_nothing_more_passes(
    store: Store, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_writer(files.data / "audit.db")):
        pass
    good, bad = files.load(text("echo")).bundle.revision, files.load(text("fail")).bundle.revision
    unseen = told(files, "rollback", "--reason", "too much passes")
    assert (unseen.exit_code, "no recorded call to try it on" in unseen.output) == (4, True), unseen.output
    real = rejudge.predict

    def tried(data: Path, selector: Mapping[str, str], **more: Any) -> Prediction:
        return msgspec.structs.replace(real(data, selector, **more), requests=9, flipped=3)

    monkeypatch.setattr(rejudge, "predict", tried)
    done = told(files, "rollback", "--reason", "too much passes")
    assert done.exit_code == 0, done.output
    assert f"policy {bad[:12]} gave way to {good[:12]}; no worker runs" in done.output
    chosen = choose(files.config)
    assert chosen.bundle.revision == good and chosen.rollback is not None
    again = told(files, "rollback", "--to", good, "--reason", "again")
    assert (again.exit_code, "decides already" in again.output) == (1, True), again.output


def test_where_nobody_can_tell_two_people_go_back(store: Store, files: Files) -> None:
    files.load(text("echo"))
    bad = files.load(text("fail")).bundle.revision
    waits = told(files, "rollback", "--reason", "too much passes")
    assert waits.exit_code == 4, waits.output
    assert "needs 2 people" in waits.output and "airlock approve" in waits.output
    assert choose(files.config).bundle.revision == bad
    found = told(files, "rollback", "--reason", "too much passes", "--json")
    assert json.loads(found.stdout)["proposal"]["needs"] == "D"


def test_the_bad_change_comes_first_with_its_author(store: Store, files: Files) -> None:
    good, bad = files.load(text("echo")).bundle, files.load(text("fail"), by="mallory").bundle
    files.ordered(store, good, bad)
    files.load()
    shown = told(files, "diff", "--since", "36500d")
    assert shown.exit_code == 0, shown.output
    first, *_ = shown.stdout.splitlines()
    assert f"reload {bad.revision[:12]}, by mallory, taken back since" in first
    assert '-   input.target.name in ["echo"]' in shown.stdout, shown.stdout
    assert "there is no log of calls" in shown.stdout and "nothing decided before it" in shown.stdout
    document = json.loads(told(files, "diff", "--since", "36500d", "--json").stdout)
    assert [each["kind"] for each in document["changes"]] == ["reload", "rollback", "reload"]


def test_where_nothing_changed_that_is_said(store: Store, files: Files) -> None:
    assert told(files, "diff", "--since", "1h").stdout == "policy did not change in the last 1h\n"


def test_a_rollback_in_force_says_who_and_why() -> None:
    found = {"from": "a" * 64, "to": "b" * 64, "at": "T", "by": "i|ann", "reason": "bad", "incident": "INC-1"}
    assert went_back(found) == (
        f"rolled back for INC-1: {'a' * 12} gave way to {'b' * 12} at T, by i|ann: bad; until other policy"
        " files are loaded"
    )
