#!/usr/bin/env bash
# Every test, measured in all processes that tests start, then the bars of coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
mkdir -p .cache/coverage
export COVERAGE_FILE="$PWD/.cache/coverage/data"
rm -f "$COVERAGE_FILE" "$COVERAGE_FILE".*

# Two processes, because many tests wait for real servers; one file stays in one, so that its gateway starts once.
coverage run -m pytest -n 2 --dist loadfile "$@"
coverage combine --quiet
python scripts/coverage_bars.py
