"""Whatever is done to a bundle, the program that stands in it names it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.incident.evidence import verify_bundle
from airlock.incident.evidence.signing import Signer
from airlock.model.evidence import Bundle
from tests.incident.evidence.parts import INCIDENT, House, failures, forge, results

RANGE = "data/audit/range.jsonl"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Bundle]]:
    house = House(tmp_path_factory.mktemp("house"))
    yield house, house.collect()
    house.close()


@pytest.fixture
def bag(made: tuple[House, Bundle], tmp_path: Path) -> Path:
    house, bundle = made
    return shutil.copytree(house.path(bundle), tmp_path / bundle.id)


@pytest.fixture
def key(made: tuple[House, Bundle]) -> str:
    return made[0].key


def test_a_bundle_that_nobody_touched_holds(bag: Path, key: str) -> None:
    steps = verify_bundle.verify(bag, key)
    assert set(results(steps).values()) == {"PASS"}
    assert verify_bundle.exit_code(steps) == 0
    assert "not proven" not in " ".join(verify_bundle.not_proven(bag))
    assert any("no time token" in each for each in verify_bundle.not_proven(bag))


def test_without_a_key_to_compare_with_nobody_knows_who_signed(bag: Path) -> None:
    steps = verify_bundle.verify(bag)
    assert results(steps)["signer"] == "NOT CHECKED"
    assert verify_bundle.exit_code(steps) == 3


def test_another_key_is_no_substitute(bag: Path, key: str, tmp_path: Path) -> None:
    other = Signer.of(tmp_path / "other")
    forge(bag, other, "VERIFY.md", b"trust me")
    assert "signer" in failures(bag, key)
    assert "custody" in failures(bag, other.fingerprint)  # its lines are of the first key


def test_any_changed_byte_of_any_file_is_named(bag: Path, key: str) -> None:
    unnamed: list[str] = []
    for path in sorted(path for path in bag.rglob("*") if path.is_file()):
        content = path.read_bytes()
        at = len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else b"x")
        found = failures(bag, key)
        if path.relative_to(bag).as_posix() not in str(found) and "signature" not in found:
            unnamed.append(f"{path.relative_to(bag)} byte {at}")
        path.write_bytes(content)
    assert unnamed == []
    assert failures(bag, key) == {}


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda bag: (bag / RANGE).unlink(), f"{RANGE}: listed, and not there"),
    (lambda bag: (bag / "data/more.txt").write_text("x"), "data/more.txt: there, and not listed"),
    (lambda bag: (bag / "more.txt").write_text("x"), "more.txt: there, and not listed"),
    (lambda bag: (bag / "data/link").symlink_to("/etc/passwd"), "data/link: no plain file"),
    (lambda bag: (bag / "data/away").symlink_to(bag.parent), "data/away: no plain file"),
    (lambda bag: (bag / RANGE).write_bytes((bag / RANGE).read_bytes()[:-9]), f"{RANGE}: changed"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), CHANGES)
def test_a_file_that_is_gone_new_or_other_is_named(
    bag: Path, key: str, change: Callable[[Path], object], named: str
) -> None:
    change(bag)
    assert named in failures(bag, key)["bag"]


def test_a_manifest_that_leads_out_of_the_bundle_is_refused(bag: Path) -> None:
    listing = bag / "manifest-sha256.txt"
    for name in ("../outside", "/etc/passwd", "data/../../outside"):
        listing.write_text(f"{'0' * 64}  {name}\n")
        assert "is no digest and name" in failures(bag)["bag"][0]


def test_a_file_in_the_wrong_manifest_is_named(bag: Path) -> None:
    listing = bag / "manifest-sha256.txt"
    listing.write_text(f"{listing.read_text()}{'0' * 64}  VERIFY.md\n")
    assert "VERIFY.md: listed in the wrong manifest" in failures(bag)["bag"]


def rows(bag: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bag / RANGE).read_text().splitlines()]


def rewritten(bag: Path, made: tuple[House, Bundle], rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What fails after the signer itself wrote other rows."""
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    forge(bag, Signer.of(made[0].data), RANGE, text.encode())
    return failures(bag, made[0].key)


def test_a_row_that_is_left_out_is_missed(bag: Path, made: tuple[House, Bundle]) -> None:
    kept = rows(bag)
    del kept[4]
    found = rewritten(bag, made, kept)
    assert "row 6 where 5 belongs" in found["range"][0]
    assert "tenant_seq" in found["tenants"][0]


def test_the_newest_row_left_out_is_missed(bag: Path, made: tuple[House, Bundle]) -> None:
    assert "do not end" in rewritten(bag, made, rows(bag)[:-1])["range"][0]


def test_a_row_that_says_something_else_is_named(bag: Path, made: tuple[House, Bundle]) -> None:
    changed = rows(bag)
    changed[3]["entry"] = str(changed[3]["entry"]).replace('"deny"', '"allow"')
    found = rewritten(bag, made, changed)
    assert [each.split(": ", 1)[1] for each in found["range"]] == [
        "the entry does not have its hash",
        "the entry does not have its leaf hash",
    ]


def test_rows_that_changed_places_are_named(bag: Path, made: tuple[House, Bundle]) -> None:
    changed = rows(bag)
    for member in ("entry", "hash", "leaf_hash", "personal"):
        changed[3][member], changed[4][member] = changed[4][member], changed[3][member]
    found = " ".join(rewritten(bag, made, changed)["range"])
    assert "belongs to another place" in found
    assert "does not follow" in found


def test_a_value_that_was_not_recorded_is_named(bag: Path, made: tuple[House, Bundle]) -> None:
    changed = rows(bag)
    at = next(number for number, row in enumerate(changed) if "subject" in row.get("personal", {}))
    changed[at]["personal"]["subject"][1] = "somebody-else"
    assert "subject is not what was recorded" in rewritten(bag, made, changed)["commitments"][0]


def test_custody_lines_follow_one_another(bag: Path, made: tuple[House, Bundle]) -> None:
    log = bag / "data/custody.jsonl"
    line = json.loads(log.read_bytes())
    line["statement"] = line["statement"].replace('"who":"alice"', '"who":"mallory"')
    forge(bag, Signer.of(made[0].data), "data/custody.jsonl", json.dumps(line).encode() + b"\n")
    assert failures(bag, made[0].key) == {"custody": ["custody line 1: the signature does not fit"]}


def test_no_bundle_is_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_bundle.main([str(tmp_path)]) == 2
    assert "is no bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (RANGE, b'{"chain_uid": "x", "seq": 1, "entry": 7}\n'),
        ("data/audit/chains.json", b'[{"chain_uid": {}, "seq": "1", "hash": 1, "first": 1}]'),
        ("data/custody.jsonl", b"7\n"),
        ("data/custody.jsonl", b'{"statement": "{}", "signature": 7}\n'),
        ("signature.dsse.json", b"[]"),
        ("signature.dsse.json", b"[" * 100_000),
        ("manifest-sha256.txt", b"\xff\n"),
    ],
)
def test_whatever_it_holds_there_is_a_verdict(bag: Path, key: str, name: str, content: bytes) -> None:
    (bag / name).write_bytes(content)
    assert verify_bundle.exit_code(verify_bundle.verify(bag, key)) == 1
    assert verify_bundle.not_proven(bag)


def test_what_a_bundle_does_not_say_is_told(tmp_path: Path) -> None:
    assert verify_bundle.not_proven(tmp_path) == ["The bundle does not say what it leaves unproven."]


def test_it_runs_on_a_machine_without_the_product(bag: Path, key: str, tmp_path: Path) -> None:
    program = shutil.copy(bag / "verify_bundle.py", tmp_path / "verify_bundle.py")
    command = [sys.executable, "-I", "-S", str(program), str(bag)]
    done = subprocess.run([*command, "--key", f"sha256:{key}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("PASS ")) == (0, 8), done.stdout + done.stderr
    (bag / f"data/state/pod-details-{INCIDENT}.txt").write_text("nothing ran")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"FAIL        bag: data/state/pod-details-{INCIDENT}.txt: changed" in done.stdout


def test_lines_beside_the_bundle_are_checked_from_inside_of_it_too(
    bag: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag.with_name(f"{bag.name}.custody.jsonl").write_text('{"statement":"{}","signature":""}\n')
    monkeypatch.chdir(bag)
    assert list(failures(Path(), key)) == ["custody"]


def test_it_is_short_enough_to_read() -> None:
    assert len(Path(verify_bundle.__file__).read_text().splitlines()) <= 400


def test_sha256sum_reads_the_manifests(bag: Path) -> None:
    for listing in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", listing], cwd=bag, check=True)


def test_many_findings_are_counted(bag: Path) -> None:
    for number in range(30):
        (bag / f"data/new-{number:02}").write_text("x")
    found = failures(bag)["bag"]
    assert len(found) == verify_bundle.LISTED + 1
    assert found[-1].startswith("and ")


@settings(max_examples=25)
@given(st.binary(max_size=64), st.binary(min_size=32, max_size=32))
def test_signatures_are_those_of_another_implementation(message: bytes, seed: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = private.public_key().public_bytes_raw(), private.sign(message)
    assert verify_bundle.ed25519(public, message, signature)
    assert not verify_bundle.ed25519(public, message + b"x", signature)
    changed = signature[:40] + bytes([signature[40] ^ 1]) + signature[41:]
    assert not verify_bundle.ed25519(public, message, changed)


def test_signatures_that_are_none_are_refused() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = private.public_key().public_bytes_raw(), private.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    grown = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    no_point = (2).to_bytes(32, "little")
    for key, signed in (
        (public[:31], signature),
        (public, signature[:63]),
        (public, signature[:32] + grown),  # malleable: section 5.1.7 wants the least one
        (no_point, signature),
        (public, no_point + signature[32:]),
        ((2**255 - 19).to_bytes(32, "little"), signature),  # not the least spelling of 0
        ((1 + 2**255).to_bytes(32, "little"), signature),  # x = 0 has no odd twin
    ):
        assert not verify_bundle.ed25519(key, b"m", signed)


def test_a_key_is_given_as_a_file_or_as_a_fingerprint(made: tuple[House, Bundle], tmp_path: Path) -> None:
    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    file = tmp_path / "key.pem"
    file.write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    digest = hashlib.sha256(public.public_bytes_raw()).hexdigest()
    assert verify_bundle.fingerprint(str(file)) == digest
    assert verify_bundle.fingerprint(f"sha256:{digest.upper()}") == digest
    file.write_text("AAAA")
    with pytest.raises(ValueError, match="no Ed25519 public key"):
        verify_bundle.fingerprint(str(file))
