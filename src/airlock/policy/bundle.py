"""A policy bundle: the files that decide, as one immutable value with one revision.

A bundle is a directory or a `.tar.gz` of `*.rego`, `data.json` (in a sub-directory it is mounted under
the names of the directories, as OPA does) and `*.decisions.jsonl`; other files are left out. The revision
is the SHA-256 over all of them, tests included, so that "this revision passed its tests" is one statement
about one value. What is read is bounded, and nothing outside the directory or archive can be pulled in.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import zlib
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_FILES = 256
MAX_FILE_BYTES = 1024 * 1024
"""The engine's own limit for a module."""
MAX_BYTES = 8 * 1024 * 1024
MAX_MEMBERS = 4096
"""Entries of an archive, wanted or not: reading a longer table of contents is no use to anybody."""

_TEST = re.compile(rb"^test_\w+ if \{\n(?:(?!\}).*\n)*\}", re.MULTILINE)

STARTER = "starter"
"""Origin of the policy that applies when none is configured."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """Files by relative path, the SHA-256 of their canonical form in hex, and where they came from."""

    files: dict[str, bytes]
    revision: str
    origin: str

    @classmethod
    def of(cls, files: Mapping[str, bytes], *, origin: str) -> Bundle:
        """Raises ConfigError when the limits are passed or no `.rego` is among the files."""
        _check_limits(files, origin)
        ordered = dict(sorted(files.items()))
        return cls(files=ordered, revision=_revision(ordered), origin=origin)

    @property
    def modules(self) -> dict[str, bytes]:
        """What decides: every `.rego` that is no test, without the tests that stand in it."""
        return {path: without_tests(text) for path, text in self.files.items() if _is_module(path)}

    @property
    def test_modules(self) -> dict[str, bytes]:
        """Every `.rego` with tests in it, whole."""
        return {
            path: text
            for path, text in self.files.items()
            if path.endswith("_test.rego") or (_is_module(path) and without_tests(text) != text)
        }

    @property
    def golden(self) -> dict[str, bytes]:
        """Recorded decisions, `*.decisions.jsonl`."""
        return {path: text for path, text in self.files.items() if path.endswith(".decisions.jsonl")}

    def data(self) -> dict[str, Any]:
        """The merged `data.json` files. Raises ConfigError for malformed or overlapping ones."""
        merged: dict[str, Any] = {}
        for path, text in self.files.items():
            if PurePosixPath(path).name == "data.json":
                _mount(merged, path, _object(path, text))
        return merged

    def to_bytes(self) -> bytes:
        """For another process, so that all run the same revision."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> Bundle:
        """Raises ConfigError when the revision does not match the files."""
        bundle = msgspec.msgpack.decode(content, type=cls)
        if bundle.revision != _revision(bundle.files):
            raise ConfigError(bundle.origin, "the bundle does not match its revision")
        return bundle


def without_tests(text: bytes) -> bytes:
    """A module with empty lines in place of its tests: `test_name if {` to `}`, both at the start of a line.

    What stands in a raw string is no test. A test that is written otherwise stays, a rule as any other.
    """

    def emptied(test: re.Match[bytes]) -> bytes:
        inside_text = text.count(b"`", 0, test.start()) % 2 or test[0].count(b"`") % 2
        return test[0] if inside_text else b"\n" * test[0].count(b"\n")

    return _TEST.sub(emptied, text)


def load_bundle(path: Path | None) -> Bundle:
    """Read a directory or `.tar.gz`; None is the starter policy. Raises ConfigError."""
    if path is None:
        return Bundle.of(_collect(_starter_files(), STARTER), origin=STARTER)
    try:
        if path.is_dir():
            return Bundle.of(_collect(_directory_files(path), str(path)), origin=str(path))
        if path.is_file():
            return Bundle.of(_collect(_archive_files(path), str(path)), origin=str(path))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    raise ConfigError(str(path), "is neither a directory nor a file", "policy.path")


def _starter_files() -> Iterator[tuple[str, bytes]]:
    for file in resources.files("airlock.policy").joinpath("starter").iterdir():
        if _is_wanted(file.name):
            yield file.name, file.read_bytes()


def _directory_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Hidden names are skipped. A link is followed only to a file inside `root` (ConfigMaps have such)."""
    real_root = root.resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if Path(folder, name).is_symlink():
                raise ConfigError(str(Path(folder, name)), "is a link to a directory: bundles hold none")
        for name in sorted(names):
            file = Path(folder, name)
            if not _is_wanted(name):
                continue
            if not file.resolve().is_relative_to(real_root):
                raise ConfigError(str(file), "is a link that leaves the bundle")
            with file.open("rb") as stream:
                yield file.relative_to(root).as_posix(), stream.read(MAX_FILE_BYTES + 1)


def _archive_files(path: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    try:
        with tarfile.open(path, "r:gz") as archive:
            for count, member in enumerate(archive, start=1):
                total += member.size
                if count > MAX_MEMBERS or total > MAX_BYTES:
                    raise ConfigError(
                        str(path), f"unpacks to more than {MAX_BYTES} bytes or too many entries"
                    )
                if name := _member_name(path, member):
                    stream = archive.extractfile(member)
                    yield name, stream.read() if stream else b""
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ConfigError(str(path), f"is not a readable .tar.gz: {error}") from error


def _member_name(archive: Path, member: tarfile.TarInfo) -> str | None:
    """The relative path of a wanted file, None for what is left out. Raises ConfigError for a trap."""
    path = PurePosixPath(member.name)
    parts = path.parts
    if member.name.startswith("/") or ".." in parts or "\\" in member.name:
        raise ConfigError(str(archive), f"entry {member.name!r} would leave the bundle")
    if member.isdir():
        return None
    if not member.isreg():
        raise ConfigError(str(archive), f"entry {member.name!r} is a link or a device")
    if member.size > MAX_FILE_BYTES:
        raise ConfigError(str(archive), f"entry {member.name!r} is larger than {MAX_FILE_BYTES} bytes")
    hidden = any(part.startswith(".") for part in parts)
    return None if hidden or not _is_wanted(path.name) else "/".join(parts)


def _is_wanted(name: str) -> bool:
    return not name.startswith(".") and (name == "data.json" or name.endswith((".rego", ".decisions.jsonl")))


def _is_module(path: str) -> bool:
    return path.endswith(".rego") and not path.endswith("_test.rego")


def _collect(entries: Iterator[tuple[str, bytes]], origin: str) -> dict[str, bytes]:
    """Stops reading as soon as a limit is passed."""
    files: dict[str, bytes] = {}
    for path, text in entries:
        if path in files:
            raise ConfigError(origin, f"holds {path} twice")
        files[path] = text
        _check_size(files, origin)
    return files


def _check_limits(files: Mapping[str, bytes], origin: str) -> None:
    _check_size(files, origin)
    for path, text in files.items():
        _check_file(path, text, f"{origin}/{path}")
    if not any(_is_module(path) for path in files):
        raise ConfigError(origin, "holds no .rego file, so nothing would ever be allowed")


def _check_file(path: str, text: bytes, where: str) -> None:
    if not path.isprintable():
        raise ConfigError(repr(where), "is a name that cannot be printed")
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(where, f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(where, f"is not UTF-8 (byte {error.start})") from error


def _check_size(files: Mapping[str, bytes], origin: str) -> None:
    if len(files) > MAX_FILES:
        raise ConfigError(origin, f"has more than {MAX_FILES} files")
    if sum(map(len, files.values())) > MAX_BYTES:
        raise ConfigError(origin, f"is larger than {MAX_BYTES} bytes in all")


def _revision(files: Mapping[str, bytes]) -> str:
    """Length-prefixed, so that no two different bundles have one canonical form."""
    digest = hashlib.sha256(b"airlock policy bundle v1\n")
    for path, text in sorted(files.items()):
        name = path.encode()
        digest.update(b"%d %d\n" % (len(name), len(text)) + name + text)
    return digest.hexdigest()


def _object(path: str, text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(path, f"is not a JSON object: {error}") from error


def _mount(merged: dict[str, Any], path: str, content: dict[str, Any]) -> None:
    for name in reversed(PurePosixPath(path).parent.parts):
        content = {name: content}
    _merge(merged, content, path)


def _merge(into: dict[str, Any], content: dict[str, Any], path: str) -> None:
    """Objects are united; any other value may be given once."""
    for key, value in content.items():
        if key not in into:
            into[key] = value
        elif isinstance(into[key], dict) and isinstance(value, dict):
            _merge(cast("dict[str, Any]", into[key]), cast("dict[str, Any]", value), path)
        else:
            raise ConfigError(path, f"gives another value to {key!r} than another data.json does")
