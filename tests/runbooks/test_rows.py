"""Every registered check, one test for each row and fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.facts import Facts
from tests.runbooks.faults import SOILING, applied
from tests.runbooks.registry import Check, Run, checks
from tests.runbooks.response import Responding
from tests.runbooks.session import Session
from tests.runbooks.stack import Stack

CHECKS = checks()

pytestmark = pytest.mark.unmeasured


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("runbooks") / "stack") as running:
        yield running


@pytest.fixture(scope="module")
def responding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Responding(tmp_path_factory.mktemp("responding") / "stack") as running:
        yield running


@pytest.fixture(scope="module")
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, Facts]]:
    """One fault, for all checks under it: on the shared stack, or on its own where it leaves something."""
    with ExitStack() as left:
        fault, *rest = request.param.split()
        made = Responding if "engine" in rest else Stack
        if fault in SOILING or {*rest} - {"engine"}:
            stack = left.enter_context(made(tmp_path_factory.mktemp(fault) / "stack"))
        else:
            stack = request.getfixturevalue("responding" if made is Responding else "stack")
        yield stack, left.enter_context(applied(fault, stack))


@pytest.mark.parametrize(
    ("scene", "check"),
    [(check.scene, check) for check in CHECKS],
    indirect=["scene"],
    ids=[c.id for c in CHECKS],
    scope="module",
)
def test_row(
    check: Check, scene: tuple[Stack, Facts], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """In a session of its own. What it saw is recorded, also where it fails."""
    stack, facts = scene
    with Session(tmp_path / "session", stack.variables()) as session:
        run = Run(check=check, stack=stack, session=session, facts=facts)
        try:
            check.body(run)
            assert run.said, "the check published no answer"
        finally:
            record_property("runbook", json.dumps(run.record()))
