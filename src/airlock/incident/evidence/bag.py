"""A BagIt bag (RFC 8493) that is being written.

Names are plain relative paths. What is written under a name that is taken moves the earlier content to
`data/earlier/`: a bag that is completed loses nothing. Nothing is durable before `close` returned.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol
from urllib.parse import quote

from airlock.incident.evidence.verify_bundle import TAGS, manifest, payload_digest

CHUNK = 1024 * 1024

PAYLOAD = "manifest-sha256.txt"
SIGNATURE = "signature.dsse.json"


class Reads(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Writing:
    """A file of a bag while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class Bag:
    """`root` is an empty directory of the owner's alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.payload: dict[str, str] = {}
        """SHA-256 of every file under `data/`, by name."""
        self.size = 0
        """Bytes of them."""
        self._tags: dict[str, str] = {}

    def carry(self, bag: Path) -> None:
        """Take over the payload of a bag that was verified, by links."""
        for name, digest in manifest(bag / PAYLOAD).items():
            target = self._place(name)
            os.link(bag / name, target)
            self.payload[name] = digest
            self.size += target.stat().st_size

    def add(self, name: str, stream: Reads, size: int) -> None:
        """The next `size` bytes of a stream. Raises OSError where the stream has fewer."""
        with self.writing(name) as file:
            while size and (data := stream.read(min(size, CHUNK))):
                file.write(data)
                size -= len(data)
        if size:
            raise OSError(f"{name} ended {size} bytes too early")

    def add_bytes(self, name: str, content: bytes) -> None:
        with self.writing(name) as file:
            file.write(content)

    def add_file(self, name: str, path: Path) -> None:
        """A file that nobody writes to."""
        with path.open("rb") as stream:
            self.add(name, stream, os.fstat(stream.fileno()).st_size)

    @contextmanager
    def writing(self, name: str) -> Generator[Writing]:
        """Write a file piece by piece. Names that are no plain ASCII are spelled with percent signs."""
        name = quote(name, safe="/-_.~")
        if name in self.payload:
            self._set_aside(name)
        descriptor = os.open(self._place(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            written = Writing(file)
            yield written
            file.flush()
            os.fsync(descriptor)
        if name.startswith("data/"):
            self.payload[name] = written.digest
            self.size += written.size
        else:
            self._tags[name] = written.digest

    def replace(self, name: str, content: bytes) -> None:
        """Write a file of the payload anew, without keeping the earlier content: a log that it continues."""
        if self.payload.pop(name, None) is not None:
            self.size -= (self.root / name).stat().st_size
            (self.root / name).unlink()
        self.add_bytes(name, content)

    def payload_digest(self) -> str:
        """What stands for all payload but the custody log."""
        return payload_digest(self.payload)

    def close(self, information: dict[str, str]) -> str:
        """Write what BagIt wants, and flush; the SHA-256 of the manifest of manifests."""
        self.add_bytes("bagit.txt", b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
        oxum = {"Payload-Oxum": f"{self.size}.{len(self.payload)}"}
        lines = [f"{key}: {value}\n" for key, value in {**information, **oxum}.items()]
        self.add_bytes("bag-info.txt", "".join(lines).encode())
        self.add_bytes(PAYLOAD, _listing(self.payload))
        tags = _listing(self._tags)
        self.add_bytes(TAGS, tags)
        for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
            flush(folder)
        return hashlib.sha256(tags).hexdigest()

    def _set_aside(self, name: str) -> None:
        number = 1
        while (kept := f"data/earlier/{number}/{name.removeprefix('data/')}") in self.payload:
            number += 1
        (self.root / name).rename(self._place(kept))
        self.payload[kept] = self.payload.pop(name)

    def _place(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or not parts:
            raise ValueError(f"{name!r} is no relative path")
        folder = self.root
        for part in parts[:-1]:
            folder /= part
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder / parts[-1]


def publish(staging: Path, final: Path) -> None:
    """Give a closed bag its name, in place of the bag that it completes; `recover` mends what a crash between
    the two steps leaves."""
    before = _before(final)
    if final.exists():
        final.rename(before)
    staging.rename(final)
    flush(final.parent)
    shutil.rmtree(before, ignore_errors=True)


def recover(final: Path) -> None:
    """If we crashed while a bag took the place of another, the one before stands under its own name again."""
    if not final.exists() and _before(final).exists():
        _before(final).rename(final)


def flush(folder: Path) -> None:
    """Return when the names in a folder are on the medium."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _before(final: Path) -> Path:
    return final.with_name(f".{final.name}.before")


def _listing(files: dict[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items())).encode()
