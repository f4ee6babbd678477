#!/usr/bin/env bash
# The way of a call through a running gateway, from outside, in less than a minute. Safe on production.
#
#   AIRLOCK_URL=http://localhost:8080 TEST_TOKEN=... ADMIN_TOKEN=... AIRLOCK_CONFIG=airlock.yaml scripts/e2e-test.sh
#
# docs/checks.md says what each variable means. Exit code 0: every check was true; 1: a check failed, and standard
# output says `FAIL CHECK: what was observed`; 2: something could not run, and standard error says what.
set -uo pipefail
# shellcheck source=scripts/checks.sh
source "$(dirname "$0")/checks.sh"
prepare AIRLOCK_URL TEST_TOKEN ADMIN_TOKEN

live() {
  ask '' GET /live
  if [ "$status" = 200 ] && [ "$(cat "$answer")" = '{"status":"alive"}' ]; then
    passed live alive
  else
    fail live "$(observed)"
    return 1
  fi
}

ready() {
  local said
  ask '' GET /ready
  if said=$(judge ready <"$answer") && [ "$status" = 200 ]; then
    passed ready "$said"
  else
    fail ready "${said:-$(observed)}"
  fi
}

call() {
  local said
  say "$TEST_TOKEN" "$(judge call "$tool" "$arguments" "$run")" --user-agent "$agent call"
  if said=$(judge echoed "$run" <"$answer"); then
    passed call "$tool answered"
  else
    fail call "$tool: $said: $(observed)"
  fi
}

audit() {
  local chain
  row audit_row call allowed || return
  read -r chain _ <<<"$row"
  verified audit_verify --chain "$chain" --since 10m
}

live || finish
ready
tools_list || finish
call
forbidden_tool && row forbidden_row forbidden denied
canaries
audit
finish
