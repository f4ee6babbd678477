"""The commands as data, against the tables and, where they are, against the runbooks themselves."""

from __future__ import annotations

import hashlib

import pytest

from tests.runbooks import report
from tests.runbooks.extract import data, extract, folder
from tests.runbooks.registry import checks

COUNTS = {"sark": 27, "airlock": 85}
DIGESTS = {
    "sark": "becfd884fac1d973e8360a8ec1a2950db1bb5020a75e6d200568634ec7d200fd",
    "airlock": "7ae822be30b25c1913815a81cb41c81b6e2c3d09ef7367e1ebc881613d0f08ab",
}
TOLD_BY_HAND = {
    "S-01", "S-07", "S-11", "S-18", "S-24", "S-25", "S-31", "S-33", "A-03", "A-12", "A-113",
}  # fmt: skip
"""Rows that are executed and have no command in a runbook: symptoms, and steps in words."""
FENCE = "```"


def test_every_command_is_there_and_pinned() -> None:
    for name, runbook in data().runbooks.items():
        held = [command for command in data().commands if command.runbook == name]
        assert (runbook.sha256, runbook.commands, len(held)) == (DIGESTS[name], COUNTS[name], COUNTS[name])


def test_there_are_51_rows_and_113() -> None:
    ids = [row.id for row in report.rows()]
    assert ids == [f"S-{number:02}" for number in range(1, 52)] + [
        f"A-{number:02}" for number in range(1, 114)
    ]


def test_every_command_belongs_to_rows_that_there_are() -> None:
    ids = {row.id for row in report.rows()}
    assert {id for command in data().commands for id in command.rows} <= ids
    assert all(command.rows for command in data().commands)


def test_every_row_that_is_executed_has_a_command_or_is_told_by_hand() -> None:
    executed = {row.id for row in report.rows() if set(row.t) & set("XMC")}
    commanded = {id for command in data().commands for id in command.rows}
    assert executed - commanded == TOLD_BY_HAND & executed
    assert TOLD_BY_HAND & commanded == set()


def test_some_commands_are_shared_and_one_row_holds_two() -> None:
    shared = {command.rows for command in data().commands if len(command.rows) > 1}
    assert shared == {("A-57", "A-58"), ("A-70", "A-71", "A-72", "A-73", "A-74"), ("A-98", "A-99")}
    assert [len(data().of(row.id)) for row in report.rows() if len(data().of(row.id)) > 1] == [2]
    assert len(data().of("A-103")) == 2


@pytest.mark.parametrize("name", COUNTS)
def test_the_runbook_says_what_the_data_says(name: str) -> None:
    place = folder()
    if place is None:
        return  # the runbooks are not part of the repository
    content = (place / data().runbooks[name].file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == DIGESTS[name], "it was changed: change the tables first"
    held = [command for command in data().commands if command.runbook == name]
    found = extract(content.decode())
    assert [one for one, command in zip(found, held, strict=True) if not command.is_of(one)] == []


def test_here_documents_pipes_quotes_and_continuations_stay_whole() -> None:
    block = [
        f"{FENCE}bash",
        "# a comment",
        "one | two \\",
        "  --three",
        "",
        "four '",
        "five",
        "'",
        "cat > x << EOF",
        "$(six)",
        "EOF",
        FENCE,
        f"{FENCE}yaml",
        "seven: 8",
        FENCE,
        f"{FENCE}sql",
        "SELECT 9",
        "FROM t;",
        FENCE,
    ]
    assert [(found.line, found.text) for found in extract("\n".join(block))] == [
        (3, "one | two \\\n  --three"),
        (6, "four '\nfive\n'"),
        (9, "cat > x << EOF\n$(six)\nEOF"),
        (17, "SELECT 9\nFROM t;"),
    ]


def test_a_command_without_an_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 2: no complete command"):
        extract(f"{FENCE}bash\necho 'never\n{FENCE}")


def test_every_check_is_of_a_row_that_does_not_wait() -> None:
    waiting = {row.id for row in report.rows() if row.needs}
    assert {check.row for check in checks()} & waiting == set()


def test_every_fault_of_a_check_is_one_that_its_row_names() -> None:
    named = {row.id: {"F0", *row.faults} for row in report.rows()}
    assert [check.id for check in checks() if check.fault not in named[check.row]] == []


def test_a_row_that_once_passed_still_has_its_checks() -> None:
    assert set(report.passed()) <= {check.row for check in checks()}
