from __future__ import annotations

import base64
import json
import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core.errors import ConfigError
from airlock.core.sealed import SealBroken, Sealer, load_or_create_keys

OLD, NEW = bytes(32), bytes(range(32))
SEALER = Sealer({"a1": OLD, "b2": NEW}, "b2")
TEXT = SEALER.seal("session", b"payload of some length", b"context")

purposes = st.text(max_size=8)
contexts = st.binary(max_size=8)
visible = st.sampled_from([chr(code) for code in range(0x21, 0x7F)])


@given(purposes, st.binary(max_size=64), contexts)
def test_what_was_sealed_opens(purpose: str, payload: bytes, context: bytes) -> None:
    assert SEALER.open(purpose, SEALER.seal(purpose, payload, context), context) == payload


@given(st.integers(0, len(TEXT) - 1), visible)
def test_any_other_character_breaks_the_seal(place: int, character: str) -> None:
    changed = TEXT[:place] + character + TEXT[place + 1 :]
    if changed != TEXT:
        with pytest.raises(SealBroken):
            SEALER.open("session", changed, b"context")


@pytest.mark.parametrize("length", range(4))
def test_every_character_of_the_last_place_is_checked(length: int) -> None:
    text = SEALER.seal("session", bytes(length))
    opened = [
        character
        for character in string.ascii_letters + string.digits + "-_"
        if opens(SEALER, "session", text[:-1] + character)
    ]
    assert opened == [text[-1]]


def opens(sealer: Sealer, purpose: str, text: str, context: bytes = b"") -> bool:
    try:
        sealer.open(purpose, text, context)
    except SealBroken:
        return False
    return True


@given(purposes, contexts, purposes, contexts)
def test_another_purpose_or_context_breaks_the_seal(
    purpose: str, context: bytes, other: str, elsewhere: bytes
) -> None:
    text = SEALER.seal(purpose, b"x", context)
    assert opens(SEALER, other, text, elsewhere) == ((purpose, context) == (other, elsewhere))


def test_purpose_and_context_do_not_run_into_each_other() -> None:
    assert not opens(SEALER, "ab", SEALER.seal("a", b"x", b"bc"), b"c")


@given(st.text())
def test_any_other_text_breaks_the_seal(text: str) -> None:
    assert not opens(SEALER, "session", text)


@given(st.text())
def test_any_text_under_a_known_key_breaks_the_seal(text: str) -> None:
    assert not opens(SEALER, "session", f"b2.{text}")


@pytest.mark.parametrize(
    "text",
    [f"{TEXT}=", f"{TEXT}\n", f" {TEXT}", TEXT[:-4], "b2.", "b2", f"{TEXT}.x", "b2.AAAA"],
    ids=["padded", "line", "space", "cut", "empty", "bare", "parts", "short"],
)
def test_other_spellings_break_the_seal(text: str) -> None:
    assert not opens(SEALER, "session", text, b"context")


def test_a_sealed_value_is_visible_ascii_and_shows_nothing_of_the_payload() -> None:
    text = SEALER.seal("session", b"alice@example")
    key_id, _, body = text.partition(".")
    assert key_id == "b2"
    assert set(body) <= set(string.ascii_letters + string.digits + "-_")
    assert b"alice" not in base64.urlsafe_b64decode(body + "==")


def test_the_same_payload_never_looks_the_same() -> None:
    assert len({SEALER.seal("session", b"x") for _ in range(100)}) == 100


def test_a_former_key_still_opens() -> None:
    assert SEALER.open("session", Sealer({"a1": OLD}, "a1").seal("session", b"x")) == b"x"


def test_a_key_that_is_gone_opens_nothing() -> None:
    assert not opens(Sealer({"a1": OLD}, "a1"), "session", SEALER.seal("session", b"x"))


def test_the_key_id_is_bound() -> None:
    twins = Sealer({"a1": OLD, "b2": OLD}, "a1")
    assert not opens(twins, "session", twins.seal("session", b"x").replace("a1.", "b2.", 1))


@pytest.mark.parametrize(
    ("keys", "current"),
    [
        ({}, "a"),
        ({"a": OLD}, "b"),
        ({"a": OLD[:16]}, "a"),
        ({"a.b": OLD}, "a.b"),
        ({"": OLD}, ""),
        ({"\u00e9": OLD}, "\u00e9"),
    ],
)
def test_misuse_is_refused(keys: dict[str, bytes], current: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Sealer(keys, current)


class TestKeyFile:
    def test_a_new_file_is_for_the_owner_only(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            load_or_create_keys(tmp_path / "data")
        finally:
            os.umask(before)
        file = tmp_path / "data" / "keys" / "seal.json"
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert os.listdir(file.parent) == ["seal.json"]

    def test_the_next_start_opens_what_the_last_one_sealed(self, tmp_path: Path) -> None:
        text = load_or_create_keys(tmp_path).seal("session", b"x")
        assert load_or_create_keys(tmp_path).open("session", text) == b"x"

    def test_two_installations_have_different_keys(self, tmp_path: Path) -> None:
        text = load_or_create_keys(tmp_path / "one").seal("session", b"x")
        assert not opens(load_or_create_keys(tmp_path / "two"), "session", text)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
    def test_a_file_that_others_can_use_is_refused(self, tmp_path: Path, mode: int) -> None:
        load_or_create_keys(tmp_path)
        (tmp_path / "keys" / "seal.json").chmod(mode)
        with pytest.raises(ConfigError, match=rf"mode {mode:04o}: others can use the keys \(chmod 600\)"):
            load_or_create_keys(tmp_path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{}",
            b'{"current": "a", "keys": {}}',
            b'{"current": "a", "keys": {"a": "AAAA"}}',
            b'{"current": "a", "keys": {"a": "?"}}',
            b'{"current": "a", "keys": {"a": "AAAA"}, "more": 1}',
        ],
    )
    def test_a_damaged_file_is_refused_and_kept(self, tmp_path: Path, content: bytes) -> None:
        load_or_create_keys(tmp_path)
        file = tmp_path / "keys" / "seal.json"
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="not a key file"):
            load_or_create_keys(tmp_path)
        assert file.read_bytes() == content

    def test_a_second_key_in_the_file_rotates(self, tmp_path: Path) -> None:
        text = load_or_create_keys(tmp_path).seal("session", b"x")
        file = tmp_path / "keys" / "seal.json"
        stored = json.loads(file.read_text())
        stored["keys"]["next"] = base64.b64encode(NEW).decode()
        file.write_text(json.dumps(stored | {"current": "next"}))
        sealer = load_or_create_keys(tmp_path)
        assert sealer.open("session", text) == b"x"
        assert sealer.seal("session", b"x").startswith("next.")

    def test_processes_that_start_together_share_one_key(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from airlock.core.sealed import load_or_create_keys;"
            "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline();"
            "print(load_or_create_keys(Path(sys.argv[1])).seal('session', b'x'))"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(6)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        texts = [process.communicate(timeout=30)[0].strip() for process in started]
        sealer = load_or_create_keys(tmp_path)
        assert [sealer.open("session", text) for text in texts] == [b"x"] * 6
        assert os.listdir(tmp_path / "keys") == ["seal.json"]


def test_a_derived_sealer_shares_nothing_with_the_first_nor_with_one_for_another_use() -> None:
    derived = SEALER.derived("tenant a")
    text = derived.seal("vault", b"secret")
    assert SEALER.derived("tenant a").open("vault", text) == b"secret"
    for other in (SEALER, SEALER.derived("tenant b")):
        with pytest.raises(SealBroken):
            other.open("vault", text)
    rotated = Sealer({"b2": NEW, "c3": OLD}, "c3").derived("tenant a")
    assert rotated.open("vault", text) == b"secret"
