#!/usr/bin/env bash
# From a fresh clone to a working place: `setup.sh run` for the demo, `setup.sh all` for tests and checks.
#
# Needs Python 3.11 or newer with venv and pip, Node.js with npm, and the two package registries. Every package
# is held to the hash in its lock. UV_PYTHON chooses the Python (`3.12`, or a path); none is ever downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/parts.sh
source scripts/parts.sh

export UV_PYTHON_DOWNLOADS=never
export PIP_DISABLE_PIP_VERSION_CHECK=1

# Prints the first interpreter that is new enough. Fails if UV_PYTHON names none.
find_python() {
  local candidate
  local candidates=(python3 python3.13 python3.12 python3.11 python)
  if [ -n "${UV_PYTHON:-}" ]; then
    candidates=("$UV_PYTHON" "python$UV_PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  fail "no Python 3.11 or newer among: ${candidates[*]} (set UV_PYTHON to one)"
}

# The interpreter may be named otherwise than before, or be gone after an upgrade of the system.
venv() {
  local python
  python=$(find_python)
  if [ -n "${UV_PYTHON:-}" ] && [ -x .venv/bin/python ]; then
    local wanted present
    wanted=$("$python" -c 'import sys; print(sys.version)')
    present=$(.venv/bin/python -c 'import sys; print(sys.version)')
    [ "$wanted" = "$present" ] || rm -rf .venv
  fi
  if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    rm -rf .venv
    say "environment for Python packages with $python"
    "$python" -m venv .venv || fail "$python cannot make environments: install its venv module (Debian: apt-get install python3-venv)"
  fi
}

# Prints the path of uv: the one on PATH, or our own, installed from its lock.
find_uv() {
  if command -v uv; then
    return
  fi
  if [ ! -x .venv/bin/uv ]; then
    .venv/bin/python -m pip install --quiet --quiet --require-hashes --requirement requirements/uv.txt 1>&2
  fi
  echo .venv/bin/uv
}

packages() {
  local stamp=.venv/.stamp now uv
  now=$(fingerprint requirements/dev.txt requirements/uv.txt pyproject.toml)
  if is_stamped "$stamp" "$now"; then
    return
  fi
  say "Python packages"
  uv=$(find_uv)
  export UV_LINK_MODE="${UV_LINK_MODE:-copy}"
  "$uv" pip install --quiet --python .venv/bin/python --require-hashes --requirement requirements/dev.txt
  "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
  echo "$now" >"$stamp"
}

venv
packages
node
if [ "${1:-all}" = all ]; then
  inspector
  conformance
  sdk
  opa
  debian
fi
