"""The file seam: everything that the journal asks of a disk, and the real disk.

Until `flush` returned, a write may be lost, in part and in any order; until `sync` returned, a name may be. A
failed flush says nothing about any earlier write on the same handle: the kernel may have marked the pages
clean. So nobody flushes a handle twice after an error; they close it. Every error is an OSError.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from airlock.audit.journal import DURABLE, is_chain_name

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "lock"


class Space(NamedTuple):
    """Bytes of the volume, and those that this process may still take."""

    total: int
    free: int


class Handle(Protocol):
    """One file open for writing. Used by one thread."""

    def write(self, offset: int, data: bytes) -> None: ...

    def flush(self) -> None:
        """Return when all that was written is on the medium, together with what is needed to read it."""
        ...

    def truncate(self, size: int) -> None: ...

    def close(self) -> None:
        """Give the handle back without a flush. Never raises."""
        ...


class Directory(Protocol):
    """One chain's directory."""

    @property
    def name(self) -> str: ...

    def names(self) -> list[str]: ...

    def create(self, name: str, size: int) -> Handle:
        """A file of `size` zero bytes whose blocks are reserved, replacing one of that name."""
        ...

    def open(self, name: str) -> Handle: ...

    def read(self, name: str) -> bytes:
        """The content as the medium has it: flushed, and not from a cache that a failed flush left behind."""
        ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, name: str) -> None:
        """Absent already is fine."""
        ...

    def sync(self) -> None:
        """Return when all names are on the medium."""
        ...

    def space(self) -> Space: ...

    def lock(self) -> bool:
        """Take this directory for this process until `close`; False if another process holds it."""
        ...

    def publish(self, seq: int) -> None:
        """Let other processes see at once that all up to `seq` is durable. Nothing waits for a disk here."""
        ...

    def close(self) -> None: ...


class Volume(Protocol):
    """The journal directory."""

    def names(self) -> list[str]:
        """Chains, oldest first."""
        ...

    def directory(self, name: str) -> Directory:
        """Opened, and created durably where it is absent."""
        ...


class LocalVolume:
    """The journal directory of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._path) if is_chain_name(name))
        except FileNotFoundError:
            return []

    def directory(self, name: str) -> LocalDirectory:
        path = self._path / name
        if not path.is_dir():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(self._path)
            _sync_directory(self._path.parent)
        return LocalDirectory(path)


class LocalDirectory:
    """One chain's directory on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._durable: mmap.mmap | None = None

    @property
    def name(self) -> str:
        return self._path.name

    def names(self) -> list[str]:
        return os.listdir(self._path)

    def create(self, name: str, size: int) -> LocalHandle:
        path = self._path / name
        path.unlink(missing_ok=True)
        handle = LocalHandle(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            handle.reserve(size)
        except OSError:
            handle.close()
            path.unlink(missing_ok=True)
            raise
        return handle

    def open(self, name: str) -> LocalHandle:
        return LocalHandle(os.open(self._path / name, os.O_WRONLY | os.O_CLOEXEC))

    def read(self, name: str) -> bytes:
        fd = os.open(self._path / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            with open(fd, "rb", closefd=False) as stream:
                return stream.read()
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        (self._path / old).rename(self._path / new)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def sync(self) -> None:
        _sync_directory(self._path)

    def space(self) -> Space:
        stat = os.statvfs(self._path)
        return Space(total=stat.f_blocks * stat.f_frsize, free=stat.f_bavail * stat.f_frsize)

    def lock(self) -> bool:
        fd = os.open(self._path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock = fd
        return True

    def publish(self, seq: int) -> None:
        if self._durable is None:
            self._durable = _map_durable(self._path / DURABLE)
        # One aligned 8-byte store: a reader sees the old number or the new one, never a mixture.
        with memoryview(self._durable) as view, view.cast("Q") as cell:
            cell[0] = int.from_bytes(seq.to_bytes(8, "little"), sys.byteorder)

    def close(self) -> None:
        if self._durable is not None:
            self._durable.close()
            self._durable = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class LocalHandle:
    """One file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def reserve(self, size: int) -> None:
        if size:
            os.posix_fallocate(self._fd, 0, size)

    def write(self, offset: int, data: bytes) -> None:
        if os.pwrite(self._fd, data, offset) != len(data):
            # Linux cuts a write to a file short only where the volume or a limit ends.
            raise OSError(errno.ENOSPC, "the disk took a part only")

    def flush(self) -> None:
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        # Some file systems report a late write error here; what mattered was flushed, or failed already.
        with suppress(OSError):
            os.close(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _map_durable(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, 8)
        return mmap.mmap(fd, 8)
    finally:
        os.close(fd)
