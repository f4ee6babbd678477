#!/usr/bin/env bash
# Doors that have to be shut, tried from outside. Changes nothing: what is tried is refused, or the check fails.
#
#   AIRLOCK_URL=http://localhost:8080 TEST_TOKEN=... ADMIN_TOKEN=... AIRLOCK_CONFIG=airlock.yaml scripts/security-test.sh
#
# This is `airlock verify security`; docs/checks.md says what each variable means. Exit code 0: every check was true; 1: a
# check failed, and standard output says `FAIL CHECK: what was observed`; 2: something could not run, and standard error
# says what.
set -uo pipefail
PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"
airlock verify security
code=$?
[ "$code" -le 2 ] || code=2
exit "$code"
