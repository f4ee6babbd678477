"""The bars of coverage, over everything that the tests ran in any process.

95 % of all branches; every line and branch of the files where a branch that no test takes would be a hole.
Exit code 1 below a bar, with what is missing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

OVERALL = 95.0
WHOLE = (
    "src/airlock/audit/chain.py",
    "src/airlock/audit/verify.py",
    "src/airlock/gateway/pipeline.py",
    "src/airlock/mcp/*.py",
)


def complaints(report: dict[str, Any]) -> list[str]:
    """What is below its bar, a line each."""
    files: dict[str, Any] = report["files"]
    found: list[str] = []
    for pattern in WHOLE:
        matching = sorted(path for path in files if fnmatch(path, pattern))
        if not matching:
            found.append(f"{pattern}: no such file was measured")
        found += [line for path in matching if (line := hole(path, files[path]))]
    share = branches(report["totals"])
    if share < OVERALL:
        found.append(f"all files: {share:.2f} % of branches, the bar is {OVERALL} %")
    return found


def hole(path: str, file: dict[str, Any]) -> str:
    """What is missing of a file that may miss nothing; empty if nothing is."""
    lines, arcs = file["missing_lines"], file["missing_branches"]
    if not lines and not arcs:
        return ""
    return f"{path}: not run: lines {lines}, branches {[f'{a}->{b}' for a, b in arcs]}; the bar is 100 %"


def branches(summary: dict[str, Any]) -> float:
    """Percent of branches taken; 100 where there are none."""
    return 100.0 * summary["covered_branches"] / summary["num_branches"] if summary["num_branches"] else 100.0


def worst(report: dict[str, Any], count: int) -> list[str]:
    """The files with most branches missing, and how many."""
    files = [(file["summary"]["missing_branches"], path) for path, file in report["files"].items()]
    return [f"{path}: {missing} branches" for missing, path in sorted(files, reverse=True)[:count] if missing]


def main() -> int:
    target = Path(".cache/coverage/report.json")
    command = [sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(target)]
    subprocess.run(command, check=True)
    report = json.loads(target.read_text())
    totals = report["totals"]
    lines = totals["percent_statements_covered"]
    print(f"coverage: {branches(totals):.2f} % of branches, {lines:.2f} % of lines")
    found = complaints(report)
    if found:
        print("below the bar:", *found, "most branches missing:", *worst(report, 10), sep="\n  ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
