"""What a row comes to, by what its checks saw; and the page that says so."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.runbooks import report
from tests.runbooks.extract import ROOT
from tests.runbooks.verdicts import Native, Row, Seen, judge


def row(**more: Any) -> Row:
    usual: dict[str, Any] = {
        "id": "A-60", "title": "t", "t": "X", "faults": ("F6",), "sound": (), "native": "", "needs": "",
    }  # fmt: skip
    return Row(**usual | more)


def seen(fault: str, answer: str = "x", **more: Any) -> Seen:
    return Seen(row="A-60", fault=fault, answer=answer, **more)


def native(command: str, rc: int) -> tuple[Native, ...]:
    return (Native(command=command, rc=rc),)


GOOD = seen("F0", "all well")
BAD = seen("F6", "full")
VERIFY = "airlock audit verify"


@pytest.mark.parametrize(
    ("made", "saw", "word", "why"),
    [
        (row(), [GOOD, BAD], "pass", ""),
        (row(needs="cluster"), [], "needs-cluster", "cluster"),
        (row(needs="charts"), [GOOD, BAD], "pending", "charts"),
        (row(), [], "pending", "a check at F0, F6"),
        (row(), [GOOD], "pending", "a check at F6"),
        (row(waits={"F6": "disk"}), [GOOD], "pass", ""),
        (row(), [GOOD, seen("F6", "full", failure="boom")], "fail", "F6: boom"),
        (row(), [GOOD, seen("F6", "all well")], "fail", "the same answer at F0 and F6"),
        (row(), [GOOD, seen("F6", "all well", tells=False)], "pass", ""),
        (row(native=VERIFY), [GOOD, BAD], "pending", "a check of `airlock audit verify`"),
        (row(native=VERIFY, waits={"native": "verifier"}), [GOOD, BAD], "pass", ""),
        (
            row(native=VERIFY),
            [
                seen("F0", "a", natives=native(VERIFY, 0)),
                seen("F6", "b", natives=native(f"{VERIFY} --json", 1)),
            ],
            "pass",
            "",
        ),
        (
            row(native=VERIFY),
            [seen("F0", "a", natives=native(VERIFY, 3)), seen("F6", "b", natives=native(VERIFY, 3))],
            "fail",
            "`airlock audit verify` is not 0 at F0",
        ),
        (
            row(native=VERIFY),
            [seen("F0", "a", natives=native(VERIFY, 0)), seen("F6", "b", natives=native(VERIFY, 0))],
            "fail",
            "`airlock audit verify` is good under every fault",
        ),
        (
            row(native="airlock logs --event x"),
            [
                seen("F0", "a", natives=native("airlock logs", 0)),
                seen("F6", "b", natives=native("airlock logs", 0)),
            ],
            "pass",
            "",
        ),
    ],
)
def test_what_a_row_comes_to(made: Row, saw: list[Seen], word: str, why: str) -> None:
    verdict = judge(made, saw)
    assert (verdict.word, verdict.why) == (word, why)


def test_a_blind_command_and_a_stand_in_are_marked() -> None:
    saw = [seen("F0", "ok", marks=("stand-in",)), seen("F6", "ok", tells=False)]
    assert judge(row(sound=("U6",)), saw).marks == ("blind → native", "stand-in")


def test_the_page_has_a_line_for_each_row_and_fault_and_counts_every_verdict() -> None:
    saw = [seen("F0", "ok | <b>"), seen("F7e", "ok", tells=False)]
    found = report.verdicts(saw)
    text = report.page(found, saw, version="9.9", date="today")
    assert "Airlock 9.9, today." in text
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:2] == "| "
    ]
    assert {len(row) for row in cells if len(row) != 3} == {8}
    assert [row[3:5] for row in cells if row[0] == "A-60"] == [["F0", "ok &#124; &#60;b&#62;"]]
    assert sum(int(row[1]) for row in cells if row[0] in report.MEANS) == 164


def test_the_list_of_rows_that_passed_only_grows(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PASSED", tmp_path / "passed.txt")
    found = report.verdicts([])
    assert report.remember(found) == []
    (tmp_path / "passed.txt").write_text("A-60\n")
    assert report.remember(found) == ["A-60"]
    assert report.passed() == ["A-60"]
    one = report.Verdict(word="pass")
    assert report.remember({**found, "A-05": one, "A-60": one}) == []
    assert report.passed() == ["A-05", "A-60"]


def test_the_published_page_says_what_the_list_says() -> None:
    passed = [
        line.split("|")[1].strip() for line in report.PAGE.read_text().splitlines() if "| **pass**" in line
    ]
    assert passed == report.passed()


def test_the_readme_has_the_counts_of_the_page() -> None:
    counts = dict(re.findall(r"^\| ([a-z-]+) \| (\d+) \|", report.PAGE.read_text(), re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    held = "{pass} rows pass, {fail} fail, ".format(**counts)
    rest = "{pending} wait for parts that are not there yet, {needs-cluster} need a cluster".format(**counts)
    assert held + rest in readme
