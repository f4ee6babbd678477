"""The official suite against a dual fixture, through the governed gateway: what once passed passes.

`make conformance` asks all pairs; this asks one, once per revision.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.conformance import pairs, suite
from tests.conformance.governed import governed
from tests.conformance.pairs import DUAL, Pair, Run, line

SERVER = "dual-http"
NARROW = {"server-stateless"}
"""Has bounds of half a second of its own, which a busy machine does not keep; `make conformance` asks it."""
WITHIN = 240.0
"""Seconds for one revision; it takes a tenth of that on a machine that is idle."""


pytestmark = [pytest.mark.unmeasured, pytest.mark.timeout(600)]  # the suite waits by itself


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The fixture's URL behind gateway and shim."""
    with governed(tmp_path_factory.mktemp("conformance"), http=("dual",)) as (_, shim):
        yield f"http://localhost:{shim.port}/mcp/{SERVER}"


@pytest.mark.parametrize("pair", DUAL, ids=lambda pair: pair.revision)
def test_what_once_passed_passes(base: str, pair: Pair, tmp_path: Path) -> None:
    """A scenario that failed is asked once more, alone: its bounds on time are the suite's."""
    mine = line(pair, "http", "")
    expected = {each for each in pairs.once_passed() if each.startswith(mine)} - {
        mine + name for name in NARROW
    }
    assert expected, "nothing is on record as passed"
    run = Run(pair, "http", tuple(suite.ask_server(base, pair.revision, tmp_path / "all", within=WITHIN)))
    for each in sorted(expected - set(run.lines())):
        name = each.rsplit(" ", 1)[1]
        again = suite.ask_one(base, pair.revision, name, tmp_path / "again")
        assert again, f"{each}: no answer"
        assert again[0].passed, f"{each}: {again[0].of('FAILURE')}"
