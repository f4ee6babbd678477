"""Parts of the way measured alone, in this process: what ARCHITECTURE calls a budget of one part.

Each figure is the least of several runs: whatever else the machine did could only add to it.
"""

from __future__ import annotations

import random
import string
import timeit
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from airlock.audit.inspection import Inspection
from airlock.core.config import RedactionSection
from airlock.policy import input as policy_input
from airlock.policy.bundle import load_bundle
from airlock.policy.cache import DecisionCache
from airlock.policy.embedded import EmbeddedEngine
from airlock.policy.sample import SAMPLE
from airlock.redaction.scan import Scanner
from bench import contained, figures

RUNS = 7
SIZE = 10_000
"""Characters of the text that is scanned; the budget is of 10 KB."""


def measure(data_dir: Path) -> list[figures.Part]:
    """All parts; the log to verify is the one of this data directory, whose gateway has ended."""
    return [scan(), *decide(), *contained.measure(), verify(data_dir)]


def scan() -> figures.Part:
    """A text of words in which nothing is found."""
    scanner = Scanner(RedactionSection().detectors)
    chance = random.Random(7)  # noqa: S311 - a text, not a secret
    words = ("".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 9))) for _ in range(SIZE))
    text = " ".join(words)[:SIZE]
    if scanner.find(text):
        raise RuntimeError("the text without hits has some")
    return figures.Part(
        name="scan of 10 KB of words", value=_least_us(lambda: scanner.find(text), 200), bar=100, unit="us"
    )


def decide() -> list[figures.Part]:
    """The starter policy on one question, asked of the engine and of the cache in front of it."""
    question = policy_input.encode(SAMPLE)
    engine = EmbeddedEngine(load_bundle(None))
    if engine.footprint.doubts:
        raise RuntimeError("the starter policy has no proved footprint")
    cache = DecisionCache(engine, paths=engine.footprint.paths, ttl=3600, size=100)
    cache.decide(question)
    return [
        figures.Part(
            name="decision, from the cache", value=_least_us(lambda: cache.decide(question), 2000), unit="us"
        ),
        figures.Part(
            name="decision, evaluated", value=_least_us(lambda: engine.decide(question), 500), unit="us"
        ),
    ]


def verify(data_dir: Path) -> figures.Part:
    """Every entry of the database and of the journals, one after another."""
    rows = 0

    def count(more: int) -> None:
        nonlocal rows
        rows += more

    start = perf_counter()
    report = Inspection(data_dir / "audit.db", journals=data_dir / "journal", progress=count).run()
    seconds = perf_counter() - start
    if report.findings:
        raise RuntimeError(f"the log does not verify: {report.findings[0]}")
    return figures.Part(
        name=f"log verified, {rows} entries", value=rows / seconds, bar=100_000, unit="entries/s", least=True
    )


def _least_us(work: Callable[[], object], times: int) -> float:
    return min(timeit.repeat(work, number=times, repeat=RUNS)) / times * 1e6
