"""Who had a bundle: signed lines, each with the hash of the line before.

Lines up to the closing of a bag stand in it, where its manifest covers them. Later ones (views, copies,
transfers) stand beside it in `ID.custody.jsonl` and continue the same chain, so that looking at a bundle
does not change it.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import airlock
from airlock.core.clock import timestamp
from airlock.incident.evidence.signing import Signer
from airlock.incident.evidence.verify_bundle import CUSTODY, TAGS, sha256
from airlock.model.evidence import CustodyEvent

INSIDE = "data/custody.jsonl"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a line states."""

    v: int = 1
    seq: int
    at: str
    """As audit rows have their time."""
    event: CustodyEvent
    who: str
    role: str = ""
    to: str = ""
    """Who got it, for a transfer."""
    reason: str = ""
    tool: str = "airlock"
    version: str = airlock.__version__
    host: str = ""
    clock_offset: str = "not measured: no independent time source is configured"
    digest_before: str
    digest_after: str
    """In the bag: of its payload without this log. Beside it: SHA-256 of its tagmanifest."""
    previous_hash: str
    """SHA-256 of the line before, hex; empty for the first."""


class _Signed(msgspec.Struct, frozen=True):
    statement: str
    signature: str


def following(
    lines: list[bytes],
    signer: Signer,
    *,
    event: CustodyEvent,
    who: str,
    role: str,
    reason: str,
    digest_before: str,
    digest_after: str,
    now: float,
    to: str = "",
) -> bytes:
    """The next line of a log."""
    line = Line(
        seq=len(lines) + 1,
        at=timestamp(now),
        event=event,
        who=who,
        role=role,
        to=to,
        reason=reason,
        host=socket.gethostname(),
        digest_before=digest_before,
        digest_after=digest_after,
        previous_hash=hashlib.sha256(lines[-1]).hexdigest() if lines else "",
    )
    return signer.line(msgspec.json.encode(line))


def beside(bag: Path) -> Path:
    """Where the lines stand that were written since a bag was closed."""
    return bag.parent / f"{bag.name}.custody.jsonl"


@contextmanager
def locked(bag: Path) -> Generator[None]:
    """One writer of a log at a time."""
    with open(bag.parent / f".{bag.name}.custody.lock", "ab", opener=_private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def recover(bag: Path) -> None:
    """If we crashed before the lines beside a bag were removed that a new one took in, they go now."""
    if bag.exists() and beside(bag).exists():
        inside = len((bag / INSIDE).read_bytes().splitlines())
        later = beside(bag).read_bytes().splitlines()
        if later and told(later[0]).seq <= inside:
            beside(bag).unlink()


def read(bag: Path) -> list[bytes]:
    """Every line of a bundle, those beside it too."""
    later = beside(bag)
    lines = (bag / INSIDE).read_bytes().splitlines()
    return lines + (later.read_bytes().splitlines() if later.exists() else [])


def statements(bag: Path) -> list[Line]:
    """What every line of a bundle states, while nobody else writes."""
    with locked(bag):
        return [told(line) for line in read(bag)]


def unsound(bag: Path, public: bytes) -> str:
    """Where a log contradicts itself or the key (32 bytes) that should have signed it; empty: nowhere."""
    key, previous = Ed25519PublicKey.from_public_bytes(public), ""
    with locked(bag):
        lines = read(bag)
    for number, line in enumerate(lines, 1):
        try:
            signed, stated = msgspec.json.decode(line, type=_Signed), told(line)
            key.verify(base64.b64decode(signed.signature), CUSTODY + signed.statement.encode())
        except (ValueError, InvalidSignature):
            return f"line {number} is not signed by this gateway"
        if (stated.seq, stated.previous_hash) != (number, previous):
            return f"line {number} does not follow the line before it"
        previous = hashlib.sha256(line).hexdigest()
    return ""


def told(line: bytes) -> Line:
    """What a line states; says nothing about its signature."""
    return msgspec.json.decode(msgspec.json.decode(line, type=_Signed).statement, type=Line)


def note(
    bag: Path,
    signer: Signer,
    *,
    event: CustodyEvent,
    who: str,
    now: float,
    role: str = "",
    reason: str = "",
    to: str = "",
) -> Line:
    """Write down that somebody had a closed bag; flushed when this returns."""
    with locked(bag), open(beside(bag), "ab", opener=_private) as file:
        digest = sha256(bag / TAGS)
        line = following(
            read(bag),
            signer,
            event=event,
            who=who,
            role=role,
            reason=reason,
            to=to,
            digest_before=digest,
            digest_after=digest,
            now=now,
        )
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return told(line)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
