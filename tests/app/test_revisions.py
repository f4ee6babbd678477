"""Which policy decides: the files, or one that was kept, over reloads and restarts."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from airlock.app import revisions as chosen
from airlock.app.acting import Acting, World
from airlock.app.revisions import choose
from airlock.core.errors import ConfigError
from airlock.incident import alerts as states
from airlock.incident.detect import catalogue
from airlock.model.incident import Finding
from airlock.policy import kept
from airlock.store import outbox, proposals
from airlock.store.database import Store
from tests.app.play_parts import NOW, opened
from tests.policy.revised import Files, text

GOOD, BAD, FIXED = text("echo"), text("echo", "fail"), text("echo", "add")


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def files(store: Store, tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_what_comes_to_decide_is_kept_and_noted_once(store: Store, files: Files) -> None:
    good = files.load(GOOD, kind="start", by="start").bundle
    files.load()
    bad = files.load(BAD).bundle
    files.load(kind="start", by="start")
    told = [(each.kind, each.by, each.revision, each.before) for each in files.changes(store)]
    assert told == [
        ("start", "start", good.revision, ""),
        ("reload", "olga", bad.revision, good.revision),
    ]
    assert kept.load(files.data, good.revision).files == good.files


def test_a_rollback_decides_until_other_files_come(store: Store, files: Files) -> None:
    good, bad = files.load(GOOD).bundle, files.load(BAD).bundle
    files.ordered(store, good, bad)
    assert files.load().bundle.revision == good.revision
    again = files.load(kind="start", by="start")
    assert (again.bundle.revision, again.files) == (good.revision, bad.revision)
    assert again.rollback is not None and again.rollback.against == bad.revision
    assert len(files.changes(store)) == 3
    fixed = files.load(FIXED)
    assert (fixed.bundle.revision, fixed.rollback) == (fixed.files, None)
    assert choose(files.config).rollback is None


def test_the_good_file_put_back_ends_the_rollback(store: Store, files: Files) -> None:
    good, bad = files.load(GOOD).bundle, files.load(BAD).bundle
    files.ordered(store, good, bad)
    files.load()
    assert files.load(GOOD).rollback is None
    assert [each.kind for each in files.changes(store)] == ["reload", "reload", "rollback", "reload"]


def test_files_that_cannot_be_read_end_nothing(store: Store, files: Files) -> None:
    good, bad = files.load(GOOD).bundle, files.load(BAD).bundle
    (files.folder / "main.rego").write_bytes(b"\xff")
    with pytest.raises(ConfigError):
        choose(files.config)
    files.ordered(store, good, bad)
    assert files.load().files == ""
    assert files.load().bundle.revision == good.revision
    assert files.load(BAD).rollback is None


def test_a_kept_policy_that_was_changed_does_not_decide(store: Store, files: Files) -> None:
    good, bad = files.load(GOOD).bundle, files.load(BAD).bundle
    files.ordered(store, good, bad)
    (files.data / kept.FOLDER / good.revision / "main.rego").write_text(FIXED)
    with pytest.raises(ConfigError, match="was changed"):
        choose(files.config)
    files.history.withdraw("it was changed")
    assert choose(files.config).bundle.revision == bad.revision
    rows = list[str]()

    def write(events: object) -> list[tuple[str, int]]:
        rows.extend(f"{each.action} {each.reason}" for each in events)  # type: ignore[attr-defined]
        return [("chain", n) for n in range(len(rows))]

    outbox.record(store, write)
    assert rows == ["policy_rollback rollback_refused"]
    files.history.withdraw("there is none")


def test_what_is_refused_is_kept_and_noted_once(store: Store, files: Files) -> None:
    good = files.load(GOOD).bundle
    for _ in range(2):
        files.history.refused(files.write(BAD), "main.rego:7: no", by="SIGHUP")
    told = [(each.kind, each.by, each.reason) for each in files.changes(store)]
    assert told == [("reload", "olga", ""), ("refused", "SIGHUP", "main.rego:7: no")]
    assert len(kept.names(files.data)) == 2
    files.write(GOOD)
    assert choose(files.config).bundle.revision == good.revision


def test_so_many_are_kept_and_what_a_rollback_stands_over(
    store: Store, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "LATEST", 2)
    first = files.load(GOOD).bundle
    second, third = files.load(BAD).bundle, files.load(FIXED).bundle
    assert kept.names(files.data) == {second.revision, third.revision}
    files.ordered(store, second, third)
    files.load()
    assert kept.names(files.data) == {second.revision, third.revision}
    assert first.revision not in kept.names(files.data)


def test_without_a_data_directory_the_files_decide(tmp_path: Path) -> None:
    files = Files(tmp_path)
    assert choose(files.config).rollback is None if files.write(GOOD) else False


def test_where_policy_fails_the_one_before_is_proposed_once(store: Store, files: Files) -> None:
    rule, finding = (
        catalogue.rules()["MCP-024"],
        Finding(
            rule="MCP-024",
            severity="P1",
            group={"component": "policy"},
            summary="fails",
            since=NOW,
            until=NOW,
        ),
    )
    alert = states.folded(None, finding, NOW, "alert-1")
    acting = Acting(store=store, log=files.data / "audit.db")
    world = World(approved=False, keyless=False, active=0, proxies=())
    files.load(GOOD)
    acting.act(alert, rule, "active", world, NOW)
    assert proposals.listing(store) == []
    files.load(BAD)
    for _ in range(2):
        assert acting.act(alert, rule, "active", world, NOW) == []
    (made,) = proposals.listing(store)
    assert (made.order.action, made.needs, made.by.id) == ("policy.rollback", "D", "MCP-024")
