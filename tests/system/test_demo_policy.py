"""`airlock demo policy`: a policy that decides nothing, until the incident is reviewed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airlock.cli.demo.response.policy import STEPS

pytestmark = [pytest.mark.unmeasured, pytest.mark.timeout(600)]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("policy")
    # Under root the stdio server has a user of its own, which has to walk to its directory.
    for parent in (path, path.parent, path.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)
    yield path


def test_a_policy_that_decides_nothing_is_found_bridged_rolled_back_judged_and_reviewed(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airlock.cli", "demo", "policy", "--json"],
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, told[-1] if told else done.stderr
    assert [(step["title"], step["ok"]) for step in told] == [(title, True) for title, _, _ in STEPS]
    clock = [
        line["what"].split(" after ")[0] for step in told for line in step["lines"] if line["who"] == "clock"
    ]
    marks = [" ".join(each.split()[:-2]) for each in clock[:7]]
    assert marks == [
        "refusing",
        "detected and opened",
        "declared and told",
        "failing open",
        "restored",
        "everything judged",
        "resolved",
    ]
    assert list(folder.iterdir()) == []
