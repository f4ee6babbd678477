#!/usr/bin/env bash
# Every check that runs no test. All of them run, so that one look shows everything; the exit code is honest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
export PATH="$PWD/.venv/bin:$PATH" NO_MKDOCS_2_WARNING=1 # a banner of the theme, no warning of ours
failed=()

check() {
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || failed+=("$name")
}

check format ruff format --check .
check lint ruff check .
check types pyright
check layers lint-imports --no-logo
check documents mkdocs build --strict --quiet --site-dir .cache/site
check shell shellcheck scripts/*.sh .ci/run

if [ "${#failed[@]}" -gt 0 ]; then
  printf '\ncheck: failed: %s\n' "${failed[*]}"
  exit 1
fi
printf '\ncheck: all green\n'
