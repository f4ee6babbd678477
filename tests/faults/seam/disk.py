"""A disk that keeps what was flushed, and nothing else.

Beside the real files of the journal an image is kept of what the medium would hold: bytes get there when
their file is flushed, names when their directory is synced. Power is lost by putting the image in the place
of the files. While the request `lying` stands, a flush says that it is done and keeps nothing.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

UNKEPT = {"lock", "durable"}
"""Names that mean nothing after a loss of power."""

Change = tuple[int, bytes | None]
"""Bytes at an offset; None: the file ends there."""


class Image:
    """What the medium holds. `root` has a folder per chain."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = itertools.count()
        self._files: dict[int, str] = {}
        self._pending: dict[str, list[Change]] = {}

    def born(self, fd: int) -> str:
        """The file behind `fd`: a new one where it is empty, else one that was there before."""
        found = os.fstat(fd)
        if not found.st_size or found.st_ino not in self._files:
            self._files[found.st_ino] = file = f"{os.getpid()}-{next(self._numbers)}"
            self._pending[file] = []
            (self._root / file).unlink(missing_ok=True)
            if found.st_size:
                self._whole(file, Path(f"/proc/self/fd/{fd}").resolve().read_bytes())
        return self._files[found.st_ino]

    def change(self, file: str, change: Change) -> None:
        self._pending[file].append(change)

    def flush(self, file: str) -> None:
        """What was written is on the medium, unless it lies."""
        if (self._root / "lying").exists():
            return
        changes, self._pending[file] = self._pending[file], []
        with self._open(file) as image:
            for offset, data in changes:
                if data is None:
                    image.truncate(offset)
                else:
                    image.seek(offset)
                    image.write(data)

    def read(self, path: Path, content: bytes) -> None:
        """Whoever reads from the medium has flushed before."""
        fd = os.open(path, os.O_RDONLY)
        file = self.born(fd)
        os.close(fd)
        self._pending[file] = []
        self._whole(file, content)

    def sync(self, chain: Path) -> None:
        """The names of this moment are on the medium."""
        names: dict[str, str] = {}
        for path in chain.iterdir():
            if path.name not in UNKEPT:
                fd = os.open(path, os.O_RDONLY)
                names[path.name] = self.born(fd)
                os.close(fd)
        fresh = self._root / f"{chain.name}.{os.getpid()}"
        fresh.write_text(json.dumps(names))
        fresh.replace(self._root / f"{chain.name}.json")

    def _open(self, file: str) -> Any:
        path = self._root / file
        path.touch()
        return path.open("r+b")

    def _whole(self, file: str, content: bytes) -> None:
        kept = content.rstrip(b"\0")
        with self._open(file) as image:
            image.truncate(0)
            image.write(kept)
            image.truncate(len(content))


class Watch:
    """What the image learns from each operation, after it has succeeded on the real disk."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def opened(self, handle: Any, _: None, fd: int) -> None:
        handle.image = self._image.born(fd)

    def cut(self, handle: Any, _: None, size: int) -> None:
        self._image.change(handle.image, (size, None))

    def written(self, handle: Any, _: None, offset: int, data: bytes) -> None:
        self._image.change(handle.image, (offset, bytes(data)))

    def flushed(self, handle: Any, _: None) -> None:
        self._image.flush(handle.image)

    def read(self, directory: Any, content: bytes, name: str) -> None:
        self._image.read(directory._path / name, content)

    def synced(self, directory: Any, _: None) -> None:
        self._image.sync(directory._path)

    def locked(self, directory: Any, taken: bool) -> None:
        if taken:
            self._image.sync(directory._path)


def install(
    module: ModuleType, root: Path, replace: Callable[[Any, str, Callable[[Any], Any]], None]
) -> None:
    """Change `airlock.audit.files`."""
    watch = Watch(Image(root))
    hooks = (
        (module.LocalHandle, "__init__", watch.opened),
        (module.LocalHandle, "reserve", watch.cut),
        (module.LocalHandle, "truncate", watch.cut),
        (module.LocalHandle, "write", watch.written),
        (module.LocalHandle, "flush", watch.flushed),
        (module.LocalDirectory, "read", watch.read),
        (module.LocalDirectory, "sync", watch.synced),
        (module.LocalDirectory, "lock", watch.locked),
    )
    for owner, name, then in hooks:
        replace(owner, name, _after(then))


def _after(then: Callable[..., None]) -> Callable[[Any], Any]:
    """The operation, and then its hook with the owner, the result and the arguments."""

    def make(original: Any) -> Any:
        def changed(self: Any, *arguments: Any) -> Any:
            result = original(self, *arguments)
            then(self, result, *arguments)
            return result

        return changed

    return make
