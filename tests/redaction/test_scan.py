"""Finding: encodings, overlaps, positions, limits and time."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.redaction.detectors import NAMES
from airlock.redaction.scan import MAX_HITS, Scanner
from tests.redaction.made import AWS, CARD, EMAIL, GITHUB, SCANNER, SSN, found, kinds, pem, tell


def test_an_unknown_detector_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no detector is called passport: there are private_key"):
        Scanner(("email", "passport"))


def test_only_the_detectors_that_are_on_find_something() -> None:
    scanner = Scanner(("email",))
    assert [hit.detector for hit in scanner.find(f"{EMAIL} {AWS}")] == ["email"]
    assert scanner.clean(AWS)
    assert scanner.looks_for("email")
    assert not scanner.looks_for("aws_key")
    assert scanner.member("password", "swordfish") is None


def test_no_detector_finds_nothing() -> None:
    scanner = Scanner(())
    assert scanner.find(f"{EMAIL} {AWS}") == []
    assert scanner.clean(AWS)


ENCODED = [
    ("base64", base64.b64encode(f"the key is {AWS}!".encode()).decode()),
    ("base64 of other bytes", base64.b64encode(b"\xff\x00" * 9 + AWS.encode() + b"\xfe" * 9).decode()),
    ("base64url", base64.urlsafe_b64encode(f"?? {AWS} >>".encode()).decode().rstrip("=")),
    ("base64 in lines", base64.encodebytes(f"{'x' * 50} {AWS} {'y' * 50}".encode()).decode().strip()),
    ("percent", "".join(f"%{ord(char):02x}" for char in AWS)),
    ("unicode escapes", "".join(f"\\u{ord(char):04X}" for char in AWS)),
    ("braced escapes", "".join(f"\\u{{{ord(char):x}}}" for char in AWS)),
    ("byte escapes", "".join(f"\\x{ord(char):02x}" for char in AWS)),
    ("doubled escapes", "".join(f"\\\\u{ord(char):04x}" for char in AWS)),
    ("entities", "".join(f"&#{ord(char)};" for char in AWS)),
    ("entities without end", "".join(f"&#x{ord(char):x}" for char in AWS[:4]) + ";" + AWS[4:]),
    ("zero width", "\u200b".join(AWS)),
    ("wide", "".join(chr(ord(char) + 0xFEE0) for char in AWS)),
    ("mathematical", "".join(chr(ord(char) + 0x1D400 - 65) if char.isalpha() else char for char in AWS)),
]


@pytest.mark.parametrize(("name", "run"), ENCODED)
def test_an_encoded_secret_is_found_and_the_run_is_the_hit(name: str, run: str) -> None:
    (hit,) = SCANNER.find(f"before {run} after")
    assert hit.detector == "aws_key"
    start, end = hit.start - len("before "), hit.end - len("before ")
    covered = f"before {run} after"[hit.start : hit.end]
    assert covered in run
    # Nothing of an escape is left over, and a run of base64 goes as a whole.
    assert run[:start] + run[end:] == "" or "base64" not in name


def test_base64_glued_to_a_path_is_found_at_its_own_alignment() -> None:
    for prefix in ("", "a", "ab", "abc", "path/"):
        assert kinds(prefix + base64.b64encode(f"ssn {SSN} of bob".encode()).decode()) == ["ssn"], prefix


def test_only_the_escapes_of_a_hit_are_covered() -> None:
    assert found(f"caf%C3%A9 {AWS[:4]}%49{AWS[5:]} caf%C3%A9") == [("aws_key", f"{AWS[:4]}%49{AWS[5:]}")]


def test_an_escape_that_is_none_changes_nothing() -> None:
    assert found(f"100% \\u00 \\q &bogus; &# &#xg \\x4 \\u{{zz}} \\u{{110000}} {AWS} %") == [("aws_key", AWS)]


def test_positions_are_those_of_characters() -> None:
    text = f"Größe 日本 🙂 {EMAIL} und {AWS} 🙂"
    assert found(text) == [("email", EMAIL), ("aws_key", AWS)]


def test_half_of_a_surrogate_pair_hides_nothing() -> None:
    assert found(f"\ud83d {AWS} \\ud83d{EMAIL}")[0] == ("aws_key", AWS)
    assert kinds(f"\ud83d {AWS} \\ud83d{EMAIL}") == ["aws_key", "email"]


def test_what_overlaps_is_one_hit_under_the_graver_name() -> None:
    assert found("postgres://app:s3cr3t@db.example.com/main") == [("password", "s3cr3t@db.example.com")]


def test_a_secret_in_json_in_json_is_found() -> None:
    text = json.dumps(json.dumps({"key": pem(), "token": GITHUB}))
    assert kinds(text) == ["private_key", "github_token"]


def test_random_bytes_in_base64_are_no_personal_data() -> None:
    noise = bytes((index * 197 + index // 7 * 31) % 256 for index in range(3000))
    assert found(base64.b64encode(noise[:1500] + b"a@b.co" + noise[1500:]).decode()) == []


def test_beyond_the_most_hits_the_rest_is_one() -> None:
    text = "a@b.co " * (MAX_HITS + 500)
    hits = SCANNER.find(text)
    assert len(hits) == MAX_HITS + 1
    assert (hits[-1].start, hits[-1].end) == (MAX_HITS * 7, len(text))


def test_clean_is_said_of_the_lines_too() -> None:
    assert SCANNER.clean("nothing\nhere")
    assert not SCANNER.clean(f"nothing\n{EMAIL}\nhere")
    assert not SCANNER.clean(base64.b64encode(f"ssn {SSN}".encode()).decode())
    assert SCANNER.clean(base64.b64encode(b"nothing is in here").decode())


PIECES = st.sampled_from([
    AWS, CARD, EMAIL, SSN, "password=", "hunter2", "%41", "\\u0041", "&#65;", "é", "\u200b", "\n", " ",
    "-----", "eyJ", ".", "4111", "AKIA", "://", "@", base64.b64encode(AWS.encode()).decode(), "=", "\\",
    "abcdefghijklmnop",
])  # fmt: skip


@given(st.lists(PIECES, max_size=25).map("".join))
def test_hits_are_in_order_apart_and_inside_the_text(text: str) -> None:
    hits = SCANNER.find(text)
    edges = [place for hit in hits for place in (hit.start, hit.end)]
    assert edges == sorted(edges)
    assert all(hit.start < hit.end for hit in hits)
    assert not edges or (edges[0] >= 0 and edges[-1] <= len(text))


@given(st.lists(st.lists(PIECES, max_size=6).map("".join), min_size=1, max_size=6))
def test_a_text_with_a_hit_is_never_called_clean(texts: list[str]) -> None:
    if any(SCANNER.find(text) for text in texts):
        assert not SCANNER.clean("\n".join(texts))


PROSE = (
    "Every call is authenticated, authorized by policy, redacted and recorded in a log for all to verify. "
)
SCAN_BUDGET = 100e-6
"""Seconds for 10 KB without a hit, on an idle machine; the bound below leaves room for a busy one."""


def test_ten_kilobytes_without_a_hit_are_scanned_within_the_budget() -> None:
    text = (PROSE * 100)[:10_240]
    SCANNER.find(text)
    taken: list[float] = []
    for _ in range(300):
        start = time.perf_counter()
        assert SCANNER.find(text) == []
        taken.append(time.perf_counter() - start)
    tell(f"10 KB: best {min(taken) * 1e6:.0f} us, median {sorted(taken)[150] * 1e6:.0f} us")
    assert min(taken) <= 3 * SCAN_BUDGET


NASTY = [
    "%41a", "%", "\\", "&#65;", "\uff21", "4111111111111112 ", "Zm9vYmFyYmF6cXV1eA== ", "eyJ", "password=",
    "-----BEGIN PRIVATE KEY-----", "DE89370400440532013001 ", "+12345", "123-45 6789 ", "a@b.png ", "a://b:c",
    "aaaa", "password: is ", "AKIA", "A1b2C3d4\n", "@.", "[a](", "1 ",
]  # fmt: skip


@pytest.mark.parametrize("unit", NASTY)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    """A quarter of a megabyte: tenths of a second, and hours if the time grew with the square."""
    start = time.perf_counter()
    SCANNER.find(unit * (262_144 // len(unit)))
    taken = time.perf_counter() - start
    tell(f"{unit!r}: {taken:.2f} s")
    assert taken < 20


def test_sixteen_megabytes_are_bounded() -> None:
    text = PROSE * (16 * 1024 * 1024 // len(PROSE))
    start = time.perf_counter()
    assert SCANNER.find(text) == []
    taken = time.perf_counter() - start
    tell(f"16 MiB: {taken:.2f} s")
    assert taken < 30


def test_the_detectors_are_those_of_the_configuration() -> None:
    assert len(NAMES) == 11
