"""A policy file that does not compile (F2)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from tests.faults.facts import Absent, Facts, prove

BROKEN = "@ this is no Rego @"


@contextmanager
def policy_broken(file: Path, *, line: int = 7) -> Generator[Facts]:
    """This line of the file is no Rego. Nothing is reloaded: that is for who uses it."""
    genuine = file.read_bytes()
    lines = genuine.decode().splitlines()
    prove(len(lines) >= line, f"a policy of {line} lines")
    lines[line - 1] = BROKEN
    file.write_text("\n".join(lines) + "\n")
    try:
        said = _refusal(file)
        prove(f"{file}:{line}:" in said, f"a refusal of line {line}: {said}")
        values = {"file": str(file), "line": line, "said": said}
        yield Facts(fault="F2", proof=f"the engine's own parser refuses line {line}", values=values)
    finally:
        file.write_bytes(genuine)


def _refusal(file: Path) -> str:
    """What the engine's library says of this file; raises `Absent` where it takes it."""
    engine = import_module("regorus").Engine()
    try:
        engine.add_policy(str(file), file.read_text())
    except RuntimeError as error:
        return str(error).split("\nStack backtrace:", 1)[0].strip()
    raise Absent(f"a policy that does not compile: {file}")
