#!/usr/bin/env bash
# The way of a call through a running gateway, from outside, in less than a minute. Safe on production.
#
#   AIRLOCK_URL=http://localhost:8080 TEST_TOKEN=... ADMIN_TOKEN=... AIRLOCK_CONFIG=airlock.yaml scripts/e2e-test.sh
#
# This is `airlock verify e2e`; docs/checks.md says what each variable means. Exit code 0: every check was true; 1: a
# check failed, and standard output says `FAIL CHECK: what was observed`; 2: something could not run, and standard error
# says what.
set -uo pipefail
PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"
airlock verify e2e
code=$?
[ "$code" -le 2 ] || code=2
exit "$code"
