"""Defects are put into the real gateway, one at a time: rows that hold without them do not hold with them.

A suite that stays green on a broken product proves nothing.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.runbooks.faults import applied
from tests.runbooks.registry import Run, checks
from tests.runbooks.session import Session
from tests.runbooks.stack import Stack

pytestmark = pytest.mark.unmeasured

DEFECTS = Path(__file__).with_name("defects")

RED = {
    "constant_ready": {"A-06-F1": "503: not within", "A-36-F1": "503: not within"},
    "t_in_timestamps": {"A-55-F0": r"\dT\d"},
    "empty_genesis": {"A-69-F0": r"out='[1-9]"},
    "unordered_audit": {"A-60-F0": "rc=1"},
    "one_worker_blocks": {"A-51-F9": "a worker lets a blocked address in"},
    "lost_base": {"A-52-F0": "the servers of the base are gone"},
}
"""Defect -> the checks that must find it, and what stands in their complaint."""

PATIENCE = 10.0
"""Seconds that a check gets to see what never comes."""


def test_every_defect_is_tried() -> None:
    assert {folder.parent.name for folder in DEFECTS.glob("*/sitecustomize.py")} == set(RED)


@pytest.mark.parametrize("defect", RED)
def test_a_defect_turns_rows_red(defect: str, tmp_path: Path) -> None:
    known = {check.id: check for check in checks()}
    with Stack(tmp_path / "stack", defect=DEFECTS / defect) as stack:
        for name, complaint in RED[defect].items():
            check = msgspec.structs.replace(known[name], within=PATIENCE)
            with (
                applied(check.fault, stack) as facts,
                Session(tmp_path / name, stack.variables()) as session,
                pytest.raises(AssertionError, match=complaint),
            ):
                check.body(Run(check=check, stack=stack, session=session, facts=facts))
