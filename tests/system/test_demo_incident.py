"""`airlock demo incident`: an attack until the closed review, each step held against facts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airlock.cli.demo.response.story import STEPS

pytestmark = [pytest.mark.unmeasured, pytest.mark.timeout(600)]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("incident")
    # Under root the stdio server has a user of its own, which has to walk to its directory.
    for parent in (path, path.parent, path.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)
    yield path


def test_an_attack_is_found_contained_proven_resolved_and_reviewed(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airlock.cli", "demo", "incident", "--json", "--keep"],
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, told[-1] if told else done.stderr
    assert [(step["title"], step["ok"]) for step in told] == [(title, True) for title, _, _ in STEPS]
    assert all(step["facts"] for step in told)

    (kept,) = folder.iterdir()
    (review,) = kept.glob("data/incidents/INC-*/pir-INC-*.md")
    text = review.read_text()
    assert "not recorded" not in text[: text.index("Root Cause")]
    assert "not yet known" not in text
    assert "olga" in text
    (status,) = kept.glob("data/incidents/status.json")
    assert "RESOLVED" in status.read_text()
