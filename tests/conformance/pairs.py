"""What is run against what, and what has to come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import yaml

from tests.conformance.governed import ROOT, named
from tests.conformance.suite import Scenario, scored

HERE = ROOT / "tests/conformance"
PASSED = HERE / "passed.txt"
BASELINE = HERE / "baseline-ml.yml"


class Pair(msgspec.Struct, frozen=True):
    """A client's era and an upstream's. `upstream` is the era of the fixture, `isolation` says what processes
    it has where it is reached over stdio."""

    name: str
    revision: str
    upstream: str
    isolation: str = "shared"


LL = Pair("LL", "2025-11-25", "legacy", "session")
LM = Pair("LM", "2025-11-25", "modern", "session")
ML = Pair("ML", "2026-07-28", "legacy", "principal")
MM = Pair("MM", "2026-07-28", "modern")
DUAL_LEGACY = Pair("dual", "2025-11-25", "dual")
DUAL_MODERN = Pair("dual", "2026-07-28", "dual")
CROSSED = (LL, LM, ML, MM)
DUAL = (DUAL_LEGACY, DUAL_MODERN)

BY_SPECIFICATION: Mapping[str, str] = {
    "input-required-result-basic-elicitation": "demands the key user_name; a request of a legacy server has "
    "no key, so the gateway has to give one",
    "input-required-result-ignore-extra-params": "answers a question that was not asked, under a key that "
    "the gateway did not give, and without the state of the round",
}
"""Why what `baseline-ml.yml` names cannot pass where the client is modern and the server legacy."""


class Run(msgspec.Struct, frozen=True):
    """All scenarios of one pair over one transport."""

    pair: Pair
    transport: str
    scenarios: tuple[Scenario, ...]

    @property
    def server(self) -> str:
        """Name of the fixture in the gateway's configuration."""
        return server(self.pair, self.transport)

    @property
    def required(self) -> tuple[str, ...]:
        return scored(self.pair.revision, "server")

    @property
    def passed(self) -> tuple[str, ...]:
        """Scored scenarios that passed."""
        good = {scenario.name for scenario in self.scenarios if scenario.passed}
        return tuple(name for name in self.required if name in good)

    @property
    def missed(self) -> tuple[str, ...]:
        """Scored scenarios that did not pass, or were not reached."""
        return tuple(name for name in self.required if name not in self.passed)

    @property
    def excused(self) -> frozenset[str]:
        """What may be missed."""
        return baseline() if self.pair is ML else frozenset()

    @property
    def target(self) -> int:
        return len(self.required) - len(self.excused)

    @property
    def is_met(self) -> bool:
        return not set(self.missed) - self.excused

    def why(self, name: str) -> str:
        """The first thing that the suite has against a scenario."""
        found = next((each for each in self.scenarios if each.name == name), None)
        if found is None or not found.checks:
            return "was not reached in time"
        worst = (*found.of("FAILURE"), *found.of("WARNING"))
        return f"{worst[0].id}: {worst[0].error_message}" if worst else ""

    def lines(self) -> list[str]:
        """The passed scenarios, as the file of them has them."""
        return [line(self.pair, self.transport, name) for name in self.passed]


def server(pair: Pair, transport: str) -> str:
    """Name of the fixture in the gateway's configuration."""
    return named(pair.upstream, pair.isolation) if transport == "stdio" else f"{pair.upstream}-http"


def line(pair: Pair, transport: str, scenario: str) -> str:
    return f"{pair.name} {transport} {pair.revision} {scenario}"


def baseline() -> frozenset[str]:
    """Scenarios that a modern client with a legacy server may miss; the suite reads the same file."""
    return frozenset(yaml.safe_load(BASELINE.read_text())["server"])


def once_passed() -> list[str]:
    """Every scenario that passed once, as `pair transport revision scenario`."""
    return PASSED.read_text().splitlines() if PASSED.exists() else []


def lost(runs: Sequence[Run]) -> list[str]:
    """What passed once and does not now, of the pairs that ran."""
    now = {each for run in runs for each in run.lines()}
    of = {line(run.pair, run.transport, "") for run in runs}
    return [each for each in once_passed() if each not in now and each[: each.rindex(" ") + 1] in of]


def remember(runs: Sequence[Run]) -> None:
    """Add what passes to the list, which never shrinks by itself."""
    now = [each for run in runs for each in run.lines()]
    PASSED.write_text("".join(f"{each}\n" for each in dict.fromkeys([*once_passed(), *now])))
