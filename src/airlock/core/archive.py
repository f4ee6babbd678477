"""A backup file: a plain tar of files and, behind them, the manifest that says the SHA-256 of each.

A file without its end has no manifest and is refused as a whole. The manifest finds damage, not forgery: who
can change the file can change the manifest too, so its own digest is shown where the file is made, to be kept
elsewhere. Names are relative paths of plain files; whatever else a tar may hold is refused. All of a file is
read and checked before any of it is written.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

FORMAT = "airlock-backup/1"

FOLDER = "restored"
"""Folder of what does not belong into a data directory, but has to come back with it."""

MANIFEST = f"{FOLDER}/manifest.json"

MANIFEST_MAX = 256 * 1024 * 1024
"""Bytes; a million files take half of it."""

CHUNK = 1024 * 1024

UNCOUNTED = frozenset({"lost+found"})
"""What a directory may hold and still be empty: a volume of its own comes with it."""


class BadArchive(ValueError):
    """Not a backup, or not as it was written. The text says what differs."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its digest in hex and its bytes."""

    sha256: str
    size: int


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How far an audit chain goes: its last record and that record's hash."""

    chain_uid: str
    seq: int
    hash: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds, and what it was made from."""

    format: str
    version: str
    """Of the program that made it."""
    made_at: str
    configuration_digest: str = ""
    policy_revision: str = ""
    needs: list[str] = []
    """Files and variables that the configuration names and the backup does not hold."""
    chains: list[End]
    files: dict[str, Stored]


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that is as it was written."""

    manifest: Manifest
    digest: str
    """SHA-256 of the manifest, in hex: it stands for the whole backup."""


class Reads(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Files(Protocol):
    """What files are added to."""

    def add(self, name: str, stream: Reads, size: int) -> None:
        """The next `size` bytes of a stream under a name. Raises OSError where the stream has fewer."""
        ...

    def add_bytes(self, name: str, content: bytes) -> None: ...

    def add_file(self, name: str, path: Path) -> None:
        """A file that nobody writes to."""
        ...


class Packing:
    """A backup that is being written."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.files: dict[str, Stored] = {}

    def add(self, name: str, stream: Reads, size: int) -> None:
        """The next `size` bytes of a stream under a name. Raises OSError where the stream has fewer."""
        hashing = _Hashing(stream)
        self._put(name, hashing, size)
        self.files[name] = Stored(sha256=hashing.digest, size=size)

    def add_bytes(self, name: str, content: bytes) -> None:
        self.add(name, io.BytesIO(content), len(content))

    def add_file(self, name: str, path: Path) -> None:
        """A file that nobody writes to."""
        with path.open("rb") as stream:
            self.add(name, stream, os.fstat(stream.fileno()).st_size)

    def finish(self, manifest: Manifest) -> Examined:
        """Write the manifest; nothing may be added behind it."""
        content = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1)
        self._put(MANIFEST, io.BytesIO(content), len(content))
        return Examined(manifest=manifest, digest=hashlib.sha256(content).hexdigest())

    def _put(self, name: str, stream: Reads, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        self._tar.addfile(info, stream)


class _Hashing:
    """Passes a stream on and hashes what was taken of it."""

    def __init__(self, stream: Reads) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def packing(path: Path) -> Generator[Packing]:
    """Write a backup. The file (mode 0600) has its name once the block ended well and all of it is flushed;
    before, there is none. A file of that name is never replaced: FileExistsError."""
    if path.exists():
        raise FileExistsError(f"{path} exists: a backup replaces nothing")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield Packing(tar)
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)
    finally:
        draft.unlink()
    _sync(path.parent)


def examine(path: Path) -> Examined:
    """Read a whole backup. Raises BadArchive unless it holds exactly what its manifest says, OSError."""
    found: dict[str, Stored] = {}
    content: bytes | None = None
    with _opened(path) as tar:
        for name, stream, size in _members(path, tar):
            if content is not None:
                raise BadArchive(f"{path}: {name} stands behind the manifest")
            if name == MANIFEST:
                content = stream.read(MANIFEST_MAX)
                continue
            if name in found:
                raise BadArchive(f"{path}: it holds {name} twice")
            found[name] = Stored(sha256=_drain(stream), size=size)
    if content is None:
        raise BadArchive(f"{path}: it has no manifest: it is no backup, or its end is missing")
    manifest = _manifest(path, content)
    _compare(path, manifest.files, found)
    return Examined(manifest=manifest, digest=hashlib.sha256(content).hexdigest())


def unpack(path: Path, examined: Examined, directory: Path) -> None:
    """Write an examined backup into an empty directory, which is made (0700) where it is absent.

    Files appear under their names only when all of them are written and flushed. Raises FileExistsError
    where the directory holds something, BadArchive where the backup changed meanwhile, OSError.
    """
    refuse_occupied(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    staging = Path(tempfile.mkdtemp(prefix=".restore-", dir=directory))
    try:
        _write_all(path, examined, staging)
        for child in sorted(staging.iterdir()):
            child.rename(directory / child.name)
    finally:
        shutil.rmtree(staging)
    _sync(directory)
    _sync(directory.parent)


def refuse_occupied(directory: Path) -> None:
    """Raise FileExistsError unless a directory is empty or absent."""
    if directory.exists() and {each.name for each in directory.iterdir()} - UNCOUNTED:
        raise FileExistsError(f"{directory} is not empty: a backup is restored into an empty directory only")


def _write_all(path: Path, examined: Examined, staging: Path) -> None:
    folders = {staging}
    with _opened(path) as tar:
        for name, stream, _ in _members(path, tar):
            folder = staging
            for part in PurePosixPath(name).parts[:-1]:
                folder /= part
                folder.mkdir(mode=0o700, exist_ok=True)
                folders.add(folder)
            digest = _write(staging / name, stream)
            stored = examined.manifest.files.get(name)
            if digest != (examined.digest if stored is None else stored.sha256):
                raise BadArchive(f"{path}: {name} changed while it was read")
    for folder in folders:
        _sync(folder)


def _write(path: Path, stream: Reads) -> str:
    """A new file of the owner's alone, flushed; its SHA-256."""
    hashing = _Hashing(stream)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(hashing, file, CHUNK)
        file.flush()
        os.fsync(descriptor)
    return hashing.digest


@contextmanager
def _opened(path: Path) -> Generator[tarfile.TarFile]:
    try:
        with tarfile.open(path, mode="r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise BadArchive(f"{path}: not a whole tar: {error}") from error


def _members(path: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, Reads, int]]:
    """Name, content and size of every file; each content is to be read before the next is asked for."""
    for info in tar:
        stream = tar.extractfile(info) if _is_plain(info) else None
        if stream is None:
            raise BadArchive(f"{path}: {info.name!r} is not the relative name of a plain file")
        yield info.name, stream, info.size


def _is_plain(info: tarfile.TarInfo) -> bool:
    name = PurePosixPath(info.name)
    inside = bool(name.parts) and not name.is_absolute() and ".." not in name.parts
    spelled = str(name) == info.name and info.name.isprintable()
    return info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and inside and spelled


def _drain(stream: Reads) -> str:
    hashing = _Hashing(stream)
    while hashing.read(CHUNK):
        pass
    return hashing.digest


def _manifest(path: Path, content: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadArchive(f"{path}: its manifest cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BadArchive(f"{path}: its format is {manifest.format}, this program reads {FORMAT}")
    return manifest


def _compare(path: Path, wanted: dict[str, Stored], found: dict[str, Stored]) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise BadArchive(f"{path}: {name} is in the manifest and not in the file")
        if name not in wanted:
            raise BadArchive(f"{path}: {name} is in the file and not in the manifest")
        if found[name] != wanted[name]:
            raise BadArchive(f"{path}: {name} is not what the manifest says")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
