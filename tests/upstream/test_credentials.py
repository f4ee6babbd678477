"""The static credential of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from airlock.core.config import ServerEntry
from airlock.core.errors import ConfigError
from airlock.upstream.credentials import Credential, load

if TYPE_CHECKING:
    from pathlib import Path


def entry(**credential: object) -> ServerEntry:
    raw = {"name": "docs", "transport": "http", "url": "http://h/", "credential": credential or None}
    return msgspec.convert(raw, ServerEntry)


def secret_file(path: Path, content: bytes, mode: int = 0o600) -> str:
    file = path / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    return str(file)


def loaded(found: ServerEntry, environ: dict[str, str] | None = None) -> tuple[Credential | None, list[str]]:
    warnings: list[str] = []
    return load(found, environ or {}, warn=warnings.append), warnings


def test_without_an_entry_there_is_none() -> None:
    assert loaded(entry()) == (None, [])


def test_a_file_is_read_and_trimmed(tmp_path: Path) -> None:
    file = secret_file(tmp_path, b"  s3cret\n")
    credential, warnings = loaded(entry(file=file, prefix="Bearer "))
    assert credential is not None
    assert credential.reveal() == ("Authorization", "Bearer s3cret")
    assert warnings == []


def test_a_variable_is_read() -> None:
    credential, _ = loaded(entry(env="DOCS_KEY", header="X-Api-Key"), {"DOCS_KEY": "k"})
    assert credential is not None
    assert credential.reveal() == ("X-Api-Key", "k")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_warned_about(tmp_path: Path, mode: int) -> None:
    _, warnings = loaded(entry(file=secret_file(tmp_path, b"k", mode)))
    assert len(warnings) == 1
    assert "0600" in warnings[0]


def test_it_is_read_anew_each_time(tmp_path: Path) -> None:
    found = entry(file=secret_file(tmp_path, b"old"))
    loaded(found)
    secret_file(tmp_path, b"new")
    credential, _ = loaded(found)
    assert credential is not None
    assert credential.reveal()[1] == "new"


def test_the_secret_shows_in_no_text() -> None:
    credential = Credential(header="Authorization", value="hunter2")
    assert "hunter2" not in f"{credential} {credential!r} {[credential]}"


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"a\nb", b"a\r\nX-Evil: b", b"a\0b", b"\x7f", b"caf\xc3\xa9", b"x" * 9000]
)
def test_a_secret_that_is_no_header_value_is_refused_without_showing_it(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(entry(file=secret_file(tmp_path, content)))
    assert content.decode("latin-1").strip() == "" or content.decode("latin-1") not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "header",
    ["Host", "content-length", "Mcp-Session-Id", "MCP-Protocol-Version", "X Y", "X:", "Transfer-Encoding"],
)
def test_headers_of_the_protocol_carry_no_credential(header: str) -> None:
    with pytest.raises(ConfigError, match="cannot carry"):
        loaded(entry(env="K", header=header), {"K": "k"})


@pytest.mark.parametrize("source", [{"prefix": "x"}, {"file": "f", "env": "E"}])
def test_exactly_one_source_is_named(source: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        loaded(entry(**source))


def test_a_missing_file_and_a_missing_variable_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        loaded(entry(file=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="NOT_SET"):
        loaded(entry(env="NOT_SET"))
