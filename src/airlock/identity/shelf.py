"""The last key set of each provider on disk, so that a restart while a provider is away shuts nobody out.

Whoever can write here owns the data directory, and with it the gateway's own signing key. Files are replaced
whole: several workers write the same thing, and after a crash one of their versions stands there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One key set as it was fetched."""

    issuer: str
    fetched_at: float
    """Unix seconds."""
    body: bytes


class Shelf:
    """Key sets under one directory, which is made on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, kept: Kept) -> None:
        """Replace what is kept of this issuer. Raises `OSError`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(kept))
            os.replace(name, self._path(kept.issuer))
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def last(self, issuer: str) -> Kept | None:
        """What was kept last of this issuer; None where nothing is, or nothing that can be read."""
        try:
            kept = msgspec.json.decode(self._path(issuer).read_bytes(), type=Kept)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return kept if kept.issuer == issuer else None

    def _path(self, issuer: str) -> Path:
        return self._folder / f"{hashlib.sha256(issuer.encode()).hexdigest()[:32]}.json"
