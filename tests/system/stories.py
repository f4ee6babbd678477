"""A story of `airlock demo` played once, in a folder that is looked at afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def played(name: str, folder: Path, steps: Sequence[tuple[str, Any, str]]) -> Path:
    """Play it to its end, each step true and held against facts; the folder that it left."""
    # Under root the stdio server has a user of its own, which has to walk to its directory.
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-m", "airlock.cli", "demo", name, "--json", "--keep"],
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, told[-1] if told else done.stderr
    assert [(step["title"], step["ok"]) for step in told] == [(title, True) for title, _, _ in steps]
    assert all(step["facts"] for step in told)
    (kept,) = folder.iterdir()
    return kept


def review(kept: Path) -> str:
    """The review of its incident, which leaves nothing open."""
    (path,) = kept.glob("data/incidents/INC-*/pir-INC-*.md")
    text = path.read_text()
    assert "not yet known" not in text
    return text
