"""Policies that came to decide, kept as they were: a folder for each, named by its revision.

A folder is whole or not there: it is written beside its place, synced, and renamed. What is read back is a
bundle of exactly that revision, or an error.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from airlock.core.errors import ConfigError
from airlock.policy.bundle import load_bundle

if TYPE_CHECKING:
    from collections.abc import Collection

    from airlock.policy.bundle import Bundle

FOLDER = Path("policy", "revisions")
"""In the data directory."""

UNFINISHED = ".unfinished-"


def keep(data: Path, bundle: Bundle) -> None:
    """Write a bundle, unless it is kept already. Raises `OSError`."""
    folder = data / FOLDER
    place = folder / bundle.revision
    if place.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
    try:
        for name, text in bundle.files.items():
            file = made / name
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(file, text)
        for inside, _, _ in os.walk(made):
            _sync(Path(inside))
        made.rename(place)
        _sync(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def load(data: Path, revision: str) -> Bundle:
    """A bundle as it was kept. Raises `ConfigError` where there is none, or it is another one by now."""
    place = data / FOLDER / revision
    if not place.is_dir():
        raise ConfigError(str(place), "is not there: this policy is not kept")
    found = load_bundle(place)
    if found.revision != revision:
        raise ConfigError(str(place), f"was changed: its revision is {found.revision[:12]}")
    return found


def names(data: Path) -> frozenset[str]:
    """The revisions that are kept."""
    folder = data / FOLDER
    if not folder.is_dir():
        return frozenset()
    return frozenset(each.name for each in folder.iterdir() if not each.name.startswith("."))


def prune(data: Path, stay: Collection[str]) -> None:
    """Remove every other policy, and what a crash left unfinished. Raises `OSError`."""
    folder = data / FOLDER
    for each in folder.iterdir():
        if each.name not in stay:
            shutil.rmtree(each, ignore_errors=True)


def _write(file: Path, text: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
