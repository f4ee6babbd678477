"""A whole process loses power: what it had flushed is there, what it had only written is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airlock.audit import journal
from airlock.audit.recovery import open_log
from airlock.core.clock import SYSTEM
from airlock.core.config import AuditSection
from airlock.core.errors import AuditFault
from tests.audit import kill_parts
from tests.audit.writing_parts import FACTS, Lines, check_chain
from tests.faults import Facts, Seam, lying_flush, power_loss

SOME = 60
"""Receipts after which power is lost."""

WRITER = """
import sys
from pathlib import Path
from airlock.audit.files import LocalVolume
directory = LocalVolume(Path(sys.argv[1])).directory("01a203d3-9249-7ea6-8277-14984c57eefe")
assert directory.lock()
kept = directory.create("kept", 8192)
kept.write(0, b"flushed")
kept.flush()
directory.sync()
kept.write(4096, b"written")
directory.create("unnamed", 0).flush()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def seam(tmp_path: Path) -> Seam:
    return Seam(tmp_path / "seam", disk=True)


def started(seam: Seam, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **seam.environment},
    )


def told(process: subprocess.Popen[str]) -> Iterator[list[str]]:
    """Receipts that the process prints: number, id, hash."""
    assert process.stdout is not None
    for line in process.stdout:
        yield line.split()


def test_bytes_that_were_not_flushed_and_names_that_were_not_synced_are_gone(
    seam: Seam, tmp_path: Path
) -> None:
    with started(seam, "-c", WRITER, str(tmp_path / "journal")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        [chain] = (tmp_path / "journal").iterdir()
        assert (chain / "kept").read_bytes()[4096:].startswith(b"written")
        facts = power_loss(seam, process.pid, tmp_path / "journal")
    assert facts.values == {"changed": len(b"written")}
    assert (chain / "kept").read_bytes() == b"flushed".ljust(8192, b"\0")
    assert {each.name for each in chain.iterdir()} == {"kept", "lock"}


def lose(seam: Seam, data: Path) -> tuple[Facts, set[str]]:
    """Seal until power is lost; the facts and the ids of what was acknowledged."""
    with started(seam, "-m", kill_parts.__name__, str(data)) as process:
        acknowledged: set[str] = set()
        for _, number, _ in told(process):
            acknowledged.add(number)
            if len(acknowledged) >= SOME:
                break
        facts = power_loss(seam, process.pid, data / "journal")
        acknowledged |= {parts[1] for parts in told(process) if len(parts) == 3}
    return facts, acknowledged


def recovered(data: Path) -> set[str]:
    """The ids in the journal after a start in peace."""
    log = open_log(
        data_dir=data,
        audit=AuditSection(segment_size=65536),
        workers=1,
        facts=FACTS,
        clock=SYSTEM,
        log=Lines(),
    )
    log.start()
    log.close()
    found: set[str] = set()
    for chain in journal.chains(data / "journal"):
        records = list(journal.history(chain))
        check_chain(records)
        found |= {json.loads(record.entry)["id"] for record in records}
    return found


def test_what_was_acknowledged_survives_again_and_again(seam: Seam, tmp_path: Path) -> None:
    everything: set[str] = set()
    for _ in range(3):
        _, acknowledged = lose(seam, tmp_path / "data")
        everything |= acknowledged
        assert everything <= recovered(tmp_path / "data")
    assert len(everything) >= 3 * SOME


def test_a_flush_that_lies_loses_what_was_acknowledged(seam: Seam, tmp_path: Path) -> None:
    lose(seam, tmp_path / "data")
    recovered(tmp_path / "data")
    with lying_flush(seam) as lying:
        assert lying.values["kept"] > 0
        facts, acknowledged = lose(seam, tmp_path / "data")
    assert facts.values["changed"] > SOME * 100
    try:
        assert not acknowledged <= recovered(tmp_path / "data")
    except AuditFault:
        """Recovery refuses what it finds: that shows the loss as well."""
