"""The detection rules as they were compiled: `incident/rules/compiled.json`, which `scripts/rules.py` writes.

Each rule stands in a directory of its own as Sigma (`rule.yml`), with a trace that must raise it and one that
must not. Pure, but for reading the compiled file once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from airlock.model.detection import Mode
from airlock.model.incident import IncidentSeverity

Confidence = Literal["low", "medium", "high"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What may be done about a finding. `ttl` in seconds; None: without end, or not a matter of time."""

    action: str
    ttl: float | None = None
    automatic: bool = False
    """Whether it may happen without a person, where everything else allows it."""
    params: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Fire(msgspec.Struct, frozen=True, kw_only=True):
    """One way for a rule to fire: a question over a window, and how grave a yes is."""

    name: str
    severity: IncidentSeverity
    confidence: Confidence
    window: float
    """Seconds that it looks back."""
    group: tuple[str, ...]
    """Columns by which rows are put together; those of a finding."""
    where: str
    """The rows that it is about, as SQL over `events`."""
    sql: str
    """Gives a row for each group over the threshold: the columns of `group`, `metric`, `since`, `until`.
    Parameters: `:since`, `:until`, the thresholds by name, and `:hour`, the hour of `:until` since 1970."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of the catalogue."""

    id: str
    title: str
    description: str
    tier: Literal["T1", "T2"]
    """T1: found row by row, at once. T2: found in a window, every 15 seconds."""
    severity: IncidentSeverity
    """As the catalogue says; each way to fire has its own."""
    mode: Mode
    """Unless an operator has set another."""
    confidence: Confidence
    """Of its first way to fire."""
    window: float
    thresholds: dict[str, float]
    responses: tuple[Answer, ...]
    mapping: tuple[str, ...]
    """Ids of MITRE ATT&CK, MITRE ATLAS, OWASP and D3FEND."""
    false_positives: tuple[str, ...]
    fires: tuple[Fire, ...]


_decode = msgspec.json.Decoder(tuple[Rule, ...]).decode


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its id, in the order of the ids."""
    text = files("airlock.incident").joinpath("rules", "compiled.json").read_bytes()
    return {rule.id: rule for rule in _decode(text)}


def source(rule: str) -> str:
    """The Sigma of a rule, as it was written. Raises KeyError for a rule that does not exist."""
    return files_of(rules()[rule].id, "rule.yml")


def taxonomy() -> str:
    """The fields that a rule may name, as YAML."""
    return files_of("taxonomy.yml")


def trace(rule: str, kind: Literal["attack", "benign"]) -> str:
    """The rows that must raise a rule, or must not; `airlock.incident.detect.traces` reads them."""
    return files_of(rules()[rule].id, f"{kind}.jsonl")


def files_of(*path: str) -> str:
    """A file beside the rules."""
    return files("airlock.incident").joinpath("rules", *path).read_text(encoding="utf-8")
