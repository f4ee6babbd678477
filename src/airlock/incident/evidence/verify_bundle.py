#!/usr/bin/env python3
"""Checks an evidence bundle with Python 3.9 or newer: verify_bundle.py BUNDLE [--key FILE|sha256:HEX]

1 bag: every file is listed, and as its manifest says     5 tenants: no row of a tenant was left out
2 signature: DSSE over the manifest of manifests          6 commitments: personal values are those recorded
3 signer: the key is the one that you expect (--key)      7 copy: the database holds the same whole chains
4 range: rows have their hashes and follow one another    8 custody: who had it, line after line

Exit codes: 0 all of it holds; 1 something was changed; 2 could not run; 3 nothing contradicts, but something
that was asked for could not be checked. Whoever can sign can make a bundle: compare the key with one that you
got another way.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast

PASS, FAIL, UNCHECKED = "PASS", "FAIL", "NOT CHECKED"
PREDICATE = "https://airlock.dev/incident-evidence/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
CUSTODY = b"airlock custody v1\n"
TAGS = "tagmanifest-sha256.txt"
LOOSE = frozenset((TAGS, "signature.dsse.json", "timestamp.tsr"))  # no manifest lists them: they stand for it
RANGE = "data/audit/range.jsonl"
LISTED = 20  # findings that one step names; more are counted
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Step(NamedTuple):
    """One step: `PASS`, `FAIL` or `NOT CHECKED`, and why."""

    name: str
    result: str
    told: list[str]


class Wrong(Exception):
    """Contradictions: what is checked is not what it should be."""


class Absent(Exception):
    """There is nothing to check."""


def verify(root: Path, expected: str = "") -> list[Step]:
    """Every step. `expected`: SHA-256 of the public key, hex; empty: any. Raises OSError without a bundle."""
    if not (root / "bagit.txt").is_file():
        raise FileNotFoundError(f"{root} is no bundle: it has no bagit.txt")
    root = root.resolve()  # what stands beside it is found by its name
    checks: dict[str, Callable[[], str]] = {
        "bag": lambda: _bag(root),
        "signature": lambda: _signature(root),
        "signer": lambda: _signer(root, expected),
        "range": lambda: _range(root),
        "tenants": lambda: _tenants(root),
        "commitments": lambda: _commitments(root),
        "copy": lambda: _copy(root),
        "custody": lambda: _custody(root),
    }
    return [_step(name, check) for name, check in checks.items()]


def not_proven(root: Path) -> list[str]:
    """What the bundle says that it leaves open."""
    try:
        return [str(each) for each in _statement(root)["predicate"]["not_proven"]]
    except UNREADABLE:
        return ["The bundle does not say what it leaves unproven."]


def exit_code(steps: list[Step]) -> int:
    """See the module."""
    if any(step.result == FAIL for step in steps):
        return 1
    return 3 if any(step.result == UNCHECKED and step.name == "signer" for step in steps) else 0


def _step(name: str, check: Callable[[], str]) -> Step:
    try:
        return Step(name, PASS, [check()])
    except Absent as none:
        return Step(name, UNCHECKED, [str(none)])
    except Wrong as wrong:
        more = [f"and {len(wrong.args) - LISTED} more"] if len(wrong.args) > LISTED else []
        return Step(name, FAIL, [str(each) for each in wrong.args[:LISTED]] + more)
    except (*UNREADABLE, sqlite3.Error) as error:
        return Step(name, FAIL, [f"cannot be read: {type(error).__name__}: {error}"])


def _told(found: list[str], told: str) -> str:
    if found:
        raise Wrong(*found)
    return told


def _bag(root: Path) -> str:
    payload, tags = manifest(root / "manifest-sha256.txt"), manifest(root / TAGS)
    paths = [path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]
    present = {path.relative_to(root).as_posix(): path for path in paths}
    found = [f"{name}: listed in the wrong manifest" for name in payload if not name.startswith("data/")]
    for name in sorted(present.keys() | payload.keys() | tags.keys()):
        wanted = payload.get(name) if name.startswith("data/") else tags.get(name)
        path = present.get(name)
        if path is None:
            found.append(f"{name}: listed, and not there")
        elif path.is_symlink() or not path.is_file():
            found.append(f"{name}: no plain file")
        elif wanted is None and name not in LOOSE:
            found.append(f"{name}: there, and not listed")
        elif wanted is not None and sha256(path) != wanted:
            found.append(f"{name}: changed")
    oxum = f"{sum(present[each].lstat().st_size for each in payload if each in present)}.{len(payload)}"
    if f"Payload-Oxum: {oxum}" not in (root / "bag-info.txt").read_text(encoding="utf-8").splitlines():
        found.append(f"bag-info.txt: Payload-Oxum is not {oxum}")
    return _told(found, f"{len(payload)} files, {len(tags)} about them")


def manifest(path: Path) -> dict[str, str]:
    """Digest by name. Raises Wrong for a line that is none."""
    listed: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or name in listed or name.startswith("/") or ".." in name.split("/"):
            raise Wrong(f"{path.name}: the line {line!r} is no digest and name")
        listed[name] = digest
    return listed


def sha256(path: Path) -> str:
    """Of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def _envelope(root: Path) -> dict[str, Any]:
    return json.loads((root / "signature.dsse.json").read_text(encoding="utf-8"))


def _statement(root: Path) -> dict[str, Any]:
    return json.loads(base64.b64decode(_envelope(root)["payload"], validate=True))


def _public_key(root: Path) -> bytes:
    return base64.b64decode(_statement(root)["predicate"]["public_key"], validate=True)


def _signature(root: Path) -> str:
    envelope, statement, key = _envelope(root), _statement(root), _public_key(root)
    payload, kind = base64.b64decode(envelope["payload"], validate=True), PAYLOAD_TYPE.encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    if envelope["payloadType"] != PAYLOAD_TYPE or statement["predicateType"] != PREDICATE:
        raise Wrong("signature.dsse.json: a statement of another kind")
    if not any(ed25519(key, signed, base64.b64decode(each["sig"])) for each in envelope["signatures"]):
        raise Wrong("signature.dsse.json: the signature does not fit the statement")
    if statement["subject"] != [{"name": TAGS, "digest": {"sha256": sha256(root / TAGS)}}]:
        raise Wrong(f"{TAGS}: it is not what was signed")
    return f"by the key sha256:{hashlib.sha256(key).hexdigest()}"


def _signer(root: Path, expected: str) -> str:
    if not expected:
        raise Absent("who signed: give the key that you expect with --key")
    found = hashlib.sha256(_public_key(root)).hexdigest()
    if found != expected:
        raise Wrong(f"signed with the key sha256:{found}, expected was sha256:{expected}")
    return "the expected key"


def _rows(root: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row and its entry, which is empty where it is not disclosed."""
    if not (root / RANGE).exists():
        raise Absent("a quick bundle has no rows beside the copy")
    with (root / RANGE).open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row, json.loads(row["entry"]) if "entry" in row else {}


def _chains(root: Path) -> dict[str, dict[str, Any]]:
    listed = json.loads((root / "data/audit/chains.json").read_text(encoding="utf-8"))
    return {each["chain_uid"]: each for each in listed}


def _range(root: Path) -> str:
    found: list[str] = []
    last: dict[str, dict[str, Any]] = {}
    chains, count = _chains(root), 0
    for row, entry in _rows(root):
        count += 1
        uid, before = row["chain_uid"], last.get(row["chain_uid"])
        wanted = chains[uid]["first"] if before is None else before["seq"] + 1
        if row["seq"] != wanted:
            found.append(f"chain {uid}: row {row['seq']} where {wanted} belongs")
        if entry:
            found += [f"chain {uid} row {row['seq']}: {why}" for why in _entry(row, entry, before)]
        last[uid] = row
    for uid, chain in chains.items():
        end = last.get(uid, {})
        if chain["first"] is not None and (end.get("seq"), end.get("hash")) != (chain["seq"], chain["hash"]):
            found.append(f"chain {uid}: the rows do not end at row {chain['seq']}")
    return _told(found, f"{count} rows of {len(last)} chains")


def _entry(row: dict[str, Any], entry: dict[str, Any], before: dict[str, Any] | None) -> Iterator[str]:
    raw = row["entry"].encode()
    if hashlib.sha256(raw).hexdigest() != row["hash"]:
        yield "the entry does not have its hash"
    if hashlib.sha256(b"\0" + raw).hexdigest() != row["leaf_hash"]:
        yield "the entry does not have its leaf hash"
    if (entry["chain_uid"], entry["seq"]) != (row["chain_uid"], row["seq"]):
        yield "the entry belongs to another place"
    if before is not None and entry["previous_hash"] != before["hash"]:
        yield "the entry does not follow the row before it"


def _tenants(root: Path) -> str:
    """Counters without a hole. A row without entry may fill one, unless the bundle is about one tenant."""
    found: list[str] = []
    last: dict[tuple[str, str], int] = {}
    opaque: set[str] = set()
    alone = bool(_statement(root)["predicate"]["tenant"])
    for row, entry in _rows(root):
        uid, tenant = row["chain_uid"], entry.get("tenant")
        if not entry:
            opaque.add(uid)
        if tenant is None:
            continue
        counter: int = entry["tenant_seq"]
        wanted = last.get((uid, tenant), counter - 1) + 1
        if counter != wanted and (alone or uid not in opaque):
            found.append(f"chain {uid} row {row['seq']}: tenant_seq {counter}, not {wanted}")
        last[uid, tenant] = counter
    return _told(found, f"{len(last)} counters without a hole")


def _commitments(root: Path) -> str:
    found: list[str] = []
    count = 0
    for row, entry in _rows(root):
        for field, (salt, value) in row.get("personal", {}).items():
            count += 1
            if hashlib.sha256(bytes.fromhex(salt) + value.encode()).hexdigest() != entry["commit"].get(field):
                found.append(f"chain {row['chain_uid']} row {row['seq']}: {field} is not what was recorded")
    return _told(found, f"{count} personal values")


def _copy(root: Path) -> str:
    copies = sorted((root / "data/forensic").glob("*.db"))
    if not copies:
        raise Absent("a bundle of one tenant holds no copy of the database")
    chains, found = _chains(root), list[str]()
    with closing(sqlite3.connect(f"{copies[0].absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
        for uid, chain in chains.items():
            found += _walked(db, uid, chain)
    return _told(found, f"{sum(chain['seq'] for chain in chains.values())} rows")


def _walked(db: sqlite3.Connection, uid: str, chain: dict[str, Any]) -> Iterator[str]:
    seq: int = 0
    before: str | None = None
    query = "SELECT seq, hash, previous_hash, entry FROM audit_log WHERE chain_uid = ? ORDER BY seq"
    for number, digest, previous, entry in db.execute(query, (uid,)):
        if (number, previous) != (seq + 1, before):
            yield f"copy, chain {uid}: row {number} does not follow row {seq}"
        if entry is not None and (
            hashlib.sha256(entry).hexdigest() != digest or json.loads(entry)["previous_hash"] != previous
        ):
            yield f"copy, chain {uid} row {number}: the entry does not have its hash"
        seq, before = number, digest
    if (seq, before) != (chain["seq"], chain["hash"]):
        yield f"copy, chain {uid}: it ends at row {seq}, not at row {chain['seq']}"


def _custody(root: Path) -> str:
    key, files = _public_key(root), manifest(root / "manifest-sha256.txt")
    lines = (root / "data/custody.jsonl").read_bytes().splitlines()
    after = root.parent / f"{root.name}.custody.jsonl"
    later = after.read_bytes().splitlines() if after.is_file() else []
    previous, event = "", "none"
    for number, line in enumerate(lines + later, 1):
        signed = json.loads(line)
        told = json.loads(signed["statement"])
        if (told["seq"], told["previous_hash"]) != (number, previous):
            raise Wrong(f"custody line {number}: it does not follow the line before it")
        if not ed25519(key, CUSTODY + signed["statement"].encode(), base64.b64decode(signed["signature"])):
            raise Wrong(f"custody line {number}: the signature does not fit")
        if number == len(lines) and told["digest_after"] != payload_digest(files):
            raise Wrong(f"custody line {number}: it is about other files than those of the bag")
        if number > len(lines) and told["digest_before"] != sha256(root / TAGS):
            raise Wrong(f"custody line {number}: it is about another bundle")
        previous, event = hashlib.sha256(line).hexdigest(), told["event"]
    return f"{len(lines)} lines in the bag, {len(later)} since; the last: {event}"


def payload_digest(files: dict[str, str]) -> str:
    """Stands for all payload but the custody log, which names it."""
    lines = [f"{files[name]}  {name}\n" for name in sorted(files) if name != "data/custody.jsonl"]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature is this key's over this message (RFC 8032 section 5.1.7), on whole numbers."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, commitment = _point(public), _point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= _L:
        return False
    hashed = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    one, other = _times(scalar, _BASE), _added(commitment, _times(hashed, key))
    return all((one[axis] * other[2] - other[axis] * one[2]) % _P == 0 for axis in (0, 1))


def _x(y: int, odd: int) -> int | None:
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and odd):
        return None
    return _P - x if x % 2 != odd else x


def _point(encoded: bytes) -> _Point | None:
    number = int.from_bytes(encoded, "little")
    y, odd = number % 2**255, number >> 255
    x = _x(y, odd) if y < _P else None
    return None if x is None else (x, y, 1, x * y % _P)


def _added(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c, d = 2 * one[3] * other[3] * _D % _P, 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(factor: int, point: _Point) -> _Point:
    result: _Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            result = _added(result, point)
        point, factor = _added(point, point), factor >> 1
    return result


_BASE = cast("_Point", _point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little")))


def fingerprint(given: str) -> str:
    """SHA-256 of a public key in hex: from `sha256:HEX`, or from a file with the key in PEM or base64."""
    if given.startswith("sha256:") and len(given) == 71:
        return given[7:].lower()
    text = Path(given).read_text(encoding="ascii")
    raw = base64.b64decode("".join(line for line in text.splitlines() if "-----" not in line), validate=True)
    if len(raw) not in {32, 44}:
        raise ValueError(f"{given} holds no Ed25519 public key")
    return hashlib.sha256(raw[-32:]).hexdigest()


def main(arguments: list[str]) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description="Check an evidence bundle.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", default="", help="the signer's public key: a file, or sha256:HEX")
    given = parser.parse_args(arguments)
    try:
        steps = verify(given.bundle, fingerprint(given.key) if given.key else "")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"verify_bundle: {error}\n")
        return 2
    for name, result, told in steps:
        sys.stdout.write(f"{result:<11} {name}: {ascii('; '.join(told))[1:-1]}\n")
    for each in not_proven(given.bundle):
        sys.stdout.write(f"not proven: {ascii(each)[1:-1]}\n")
    return exit_code(steps)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
