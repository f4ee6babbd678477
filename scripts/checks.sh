# shellcheck shell=bash
# What e2e-test.sh, performance-test.sh and security-test.sh share; sourced by them.
#
# One line on standard output for each check: `ok CHECK: ...` or `FAIL CHECK: what was observed`. What could not be
# tried is told on standard error. Exit code 0: all true; 1: a check failed; 2: something could not run.
#
# No token is ever an argument of a program: other users of the machine could read it there.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH="$(dirname "$here")/.venv/bin:$PATH"
name=$(basename "$0" .sh)
failed=0
untried=0
status=000

folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
answer=$folder/answer trouble=$folder/trouble

passed() {
  printf 'ok   %s: %s\n' "$1" "$2"
}

fail() {
  printf 'FAIL %s: %s\n' "$1" "$2"
  failed=1
}

unable() {
  printf '%s: could not run %s: %s\n' "$name" "$1" "$2" >&2
  untried=1
}

finish() {
  [ "$failed" -eq 0 ] || exit 1
  [ "$untried" -eq 0 ] || exit 2
  exit 0
}

# Letters that mark what this run does, in arguments and in the User-Agent that the log keeps.
letters() {
  local made='' alphabet=abcdefghijklmnopqrstuvwxyz
  while [ "${#made}" -lt 16 ]; do
    made+=${alphabet:RANDOM % 26:1}
  done
  printf '%s' "$made"
}
run=$(letters)
patience=30 # seconds for the command that verifies the log
agent="airlock-$name/$run"

# The named variables are set, the programs are there, and TEST_TOKEN speaks for nobody real.
prepare() {
  local variable program subject
  for variable in "$@"; do
    [ -n "${!variable:-}" ] || unable "$name" "$variable is not set"
  done
  for program in curl python airlock; do
    command -v "$program" >/dev/null || unable "$name" "$program is not on PATH, nor in .venv/bin"
  done
  [ "$untried" -eq 0 ] || finish
  AIRLOCK_URL=${AIRLOCK_URL%/}
  if ! subject=$(judge subject <<<"$TEST_TOKEN"); then
    unable "$name" "TEST_TOKEN: $subject"
  elif [ "$subject" != "${TEST_SUBJECT:-synthetic}" ]; then
    unable "$name" "TEST_TOKEN speaks for $subject, not for ${TEST_SUBJECT:-synthetic} (TEST_SUBJECT)"
  fi
  [ "$untried" -eq 0 ] || finish
  config=()
  [ -z "${AIRLOCK_CONFIG:-}" ] || config=(--config "$AIRLOCK_CONFIG")
}

# Reads JSON, makes canaries and tokens: see checks.py.
judge() {
  python "$here/checks.py" "$@"
}

# ask TOKEN METHOD PATH [curl options]: the status into `status`, 000 where nothing answered; the body into the file
# of that name.
ask() {
  local token=$1 method=$2 path=$3
  shift 3
  : >"$answer"
  status=$(curl --silent --show-error --globoff --max-time 8 --request "$method" --user-agent "$agent" \
    --header @<([ -z "$token" ] || printf 'Authorization: Bearer %s\n' "$token") \
    --output "$answer" --write-out '%{http_code}' "$@" "$AIRLOCK_URL$path" 2>"$trouble")
}

# say TOKEN MESSAGE [curl options]: one JSON-RPC message to /mcp.
say() {
  local token=$1 message=$2
  shift 2
  ask "$token" POST /mcp --header 'Content-Type: application/json' --data-binary "$message" "$@"
}

observed() {
  if [ "$status" = 000 ]; then
    tr -d '[:cntrl:]' <"$trouble"
  else
    printf 'HTTP %s %s' "$status" "$(head -c 200 "$answer" | tr -d '[:cntrl:]')"
  fi
}

# The last line that a program said of its trouble.
last_words() {
  tail -n 1 "$trouble" | tr -d '[:cntrl:]'
}

list='{"jsonrpc":"2.0","id":"airlock-check","method":"tools/list"}'

# The tools that TEST_TOKEN sees; `tool` and `arguments`, of which MARKER stands for a text that comes back.
tools_list() {
  local found
  say "$TEST_TOKEN" "$list"
  if [ "$status" != 200 ]; then
    fail tools_list "$(observed)"
  elif ! judge tools <"$answer" >"$folder/tools"; then
    fail tools_list "$(cat "$folder/tools")"
  elif ! found=$(judge echo_tool "${TEST_TOOL:-}" "${TEST_ARGUMENTS:-}" <"$answer"); then
    fail tools_list "$found"
  else
    IFS=$'\t' read -r tool arguments <<<"$found"
    passed tools_list "$(wc -l <"$folder/tools") tools, $tool is one of them"
    return 0
  fi
  return 1
}

# A tool that policy forbids to TEST_TOKEN: FORBIDDEN_TOOL, or an echo tool that only ADMIN_TOKEN sees. Its refusal;
# what the log says of it is for `forbidden_row`.
forbidden_tool() {
  local other=${FORBIDDEN_TOOL:-} with=${FORBIDDEN_ARGUMENTS:-} said
  if [ -z "$other" ]; then
    say "$ADMIN_TOKEN" "$list"
    other=$(judge tools <"$answer" | grep -vxFf "$folder/tools" | grep -m 1 '__echo$')
    with=$arguments
  fi
  if [ -z "$other" ]; then
    unable forbidden_tool "name a tool in FORBIDDEN_TOOL that policy forbids to TEST_TOKEN, and that does no harm"
    return 1
  fi
  say "$TEST_TOKEN" "$(judge call "$other" "${with:-"{}"}" "$run")" --user-agent "$agent forbidden"
  if said=$(judge refused <"$answer"); then
    passed forbidden_tool "$other: $said"
  else
    fail forbidden_tool "$other was not refused: $(observed)"
    return 1
  fi
}

# rows WHAT: the deciding rows of the calls that said so in their User-Agent, as JSON on standard output.
rows() {
  airlock audit query "${config[@]}" --json "
    SELECT e.chain_uid, e.seq, e.decision, e.reason, e.resource, e.subject
    FROM audit_events e JOIN audit_log l ON l.id = e.id JOIN audit_personal p ON p.n = l.n
    WHERE e.timestamp >= datetime('now', '-10 minutes') AND e.event_type = 'call' AND e.phase <> 'intent'
      AND json_extract(p.data, '\$.user_agent') = '$agent $1'" 2>"$trouble"
}

# row CHECK WHAT VERB: the one row of a call, judged by VERB; its chain and number into `row`.
row() {
  rows "$2" >"$answer"
  if [ ! -s "$answer" ]; then
    unable "$1" "$(last_words)"
  elif row=$(judge "$3" <"$answer"); then
    passed "$1" "$row"
    return 0
  else
    fail "$1" "$row"
  fi
  return 1
}

# A canary for every configured detector goes to the echo tool; none may come back.
canaries() {
  local detector secret message said code made=0
  judge canaries "$tool" "$arguments" "${AIRLOCK_CONFIG:-}" </dev/null >"$folder/canaries"
  case $? in
    0) ;;
    1) fail canary "$(cat "$folder/canaries")" && return ;;
    *) unable canary "$(cat "$folder/canaries")" && return ;;
  esac
  while IFS=$'\t' read -r detector secret message; do
    say "$TEST_TOKEN" "$message"
    said=$(judge canary "$detector" "$secret" <"$answer")
    code=$?
    case $code in
      0) made=$((made + 1)) ;;
      1) fail canary "$detector: $said" ;;
      *) unable canary "$detector: $said: $(observed)" ;;
    esac
  done <"$folder/canaries"
  [ "$made" -eq 0 ] || passed canary "$made kinds did not come back"
}

# verified CHECK [options of the command]: what `airlock audit verify` says, its report into the file `answer`.
verified() {
  local check=$1 code said
  shift
  timeout "$patience" airlock audit verify "${config[@]}" "$@" --json >"$answer" 2>"$trouble"
  code=$?
  if [ "$code" -eq 124 ]; then
    unable "$check" "the log was not verified within $patience s"
  elif [ ! -s "$answer" ]; then
    unable "$check" "$(last_words)"
  elif said=$(judge report <"$answer"); then
    passed "$check" "$said"
  elif [ "$code" -eq 1 ]; then
    fail "$check" "$said"
  else
    unable "$check" "$said"
  fi
}
