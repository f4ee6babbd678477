"""`make runbooks`: run every check, ask once more what did not hold, judge every row, write the page.

Then defects are put into the gateway, and rows must find each. Exit status 1 where a row fails, or does not
pass that once passed, or where a defect stays unseen.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime

import pytest

import airlock
from tests.runbooks import report
from tests.runbooks.extract import HERE, ROOT


def main() -> int:
    reporter = report.Reporter()
    with tempfile.TemporaryDirectory(prefix="runbooks-") as folder:
        usual = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir", str(ROOT), "--tb=short"]
        pytest.main([*usual, f"--basetemp={folder}/first", str(HERE / "test_rows.py")], plugins=[reporter])
        again, reporter.again = list(reporter.again), {}
        if again:
            say(f"runbooks: {len(again)} checks did not hold; asked once more, alone")
            pytest.main([*usual, f"--basetemp={folder}/second", *again], plugins=[reporter])
    found = report.verdicts(reporter.seen.values())
    lost = report.remember(found)
    report.PAGE.parent.mkdir(exist_ok=True)
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    seen = list(reporter.seen.values())
    report.PAGE.write_text(report.page(found, seen, version=airlock.__version__, date=date))
    status = tell(found, lost, unheld=list(reporter.again))
    say("runbooks: seeded defects, each of which must turn rows red")
    seen_through = pytest.main([*usual, "-v", str(HERE / "test_defects.py")]) == pytest.ExitCode.OK
    return status if seen_through else 1


def tell(found: dict[str, report.Verdict], lost: list[str], *, unheld: list[str]) -> int:
    """Say what came out; the exit status."""
    for word in report.MEANS:
        of_word = [id for id, verdict in found.items() if verdict.word == word]
        say(f"{word:14} {len(of_word):4}  {' '.join(of_word) if word in ('pass', 'fail') else ''}".rstrip())
    for id, verdict in found.items():
        if verdict.word == "fail" or id in lost:
            say(f"runbooks: {id}: {verdict.word}: {verdict.why}")
    for test in unheld:
        say(f"runbooks: did not hold: {test}")
    return 1 if lost or unheld or any(verdict.word == "fail" for verdict in found.values()) else 0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
