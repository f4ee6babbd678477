#!/usr/bin/env bash
# Calls at a steady rate that does not wait for answers, and how long each took from the moment it was due.
#
#   AIRLOCK_URL=http://localhost:8080 TEST_TOKEN=... scripts/performance-test.sh
#
# This is `airlock verify performance`; docs/checks.md says what each variable means. Exit code 0: every check was true; 1: a
# check failed, and standard output says `FAIL CHECK: what was observed`; 2: something could not run, and standard error
# says what.
set -uo pipefail
PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"
airlock verify performance
code=$?
[ "$code" -le 2 ] || code=2
exit "$code"
