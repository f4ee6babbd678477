"""The real thing on the real disk: kill -9, a second writer, a volume of 8 MiB."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airlock.audit import journal
from airlock.audit.entry import entry_hash
from airlock.audit.recovery import open_log, retire
from airlock.core.clock import SYSTEM
from airlock.core.config import AuditSection
from airlock.core.errors import AuditFault
from airlock.model.entry import Event
from tests.audit.writing_parts import FACTS, Lines, check_chain, dice, event, intent, members, outcome, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airlock.audit.writer import Writer

ROOT = Path(__file__).parents[2]
KILLS = 20


def opened(data_dir: Path, *, segment_size: int = 65536, workers: int = 1) -> Writer:
    log = open_log(
        data_dir=data_dir,
        audit=AuditSection(segment_size=segment_size),
        workers=workers,
        facts=FACTS,
        clock=SYSTEM,
        log=Lines(),
    )
    log.start()
    return log


def seal_until_killed(data_dir: Path, lines: int) -> list[str]:
    """Read so many receipts, kill, and read what else had been printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.audit.kill_parts", data_dir],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    return [line.strip() for line in told if line.endswith("\n")]


@pytest.mark.timeout(120)
def test_every_receipt_that_was_printed_is_in_the_journal_after_a_kill(tmp_path: Path) -> None:
    chance, told = dice(5), list[str]()
    for _ in range(KILLS):
        told += seal_until_killed(tmp_path, chance.randrange(1, 400))
    opened(tmp_path).close()
    (chain,) = journal.chains(tmp_path / "journal")
    records = list(journal.history(chain))
    check_chain(records)
    found = [members(record) for record in records]
    written = {
        f"{record.seq} {each['id']} {entry_hash(record.entry)}"
        for record, each in zip(records, found, strict=True)
    }
    assert set(told) <= written
    begun = [each["correlation_id"] for each in found if each["phase"] == "intent"]
    ended = [each["correlation_id"] for each in found if each["phase"] == "outcome"]
    assert sorted(begun) == sorted(ended)
    assert sum(each["action"] == "process_start" for each in found) == KILLS + 1


def test_a_second_writer_takes_a_chain_of_its_own(tmp_path: Path) -> None:
    first, second = opened(tmp_path, workers=2), opened(tmp_path, workers=2)
    assert first.chain_uid != second.chain_uid
    assert run(second.seal(event(1))).chain_uid == second.chain_uid
    first.close()
    second.close()


def test_fewer_workers_close_the_chains_that_are_left_over(tmp_path: Path) -> None:
    for log in (opened(tmp_path, workers=2), opened(tmp_path, workers=2)):
        log.close()
    (closed,) = retire(
        data_dir=tmp_path, audit=AuditSection(), workers=1, facts=FACTS, clock=SYSTEM, log=Lines()
    )
    chains = {path.name: path for path in journal.chains(tmp_path / "journal")}
    last = [members(record)["action"] for record in journal.history(chains[closed])][-1]
    assert last == "chain_close"
    log = opened(tmp_path)
    assert log.chain_uid != closed
    log.close()


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    assert os.geteuid() == 0, "this test mounts a tmpfs of 8 MiB and needs root"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "airlock-test", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


async def fill(log: Writer) -> int:
    """Seal intents until the volume takes no more."""
    for number in range(100_000):
        try:
            await log.seal(intent(number, metadata={"pad": "x" * 20_000}))
        except AuditFault:
            return number
    raise AssertionError("8 MiB held 100,000 intents")


def test_a_volume_of_8_mib_starts_fills_up_and_closes_what_had_begun(small_volume: Path) -> None:
    log = opened(small_volume, segment_size=64 * 1024 * 1024)

    async def story() -> None:
        begun = await fill(log)
        assert begun > 100
        assert "2 %" in log.healthy()
        with pytest.raises(AuditFault):
            await log.seal(intent(begun + 1))
        for number in range(20):
            await log.seal(outcome(number))
        await log.seal(Event(event_type="system", action="heartbeat"))

    run(story())
    log.close()
    (chain,) = journal.chains(small_volume / "journal")
    records = list(journal.history(chain))
    check_chain(records)
    ended = {members(record)["correlation_id"] for record in records if members(record)["phase"] == "outcome"}
    assert ended == {f"req-{number}" for number in range(20)}
