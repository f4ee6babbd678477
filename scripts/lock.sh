#!/usr/bin/env bash
# Resolve every dependency anew. No lock names a host: where packages come from is the installer's business.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_PYTHON_DOWNLOADS=never
uv=$(command -v uv || echo .venv/bin/uv)
[ -x "$uv" ] || .venv/bin/python -m pip install --quiet --quiet --require-hashes --requirement requirements/uv.txt

compile() {
  "$uv" pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command 'make lock' "$@"
}

compile --python-version 3.11 pyproject.toml --output-file requirements/run.txt
compile --python-version 3.11 pyproject.toml --group dev --output-file requirements/dev.txt
echo uv | compile --python-version 3.11 - --output-file requirements/uv.txt
echo opa-golib-python-bindings | compile --python-version 3.14 - --output-file requirements/opa.txt

for folder in parts parts/inspector parts/conformance parts/sdk; do
  (
    cd "$folder"
    rm -f package-lock.json
    npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund
    # Where authors ask for donations is of no use here, and names hosts.
    python3 - <<'PROGRAM'
import json
from pathlib import Path

path = Path("package-lock.json")
lock = json.loads(path.read_text())
for package in lock["packages"].values():
    package.pop("funding", None)
path.write_text(json.dumps(lock, indent=2) + "\n")
PROGRAM
  )
done
