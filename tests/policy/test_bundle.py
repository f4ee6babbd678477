"""Reading bundles: what counts, what is left out, what is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core.errors import ConfigError
from airlock.policy import bundle as module
from airlock.policy.bundle import Bundle, load_bundle

REGO = b"package airlock\nallow := false\n"


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
    return root


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, text in members:
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return path


def member(name: str, text: bytes = REGO, kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    if kind == tarfile.SYMTYPE:
        info.linkname = "/etc/passwd"
    return info, text


def test_without_a_path_it_is_the_starter_policy() -> None:
    bundle = load_bundle(None)
    assert bundle.origin == "starter"
    assert list(bundle.files) == ["starter.decisions.jsonl", "starter.rego"]


def test_a_directory_and_its_archive_are_one_revision(tmp_path: Path) -> None:
    files = {
        "a.rego": REGO,
        "lib/b.rego": b"package lib\n",
        "lib/data.json": b"{}",
        "a_test.rego": b"package t\n",
    }
    packed = archive(tmp_path / "b.tar.gz", *(member(f"./{name}", text) for name, text in files.items()))
    unpacked = folder(tmp_path / "b", files)
    assert load_bundle(packed).files == load_bundle(unpacked).files == files
    assert load_bundle(packed).revision == load_bundle(unpacked).revision


def test_other_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    more = {"README.md": b"x", ".git/x.rego": b"x", ".x.rego": b"x", "data.yaml": b"x", "other.json": b"x"}
    packed = archive(
        tmp_path / "b.tar.gz", *(member(name, text) for name, text in {"a.rego": REGO, **more}.items())
    )
    assert list(load_bundle(folder(tmp_path / "b", {"a.rego": REGO, **more})).files) == ["a.rego"]
    assert list(load_bundle(packed).files) == ["a.rego"]


def test_a_bundle_knows_modules_tests_and_golden_decisions() -> None:
    bundle = Bundle.of({"a.rego": REGO, "a_test.rego": b"", "x.decisions.jsonl": b""}, origin="t")
    assert (list(bundle.modules), list(bundle.test_modules), list(bundle.golden)) == (
        ["a.rego"],
        ["a_test.rego"],
        ["x.decisions.jsonl"],
    )


@given(
    st.dictionaries(st.sampled_from(["a.rego", "b.rego", "data.json", "c_test.rego"]), st.binary(max_size=9))
)
def test_the_revision_tells_any_two_bundles_apart(files: dict[str, bytes]) -> None:
    files = {name: text.hex().encode() for name, text in files.items()} | {"z.rego": REGO}
    first = Bundle.of(files, origin="one")
    assert Bundle.of(dict(reversed(files.items())), origin="two").revision == first.revision
    for name in files:
        assert Bundle.of(files | {name: files[name] + b" "}, origin="one").revision != first.revision
        assert Bundle.of(files | {f"x{name}": b""}, origin="one").revision != first.revision


def test_a_bundle_travels_to_another_process_unchanged() -> None:
    bundle = load_bundle(None)
    assert Bundle.from_bytes(bundle.to_bytes()) == bundle


def test_a_bundle_that_was_changed_on_the_way_is_refused() -> None:
    content = load_bundle(None).to_bytes().replace(b"role_admin", b"role_nobod")
    with pytest.raises(ConfigError, match="does not match its revision"):
        Bundle.from_bytes(content)


TRAPS = {
    "would leave": [member("../a.rego")],
    "'/a.rego' would leave": [member("/a.rego")],
    "would leave the bundle": [member("x\\a.rego")],
    "a link or a device": [member("a.rego", b"", tarfile.SYMTYPE)],
    "link or a device": [member("a.rego", b"", tarfile.FIFOTYPE)],
    "holds a.rego twice": [member("a.rego"), member("./a.rego")],
    "larger than": [member("README.md", b"x" * (module.MAX_FILE_BYTES + 1))],
    "unpacks to more": [member(f"{n}.md", b"x" * module.MAX_FILE_BYTES) for n in range(9)],
    "holds no .rego file": [member("a_test.rego"), member("sub", b"", tarfile.DIRTYPE)],
    "more than 256 files": [member(f"{n}.rego", b"") for n in range(257)],
    "is not UTF-8": [member("a.rego", b"\xff")],
    "cannot be printed": [member("a\n.rego")],
}


@pytest.mark.parametrize("why", TRAPS)
def test_an_archive_that_is_a_trap_is_refused(tmp_path: Path, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_bundle(archive(tmp_path / "b.tar.gz", *TRAPS[why]))


def test_an_archive_with_too_many_entries_is_refused(tmp_path: Path) -> None:
    entries = [member(f"{number}.md", b"") for number in range(module.MAX_MEMBERS + 1)]
    with pytest.raises(ConfigError, match="too many entries"):
        load_bundle(archive(tmp_path / "b.tar.gz", *entries))


@pytest.mark.parametrize("cut", [0, 3, 40])
def test_a_damaged_archive_is_refused(tmp_path: Path, cut: int) -> None:
    path = archive(tmp_path / "b.tar.gz", member("a.rego", REGO * 50))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ConfigError, match=r"not a readable \.tar\.gz"):
        load_bundle(path)


def link_out(root: Path) -> None:
    (root.parent / "out.rego").write_bytes(REGO)
    (root / "b.rego").symlink_to(root.parent / "out.rego")


def link_folder(root: Path) -> None:
    (root / "more").symlink_to(root.parent)


def large(root: Path) -> None:
    (root / "b.rego").write_bytes(b"#" * (module.MAX_FILE_BYTES + 1))


def large_in_all(root: Path) -> None:
    for number in range(9):
        (root / f"{number}.rego").write_bytes(b"#" * module.MAX_FILE_BYTES)


def dangling(root: Path) -> None:
    (root / "b.rego").symlink_to(root / "missing.rego")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (link_out, "leaves the bundle"),
        (link_folder, "link to a directory"),
        (large, "larger than 1048576"),
        (large_in_all, "larger than 8388608"),
        (dangling, "cannot be read"),
    ],
)
def test_a_directory_that_is_a_trap_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    root = folder(tmp_path / "b", {"a.rego": REGO})
    spoil(root)
    with pytest.raises(ConfigError, match=why):
        load_bundle(root)


def test_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    root = folder(tmp_path / "b", {"..2026/a.rego": REGO})
    (root / "..data").symlink_to("..2026")
    (root / "a.rego").symlink_to("..data/a.rego")
    assert load_bundle(root).files == {"a.rego": REGO}


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a directory nor a file"):
        load_bundle(tmp_path / "missing")


def test_data_is_mounted_under_the_names_of_its_directories() -> None:
    files = {
        "a.rego": REGO,
        "data.json": b'{"a": {"x": 1}}',
        "a/b/data.json": b'{"y": 2}',
        "a/data.json": b'{"b": {"z": 3}}',
    }
    assert Bundle.of(files, origin="t").data() == {"a": {"x": 1, "b": {"y": 2, "z": 3}}}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"data.json": b'{"a": 1}', "a/data.json": b'{"b": 2}'}, "another value to 'a'"),
        ({"data.json": b"[]"}, "not a JSON object"),
        ({"data.json": b'{"a":' * 9000}, "not a JSON object"),
        ({"data.json": b""}, "not a JSON object"),
    ],
)
def test_data_that_is_none_is_refused(data: dict[str, bytes], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Bundle.of({"a.rego": REGO, **data}, origin="t").data()


TESTED = b"""package airlock

allow if input.x

test_x if {
	allow with input as {"x": true}
}

test_y if {
	not allow
}
"""


def test_tests_in_a_module_are_no_part_of_what_decides() -> None:
    bundle = Bundle.of({"a.rego": TESTED}, origin="x")
    decides = bundle.modules["a.rego"]
    assert decides.split() == b"package airlock allow if input.x".split()
    assert decides.count(b"\n") == TESTED.count(b"\n"), "lines keep their numbers"
    assert bundle.test_modules == {"a.rego": TESTED}


@pytest.mark.parametrize(
    "text",
    [
        b"package airlock\nallow if true\n",
        b"package airlock\nx := `\ntest_x if {\n\ttrue\n}\n`\n",
        b"package airlock\ntest_x if input.x with input as {}\n",
        b"package airlock\n test_x if {\n\ttrue\n}\n",
    ],
)
def test_what_is_no_test_stays(text: bytes) -> None:
    bundle = Bundle.of({"a.rego": text}, origin="x")
    assert (bundle.modules, bundle.test_modules) == ({"a.rego": text}, {})
