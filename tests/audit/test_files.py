"""The real disk."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airlock.audit import journal
from airlock.audit.files import LocalVolume
from tests.audit.writing_parts import UID

if TYPE_CHECKING:
    from pathlib import Path


def test_a_volume_lists_the_chains_that_it_made(tmp_path: Path) -> None:
    volume = LocalVolume(tmp_path / "data" / "journal")
    assert volume.names() == []
    volume.directory(UID)
    assert volume.names() == [UID]
    assert volume.directory(UID).names() == []
    assert (tmp_path / "data" / "journal" / UID).stat().st_mode & 0o777 == 0o700


def test_a_created_file_has_its_blocks_and_only_zeros(tmp_path: Path) -> None:
    directory = LocalVolume(tmp_path).directory(UID)
    directory.create("f", 10).close()
    handle = directory.create("f", 8192)
    handle.close()
    stat = (tmp_path / UID / "f").stat()
    assert (stat.st_size, stat.st_mode & 0o777) == (8192, 0o600)
    assert stat.st_blocks * 512 >= 8192
    assert directory.read("f") == bytes(8192)


def test_a_file_without_room_is_not_left_behind(tmp_path: Path) -> None:
    directory = LocalVolume(tmp_path).directory(UID)
    with pytest.raises(OSError, match=r"File too large|No space") as raised:
        directory.create("f", 1 << 60)
    assert raised.value.errno in {errno.ENOSPC, errno.EFBIG}
    assert directory.names() == []


def test_what_was_written_is_read(tmp_path: Path) -> None:
    directory = LocalVolume(tmp_path).directory(UID)
    handle = directory.create("old", 0)
    handle.write(3, b"abc")
    handle.flush()
    handle.truncate(5)
    handle.close()
    directory.rename("old", "new")
    directory.sync()
    again = directory.open("new")
    again.write(0, b"x")
    again.close()
    assert directory.read("new") == b"x\0\0ab"
    directory.remove("new")
    directory.remove("new")
    assert directory.names() == []


def test_a_write_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    handle = LocalVolume(tmp_path).directory(UID).create("f", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="a part only"):
            handle.write(0, bytes(8192))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    handle.close()
    handle.close()  # the second is harmless, even where the number belongs to somebody else by now


def test_a_directory_has_one_holder(tmp_path: Path) -> None:
    volume = LocalVolume(tmp_path)
    first, second = volume.directory(UID), volume.directory(UID)
    assert first.lock()
    assert not second.lock()
    first.close()
    assert second.lock()
    second.close()


def test_another_process_cannot_take_a_held_directory(tmp_path: Path) -> None:
    directory = LocalVolume(tmp_path).directory(UID)
    assert directory.lock()
    program = (
        "import sys; from pathlib import Path; from airlock.audit.files import LocalVolume;"
        "print(LocalVolume(Path(sys.argv[1])).directory(sys.argv[2]).lock())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, tmp_path, UID], capture_output=True, text=True, check=True
    )
    directory.close()
    assert printed.stdout.strip() == "False"


def test_a_published_number_is_seen_at_once_and_stays(tmp_path: Path) -> None:
    directory = LocalVolume(tmp_path).directory(UID)
    for seq in (1, 255, 256, 2**40):
        directory.publish(seq)
        assert journal.durable(tmp_path / UID) == seq
    directory.close()
    assert journal.durable(tmp_path / UID) == 2**40


def test_space_is_that_of_the_volume(tmp_path: Path) -> None:
    space = LocalVolume(tmp_path).directory(UID).space()
    assert 0 < space.free <= space.total
