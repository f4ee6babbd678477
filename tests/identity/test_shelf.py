"""Key sets that outlive the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.identity.shelf import Kept, Shelf

ISSUER = "https://idp.example/../x"
KEPT = Kept(issuer=ISSUER, fetched_at=1.5, body=b'{"keys":[]}')


def test_what_was_kept_last_is_found_again(tmp_path: Path) -> None:
    Shelf(tmp_path / "keys").keep(KEPT)
    Shelf(tmp_path / "keys").keep(Kept(issuer=ISSUER, fetched_at=2.5, body=b"new"))
    found = Shelf(tmp_path / "keys").last(ISSUER)
    assert found == Kept(issuer=ISSUER, fetched_at=2.5, body=b"new")
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_only_its_owner_reads_what_is_kept(tmp_path: Path) -> None:
    Shelf(tmp_path / "keys").keep(KEPT)
    (file,) = (tmp_path / "keys").iterdir()
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_an_issuer_that_was_never_kept_has_nothing(tmp_path: Path) -> None:
    assert Shelf(tmp_path).last(ISSUER) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"issuer":"other","fetched_at":1,"body":""}'])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, content: bytes) -> None:
    Shelf(tmp_path).keep(KEPT)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert Shelf(tmp_path).last(ISSUER) is None


def test_a_disk_that_takes_nothing_says_so_and_keeps_no_remains(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.keep(KEPT)
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    with pytest.raises(OSError, match="directory"):
        shelf.keep(KEPT)
    assert list(tmp_path.iterdir()) == [file]
