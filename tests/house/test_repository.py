"""What holds for the repository as a whole: locks, licences, machine names."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]

FLOORS = {
    "cryptography": "50.0.0",
    "h11": "0.16.0",
    "jinja2": "3.1.6",
    "mcp": "2.3.0",
    "pyjwt": "2.13.0",
    "python-multipart": "0.0.32",
    "starlette": "1.3.1",
    "urllib3": "2.7.0",
}
"""Older ones have published holes that an attacker of a gateway would use."""

PARTS_FLOORS = {"@modelcontextprotocol/sdk": "1.26.0", "@modelcontextprotocol/inspector": "2.12.0"}

LOCKS = sorted([*ROOT.glob("requirements/*.txt"), *ROOT.glob("parts/**/package-lock.json")])


def locked(path: Path) -> Iterator[tuple[str, str]]:
    """Name and version of everything in a Python lock."""
    yield from re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE)


def npm_locked() -> Iterator[tuple[str, str]]:
    for path in ROOT.glob("parts/**/package-lock.json"):
        for place, package in json.loads(path.read_text())["packages"].items():
            if place:
                yield place.rpartition("node_modules/")[2], package["version"]


def committed() -> list[Path]:
    """Every file that is, or would be, committed."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_lock_names_a_host(path: Path) -> None:
    assert re.findall(r"https?://|index-url|find-links|\"resolved\"", path.read_text()) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements/*.txt")), ids=lambda path: path.name)
def test_everything_in_a_python_lock_has_a_hash(path: Path) -> None:
    entries = re.split(r"^(?=[a-z0-9._-]+==)", path.read_text(), flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_everything_in_an_npm_lock_has_a_hash() -> None:
    for path in ROOT.glob("parts/**/package-lock.json"):
        packages = json.loads(path.read_text())["packages"]
        assert [place for place, found in packages.items() if place and "integrity" not in found] == []


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_no_locked_version_is_below_its_floor(name: str, floor: str) -> None:
    versions = [
        version for path in LOCKS if path.suffix == ".txt" for n, version in locked(path) if n == name
    ]
    assert versions, f"{name} is in no lock: take it off the list"
    assert min(map(Version, versions)) >= Version(floor)


@pytest.mark.parametrize(("name", "floor"), PARTS_FLOORS.items())
def test_no_part_is_below_its_floor(name: str, floor: str) -> None:
    versions = [version for found, version in npm_locked() if found == name]
    assert versions
    assert min(map(Version, versions)) >= Version(floor)


def test_the_policy_engine_is_pinned_to_one_version() -> None:
    requirements = [Requirement(line) for line in metadata.requires("airlock") or []]
    (engine,) = [found for found in requirements if found.name == "gordon-to-regorus"]
    assert [part.operator for part in engine.specifier] == ["=="]


def test_no_run_time_dependency_has_a_licence_that_ours_cannot_live_with() -> None:
    bad = re.compile(r"\bA?GPL|GNU (?:Affero )?General Public", re.IGNORECASE)
    found: dict[str, str] = {}
    for name, _ in locked(ROOT / "requirements/run.txt"):
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue  # for another system or Python than this one
        said = [about["License-Expression"] or "", *(about.get_all("Classifier") or [])]
        licence = " ".join(part for part in said if "License" in part or part == said[0])
        if bad.search(licence) and "Lesser" not in licence:
            found[name] = licence
    assert found == {}


def test_no_committed_file_names_a_machine_or_a_registry() -> None:
    """Written in pieces, so that this file does not name them either."""
    places = [
        "/wo" + "rk/",
        "/ro" + "ot/",
        "registry.npm" + "js.org",
        "pypi" + ".org",
        "files.python" + "hosted",
        "deb.deb" + "ian.org",
    ]
    found = [
        (str(path.relative_to(ROOT)), place)
        for path in committed()
        if path.suffix not in {".png", ".gz"}
        for place in places
        if place in path.read_text(errors="replace")
    ]
    assert found == []


def test_scripts_can_be_run() -> None:
    scripts = [ROOT / ".ci/run", *ROOT.glob("scripts/*.sh")]
    runnable = [path for path in scripts if path.read_text().startswith("#!")]
    assert [path.name for path in runnable if not path.stat().st_mode & 0o111] == []


def test_nothing_that_is_made_here_is_committed() -> None:
    made = {".venv", ".parts", ".cache", "airlock-data", "node_modules", "__pycache__"}
    assert [path for path in committed() if made & set(path.relative_to(ROOT).parts)] == []
