"""Power is lost at random points, on a disk that forgets, tears and reorders what was not flushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airlock.audit import append
from airlock.audit.journal import JournalDamaged
from airlock.audit.survey import Watermark
from airlock.core.errors import AuditFault
from airlock.model.entry import Event, Receipt
from tests.audit.writing_parts import (
    PowerLoss,
    SimVolume,
    check_chain,
    dice,
    history,
    intent,
    members,
    outcome,
    recovery,
)

if TYPE_CHECKING:
    import random

    from airlock.audit.commit import GroupCommit

ROUNDS = 320


class Life:
    """Runs one gateway process after another on one disk, and remembers what it was told."""

    def __init__(self, seed: int, volume: SimVolume) -> None:
        self.rng = dice(seed)
        self.volume = volume
        self.told: dict[int, Receipt] = {}
        self.begun: set[str] = set()
        self.calls = 0

    def live(self) -> None:
        """Start, work, lose power somewhere: perhaps during the start."""
        self.volume.countdown = self.rng.randrange(3, 140)
        try:
            log = recovery(self.volume, heads=self.head, seed=self.rng.randrange(1 << 30)).open()
            while True:
                self.work(log)
        except PowerLoss:
            self.volume.lose_power(self.rng)

    def head(self, uid: str) -> Watermark | None:
        """The database knows some of what was durable."""
        if not self.told or self.rng.random() < 0.3:
            return None
        known = self.told[self.rng.choice(list(self.told))]
        return Watermark(seq=known.seq, hash=known.hash)

    def work(self, log: GroupCommit) -> None:
        batch = log.begin()
        events = self.events()
        for each in events:
            log.add(batch, each)
        for event, verdict in zip(events, log.finish(batch), strict=True):
            assert isinstance(verdict, Receipt)
            self.told[verdict.seq] = verdict
            if event.phase == "intent":
                self.begun.add(event.correlation_id)

    def events(self) -> list[Event]:
        made: list[Event] = []
        for _ in range(self.rng.choice((1, 1, 2, 5, 20))):
            self.calls += 1
            tenant = self.rng.choice(("acme", "umbrella", ""))
            size = {"pad": "x" * self.rng.choice((0, 10, 700, 3000))}
            made.append(intent(self.calls, tenant=tenant, metadata=size))
            if self.rng.random() < 0.7:
                made.append(outcome(self.calls, tenant=tenant, metadata=size))
        return made

    def check(self) -> None:
        """After a last start in peace: nothing that was acknowledged is missing, every call has its end."""
        log = recovery(self.volume, heads=self.head).open()
        assert self.volume.names() == [log.chain.uid], "a power loss must not begin a new chain"
        records = list(history(self.volume.directories[log.chain.uid]))
        check_chain(records)
        written = {each["seq"]: each for each in map(members, records)}
        for seq, receipt in self.told.items():
            assert (seq, written[seq]["id"]) == (seq, receipt.id)
        ended = [each["correlation_id"] for each in written.values() if each["phase"] == "outcome"]
        assert len(ended) == len(set(ended))
        assert self.begun <= set(ended)


def play(seed: int, volume: SimVolume) -> None:
    life = Life(seed, volume)
    for _ in range(life.rng.randrange(1, 5)):
        life.live()
    life.check()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("block", range(8))
def test_nothing_acknowledged_is_lost_and_no_start_is_refused(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In half of the lives the zeros written ahead end inside a segment, as they do in one of usual size.
    monkeypatch.setattr(append, "AHEAD", append.AHEAD if block % 2 else 2_000)
    for seed in range(block * ROUNDS // 8, (block + 1) * ROUNDS // 8):
        play(seed, SimVolume())


@pytest.mark.parametrize("removed", ["flush", "sync"])
def test_without_its_flush_the_invariant_does_not_hold(removed: str) -> None:
    broken = 0
    for seed in range(12):
        volume = SimVolume()
        volume.lying = removed == "flush"
        volume.lying_sync = removed == "sync"
        try:
            play(seed, volume)
        except (AssertionError, AuditFault, JournalDamaged, KeyError):
            broken += 1
    assert broken >= 6


def flaky(rng: random.Random, share: float) -> int:
    return 5 if rng.random() < share else 0


@pytest.mark.parametrize("seed", range(30))
def test_failing_flushes_and_a_power_loss_together_lose_nothing(seed: int) -> None:
    volume, rng = SimVolume(), dice(seed)
    log = recovery(volume, seed=seed).open()
    volume.fail = lambda operation, name: (
        flaky(rng, 0.3) if operation in {"flush", "write", "sync"} and name != "spool" else 0
    )
    told: list[Receipt] = []
    owed: set[str] = set()
    for number in range(40):
        batch = log.begin()
        log.add(batch, intent(2 * number))
        log.add(batch, outcome(2 * number + 1))
        for event, verdict in zip(batch.events, log.finish(batch), strict=True):
            if isinstance(verdict, Receipt):
                told.append(verdict)
            if event.phase == "outcome":
                owed.add(event.correlation_id)
    assert not log.failure
    volume.fail = lambda operation, name: 0
    volume.lose_power(rng)
    log = recovery(volume, seed=seed + 1000).open()
    records = list(history(volume.directories[log.chain.uid]))
    check_chain(records)
    written = list(map(members, records))
    assert {receipt.id for receipt in told} <= {each["id"] for each in written}
    ended = [each["correlation_id"] for each in written if each["phase"] == "outcome"]
    assert owed <= set(ended)
    assert len(ended) == len(set(ended))
