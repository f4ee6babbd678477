"""What a check is, and where all of them are: one for each (row, fault).

    @row("A-06", fault="F6", within=30.0)
    def a_full_disk_takes_the_gateway_out(run: Run) -> None:
        shown = run.until(lambda: (said := run.sh("A-06")).rc == 22 and said, what="503")
        assert '"audit"' in shown.err ...
        run.answer(shown.first)

A check asserts what the answer says, never its exit status alone, and publishes the answer's first line. When
it begins, the fault is there and was proven; what it does to the product, such as a block, it undoes. Modules
of checks are `rows_*.py` beside this file.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tests.faults.facts import Facts

if TYPE_CHECKING:
    from tests.runbooks.session import Session
    from tests.runbooks.stack import Stack

T = TypeVar("T")

HEALTHY = "F0"
"""The id of no fault at all: healthy, with traffic."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a command showed."""

    command: str
    out: str
    err: str
    rc: int
    seconds: float

    @property
    def json(self) -> Any:
        """Standard output, parsed. Raises ValueError."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """Lines of standard output that are not blank."""
        return [line for line in self.out.splitlines() if line.strip()]

    @property
    def first(self) -> str:
        """The first line of standard output, or where there is none, of standard error; or ""."""
        return next((line.strip() for line in (self.out + "\n" + self.err).splitlines() if line.strip()), "")


class Run:
    """One check while it runs: the operator's session, the product around it, the fault."""

    def __init__(self, *, check: Check, stack: Stack, session: Session, facts: Facts) -> None:
        self.check = check
        self.stack = stack
        """The running product; see `stack.py`."""
        self.session = session
        """The operator's shell: `session.folder` is its directory, empty but for what the repository has."""
        self.facts = facts
        """Of the fault: `facts.values` has addresses, counts, ids, paths; empty at F0."""
        self.said = ""
        self.shown: list[Shown] = []
        """All verbatim commands, in order."""
        self.natives: list[Shown] = []
        """All native commands, in order; `command` begins with `airlock `."""

    def sh(self, row: str, **substitutes: str) -> Shown:
        """The command of a row, verbatim, in this check's session. A row with two commands runs both, and
        shows both outputs and the last status.

        `substitutes`: `server_id`, `new_key`, `ip` in place of the placeholders that the table allows; the
        usual ones are srv-evil, 32 fresh bytes and 203.0.113.7. Tokens are variables of the session.

        Raises AssertionError where the command needs a cluster, or asks for what our `kubectl` does not know.
        """
        shown = self.session.row(row, **substitutes)
        self.shown.append(shown)
        return shown

    def bash(self, text: str) -> Shown:
        """A line of our own in the same session, such as what an earlier row would have set up."""
        return self.session.run(text)

    def native(self, *arguments: str) -> Shown:
        """`airlock ARGUMENTS` inside the workload, on its configuration, as an administrator. Its exit status
        is recorded for the verdict of the row's native command: 0 at F0, 1 (or 3) under a fault."""
        shown = self.stack.airlock(*arguments)
        self.natives.append(shown)
        return shown

    def until(self, condition: Callable[[], T | None], *, what: str) -> T:
        """The first true value of a condition within this check's deadline. Raises AssertionError."""
        end = time.monotonic() + self.check.within
        while not (value := condition()):
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {self.check.within} s")
            time.sleep(0.05)
        return value

    def answer(self, text: str) -> None:
        """Publish what was observed: the first line that is not blank stands in the table."""
        self.said = next((line.strip() for line in text.splitlines() if line.strip()), "")

    def record(self) -> dict[str, Any]:
        """What the report needs of this run, as JSON values."""
        natives = [{"command": shown.command, "rc": shown.rc} for shown in self.natives]
        return {
            "row": self.check.row,
            "fault": self.check.fault,
            "proof": self.facts.proof,
            "answer": self.said,
            "commands": [shown.command for shown in self.shown],
            "seconds": round(sum(shown.seconds for shown in self.shown), 2),
            "natives": natives,
            "marks": sorted(self.session.marks),
            "replaced": self.session.replaced,
            "tells": self.check.tells,
        }


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One registered check."""

    row: str
    fault: str
    within: float
    """Seconds in which the right answer must come out."""
    tells: bool
    """The published answer differs from that at F0. False where the table wants the same answer, or says that
    the command is blind: then the check asserts just that, and the native command tells the two apart."""
    soils: bool
    """Leaves so much in the log that others would take it for an attack: it has a product of its own."""
    engine: bool
    """Is about incidents: it runs on the product with the incident engine, see `response.py`."""
    body: Callable[[Run], None]

    @property
    def id(self) -> str:
        return f"{self.row}-{self.fault}"

    @property
    def scene(self) -> str:
        """The fault, whether the engine runs, and the row where it has a product of its own: checks of one
        scene share it. Of equal ones there is one object: pytest makes a fault anew for any other."""
        own = [self.row] if self.soils else []
        return sys.intern(" ".join([self.fault, *(["engine"] if self.engine else []), *own]))


CHECKS: dict[tuple[str, str], Check] = {}
"""By (row, fault)."""


def row(
    id: str,
    *,
    fault: str = HEALTHY,
    within: float = 30.0,
    tells: bool = True,
    soils: bool = False,
    engine: bool = False,
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register a check. One function may stand for several rows: stack the decorators, and ask
    `run.check.row`. Raises ValueError where (row, fault) has one already."""

    def register(body: Callable[[Run], None]) -> Callable[[Run], None]:
        if (id, fault) in CHECKS:
            raise ValueError(
                f"{id} at {fault} has two checks: {CHECKS[id, fault].body.__name__}, {body.__name__}"
            )
        CHECKS[id, fault] = Check(
            row=id, fault=fault, within=within, tells=tells, soils=soils, engine=engine, body=body
        )
        return body

    return register


def checks() -> list[Check]:
    """All of them: those of every module `rows_*.py`."""
    for module in sorted(Path(__file__).parent.glob("rows_*.py")):
        importlib.import_module(f"tests.runbooks.{module.stem}")
    return list(CHECKS.values())
