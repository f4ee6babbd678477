#!/usr/bin/env bash
# Calls at a steady rate that does not wait for answers, and how long each took from the moment it was due.
#
#   AIRLOCK_URL=http://localhost:8080 TEST_TOKEN=... scripts/performance-test.sh
#
# RATE (3, 50 at most) calls a second for DURATION_S (30) seconds. It fails where the 95th percentile is above P95_MS (200),
# more than 0.1 % are not answered rightly (a refusal is no answer), or the rate is not reached. The default rate stays
# below the default limit of one token; with higher limits, ask for more.
#
# docs/checks.md says what each variable means. Exit code 0: fast enough; 1: not, and standard output says
# `FAIL CHECK: what was observed`; 2: something could not run, and standard error says what.
set -uo pipefail
# shellcheck source=scripts/checks.sh
source "$(dirname "$0")/checks.sh"
prepare AIRLOCK_URL TEST_TOKEN

tools_list || finish
python "$here/steady_load.py" --url "$AIRLOCK_URL/mcp" --tool "$tool" --arguments "$arguments" --agent "$agent" \
  --rate "${RATE:-3}" --duration "${DURATION_S:-30}" --p95 "${P95_MS:-200}" <<<"$TEST_TOKEN"
