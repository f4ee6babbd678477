"""Where the programs of stdio servers are found: in fixed places, whatever PATH the gateway had."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def search_path(program: str) -> str:
    """The PATH that belongs to a program: its own directory first, when it was named by its full path.

    A program that was installed outside the system's directories finds its companions beside it, as `npx`
    finds `node`.
    """
    return f"{os.path.dirname(program)}:{SYSTEM_PATH}" if os.path.isabs(program) else SYSTEM_PATH


def find_program(program: str, folder: Path) -> str | None:
    """The absolute path of an executable file, or None. `./name` is relative to `folder`; links are kept."""
    if "/" in program:
        program = os.path.normpath(folder / program)
    return shutil.which(program, path=SYSTEM_PATH)
