"""The corpus: secrets of every kind in many surroundings and encodings, and look-alikes that are harmless.

Secrets are made up when the test runs, so that no file holds one. Recall and false positives are printed by
detector, with `-s` or `-rP`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from airlock.core.config import Detector
from airlock.redaction.canary import FORMS, canary
from airlock.redaction.detectors import NAMES
from airlock.redaction.rewrite import placeholder
from tests.redaction.made import REDACTOR, SCANNER, dice, tell

CORPUS = Path(__file__).parent / "corpus"
SEED = 20261122

LEAST_RECALL = 0.99
MOST_FALSE = 0.0
"""Share of harmless lines that a detector may hit."""


def lines(name: str) -> list[str]:
    found = (CORPUS / name).read_text().splitlines()
    return [line.replace("\\n", "\n") for line in found if line and not line.startswith("# ")]


class Tried(msgspec.Struct):
    tries: int = 0
    misses: list[str] = []


@pytest.mark.parametrize("detector", NAMES)
def test_recall_of_each_detector_in_every_carrier_and_form(detector: Detector) -> None:
    random = dice(f"{SEED} {detector}")
    tried = Tried(misses=[])
    for carrier in lines("carriers.txt"):
        for form, write in FORMS.items():
            made = canary(detector, random)
            written = write(made.text)
            kept, counts = REDACTOR.text(carrier.format(written))
            tried.tries += 1
            if made.secret in kept or written in kept or not counts.get(detector):
                tried.misses.append(f"{form} in {carrier!r}")
    recall = 1 - len(tried.misses) / tried.tries
    tell(f"{detector:14} recall {recall:.4f} of {tried.tries}")
    assert recall >= LEAST_RECALL, tried.misses


def test_false_positives_of_each_detector_on_look_alikes() -> None:
    harmless = lines("harmless.txt")
    hits: Counter[str] = Counter()
    where: list[tuple[str, str]] = []
    for line in harmless:
        for hit in SCANNER.find(line):
            hits[hit.detector] += 1
            where.append((hit.detector, line))
    for detector in NAMES:
        tell(f"{detector:14} false positives {hits[detector]} of {len(harmless)} lines")
    assert [found for found in where if hits[found[0]] > MOST_FALSE * len(harmless)] == []


def test_a_carrier_alone_is_not_hit() -> None:
    assert [line for line in lines("carriers.txt") if SCANNER.find(line.format("nothing"))] == []


@pytest.mark.parametrize("detector", NAMES)
def test_what_was_redacted_is_not_hit_again(detector: Detector) -> None:
    made = canary(detector, dice(SEED))
    kept, _ = REDACTOR.text(f'{{"password": "{made.text}"}} {made.text}')
    assert placeholder(detector) in kept or placeholder("password") in kept
    assert REDACTOR.text(kept) == (kept, {})
