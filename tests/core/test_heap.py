"""What holds memory is told by the function that allocated it, or by its type where that was before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.heap_looks import LOOKS


@pytest.mark.parametrize("look", LOOKS)
def test_what_a_look_tells(look: str) -> None:
    command = [sys.executable, "-m", "tests.core.heap_looks", look]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
