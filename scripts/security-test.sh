#!/usr/bin/env bash
# Doors that have to be shut, tried from outside. Changes nothing: what is tried is refused, or the check fails.
#
#   AIRLOCK_URL=http://localhost:8080 TEST_TOKEN=... ADMIN_TOKEN=... AIRLOCK_CONFIG=airlock.yaml scripts/security-test.sh
#
# docs/checks.md says what each variable means. Exit code 0: every check was true; 1: a check failed, and standard
# output says `FAIL CHECK: what was observed`; 2: something could not run, and standard error says what.
set -uo pipefail
# shellcheck source=scripts/checks.sh
source "$(dirname "$0")/checks.sh"
prepare AIRLOCK_URL TEST_TOKEN ADMIN_TOKEN
patience=600

# Every route that the process itself names, without credentials.
routes() {
  local method path auth before=$failed tried=0 message
  ask "$ADMIN_TOKEN" GET /admin/routes
  if [ "$status" != 200 ] || ! judge routes <"$answer" >"$folder/routes"; then
    unable routes "ADMIN_TOKEN does not get the list of routes: $(observed)"
    return
  fi
  while read -r method path auth; do
    message=()
    [ "$method" != POST ] || message=(--header 'Content-Type: application/json' --data-binary "$list")
    ask '' "$method" "$path" "${message[@]}"
    tried=$((tried + 1))
    case $auth,$status in
      *,429) unable routes "$method $path: too many failures from this address: $(observed)" ;;
      none,[1-4]??) ;;
      none,*) fail routes "$method $path: $(observed)" ;;
      *,401) ;;
      *) fail routes "$method $path without credentials: $(observed)" ;;
    esac
  done <"$folder/routes"
  [ "$failed" -ne "$before" ] || [ "$tried" -eq 0 ] || passed routes "$tried are shut or public by declaration"
}

# refusal CHECK STATUS TOKEN MESSAGE [curl options]: the message is answered with that status.
refusal() {
  local check=$1 wanted=$2
  shift 2
  say "$@"
  if [ "$status" = "$wanted" ]; then
    passed "$check" "HTTP $status"
  elif [ "$status" = 429 ]; then
    unable "$check" "$(observed)"
  else
    fail "$check" "$(observed)"
  fi
}

# token CHECK [TOKEN]: a token that was given, or one that `checks.py` makes, is refused.
token() {
  local check=$1 given=${2:-}
  if [ -z "$given" ] && ! given=$(judge minted "$check" "${AIRLOCK_CONFIG:-}" <<<"$TEST_TOKEN"); then
    unable "$check" "$given"
    return
  fi
  refusal "$check" 401 "$given" "$list"
}

# One list is answered, so that refusals below are about what was changed.
tools_list || finish
routes
token wrong_audience "${FOREIGN_TOKEN:-}"
token expired "${EXPIRED_TOKEN:-}"
token alg_none
refusal bad_host 421 "$TEST_TOKEN" "$list" --header 'Host: airlock-check.invalid'
refusal bad_origin 403 "$TEST_TOKEN" "$list" --header 'Origin: https://airlock-check.invalid'
refusal duplicate_key 400 "$TEST_TOKEN" '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}'
forbidden_tool && row forbidden_row forbidden denied
canaries
verified audit_verify
finish
