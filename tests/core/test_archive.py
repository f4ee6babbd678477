"""A backup file: what it holds, what is refused, and that nothing of a bad one is written."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airlock.core import archive
from airlock.core.archive import BadArchive, Examined, Manifest, Stored

Members = list[tuple[tarfile.TarInfo, bytes]]

CONTENT = {"audit.db": b"rows", "keys/seal.json": b"{}", "journal/a/b.seg": bytes(3000)}


def manifest(files: dict[str, Stored], **fields: Any) -> Manifest:
    given: dict[str, Any] = {"format": archive.FORMAT, "version": "1", "made_at": "then", "chains": []}
    return Manifest(**{**given, **fields}, files=files)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pack(tmp_path / "backup.tar")
    return tmp_path / "backup.tar"


def pack(path: Path, content: dict[str, bytes] = CONTENT) -> Examined:
    with archive.packing(path) as packing:
        for name, data in content.items():
            packing.add_bytes(name, data)
        return packing.finish(manifest(packing.files))


def members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(info, stream.read()) for info in tar if (stream := tar.extractfile(info))]


def rewrite(path: Path, change: Callable[[Members], None]) -> None:
    """The same tar with other members."""
    found = members(path)
    change(found)
    with tarfile.open(path, "w") as tar:
        for info, data in found:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def below(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_what_was_packed_comes_out_for_its_owner_alone(tmp_path: Path, file: Path) -> None:
    examined = archive.examine(file)
    archive.unpack(file, examined, tmp_path / "new")
    found = below(tmp_path / "new")
    assert hashlib.sha256(found.pop(archive.MANIFEST)).hexdigest() == examined.digest
    assert found == CONTENT
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert modes | {stat.S_IMODE((tmp_path / "new").stat().st_mode)} == {0o600, 0o700}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_writer_and_the_reader_tell_the_same_digest(tmp_path: Path) -> None:
    packed = pack(tmp_path / "backup.tar")
    assert archive.examine(tmp_path / "backup.tar") == packed


def test_a_file_that_exists_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="replaces nothing"):
        pack(path)
    assert path.read_bytes() == b"precious"


def test_nothing_is_left_of_a_backup_that_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="unexpected end"), archive.packing(tmp_path / "backup.tar") as packing:
        packing.add("short", io.BytesIO(b"abc"), 4)
    assert list(tmp_path.iterdir()) == []


def drop_the_first(found: Members) -> None:
    del found[0]


def add_one(found: Members) -> None:
    found.insert(0, (tarfile.TarInfo("more"), b"x"))


def repeat_the_first(found: Members) -> None:
    found.insert(0, found[0])


def add_one_at_the_end(found: Members) -> None:
    found.append((tarfile.TarInfo("late"), b"x"))


def drop_the_manifest(found: Members) -> None:
    del found[-1]


def change_the_first(found: Members) -> None:
    found[0] = (found[0][0], b"rowz")


def break_the_manifest(found: Members) -> None:
    found[-1] = (found[-1][0], b"{")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (drop_the_first, "audit.db is in the manifest and not in the file"),
        (add_one, "more is in the file and not"),
        (repeat_the_first, "holds audit.db twice"),
        (add_one_at_the_end, "late stands behind the manifest"),
        (drop_the_manifest, "it has no manifest"),
        (change_the_first, "audit.db is not what"),
        (break_the_manifest, "manifest cannot be read"),
    ],
)
def test_what_the_manifest_does_not_say_is_refused(
    file: Path, change: Callable[[Members], None], what: str
) -> None:
    rewrite(file, change)
    with pytest.raises(BadArchive, match=what):
        archive.examine(file)


@pytest.mark.parametrize("name", ["/etc/passwd", "../out", "a/../../out", "./a", "a//b", "a\nb", "."])
def test_a_name_that_leads_elsewhere_is_refused(file: Path, name: str) -> None:
    rewrite(file, lambda found: found.insert(0, (tarfile.TarInfo(name), b"x")))
    with pytest.raises(BadArchive, match="not the relative name of a plain file"):
        archive.examine(file)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, "audit.db"
    with tarfile.open(tmp_path / "backup.tar", "w") as tar:
        tar.addfile(info)
    with pytest.raises(BadArchive, match="not the relative name of a plain file"):
        archive.examine(tmp_path / "backup.tar")


@pytest.mark.parametrize("left", [0, 100, 700, 2100, 5000])
def test_a_file_without_its_end_is_refused(file: Path, left: int) -> None:
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(BadArchive):
        archive.examine(file)


def test_another_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    with archive.packing(path) as packing:
        packing.finish(manifest(packing.files, format="airlock-backup/2"))
    with pytest.raises(BadArchive, match="airlock-backup/2, this program reads airlock-backup/1"):
        archive.examine(path)


def test_a_directory_that_holds_something_is_not_touched(tmp_path: Path, file: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "audit.db").write_bytes(b"another")
    with pytest.raises(FileExistsError, match="not empty"):
        archive.unpack(file, archive.examine(file), directory)
    assert below(directory) == {"audit.db": b"another"}


def test_an_empty_volume_is_an_empty_directory(tmp_path: Path, file: Path) -> None:
    (tmp_path / "data" / "lost+found").mkdir(parents=True)
    archive.unpack(file, archive.examine(file), tmp_path / "data")
    assert below(tmp_path / "data").keys() >= CONTENT.keys()


def test_a_backup_that_changes_while_it_is_read_leaves_nothing(tmp_path: Path, file: Path) -> None:
    examined = archive.examine(file)
    rewrite(file, change_the_first)
    with pytest.raises(BadArchive, match="changed while it was read"):
        archive.unpack(file, examined, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_the_manifest_is_json_that_a_person_can_read(file: Path) -> None:
    info, data = members(file)[-1]
    told = json.loads(data)
    assert (info.name, told["format"]) == (archive.MANIFEST, "airlock-backup/1")
    assert told["files"]["audit.db"] == {"sha256": hashlib.sha256(b"rows").hexdigest(), "size": 4}
