"""The files of a bundle side by side, under the names that operators' procedures use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

from airlock.incident.evidence.bag import PAYLOAD
from airlock.incident.evidence.verify_bundle import manifest

_FOLDERS = ("data/", "data/forensic/", "data/logs/", "data/state/")
"""Folders of a bag whose files come along; not the folders in them."""


def flatten(bag: Path, target: Path, *, incident: str) -> list[str]:
    """Copy the files into `target`, made where it is absent, and a list of all their SHA-256 beside them, in
    the form that `sha256sum -c` reads; the paths of what was written.

    Nothing is replaced: raises FileExistsError where one of the names is taken, OSError.
    """
    places = {
        name.rpartition("/")[2]: name
        for name in manifest(bag / PAYLOAD)
        if name[: name.rindex("/") + 1] in _FOLDERS
    }
    hashes = f"evidence-hashes-{incident}.txt"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (*places, hashes):
        if (target / name).exists():
            raise FileExistsError(f"{target / name} exists: nothing is replaced")
    for name, inside in places.items():
        with (bag / inside).open("rb") as source, _new(target / name) as copied:
            shutil.copyfileobj(source, copied)
    digests = manifest(bag / PAYLOAD)
    lines = [f"{digests[inside]}  {name}\n" for name, inside in sorted(places.items())]
    with _new(target / hashes) as listing:
        listing.write("".join(lines).encode())
    return [str(target / name) for name in (*sorted(places), hashes)]


def _new(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
