from __future__ import annotations

from pathlib import Path

from airlock.core.programs import SYSTEM_PATH, find_program, search_path


def program(folder: Path, name: str, mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_a_bare_name_is_found_in_the_systems_directories(tmp_path: Path) -> None:
    found = find_program("sh", tmp_path)
    assert found is not None
    assert str(Path(found).parent) in SYSTEM_PATH.split(":")


def test_the_current_directory_is_not_searched(tmp_path: Path) -> None:
    program(tmp_path, "airlock-test-program")
    assert find_program("airlock-test-program", tmp_path) is None


def test_a_relative_path_starts_at_the_given_folder(tmp_path: Path) -> None:
    path = program(tmp_path, "run")
    assert find_program("./run", tmp_path) == str(path)


def test_a_file_that_cannot_be_executed_is_not_a_program(tmp_path: Path) -> None:
    assert find_program(str(program(tmp_path, "run", 0o644)), tmp_path) is None


def test_a_link_keeps_its_name(tmp_path: Path) -> None:
    program(tmp_path, "real")
    (tmp_path / "link").symlink_to("real")
    assert find_program(str(tmp_path / "link"), Path("/")) == str(tmp_path / "link")


def test_a_program_elsewhere_finds_its_companions() -> None:
    assert search_path("/opt/node/bin/npx") == f"/opt/node/bin:{SYSTEM_PATH}"


def test_a_bare_name_has_the_systems_path() -> None:
    assert search_path("npx") == SYSTEM_PATH
