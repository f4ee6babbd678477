"""A stand-in for the program `opa`, whose binaries no package registry has: `fmt FILE` and `test FILE`.

Parser, compiler and evaluator are OPA's own, by its library; runs under the interpreter of `.parts/opa-venv`.
`fmt` knows of layout only tabs, blanks at the ends of lines, and the end of the file.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

opa: Any = import_module("opa_bindings")  # by name: it is in no environment that type checkers see

UNKNOWN = 91
PACKAGE = re.compile(r"^package\s+([\w.]+)", re.MULTILINE)
TEST = re.compile(r"^(test_\w+)\b", re.MULTILINE)


def load(path: str) -> Any:
    engine = opa.OpaEngine()
    engine.add_policy(path, Path(path).read_text())
    return engine


def fmt(path: str) -> int:
    load(path).eval_query("true", {})
    lines = [line.rstrip() for line in Path(path).read_text().splitlines()]
    laid = [re.sub(r"^(?: {4}|\t)+", lambda m: "\t" * (len(m[0].expandtabs(4)) // 4), line) for line in lines]
    sys.stdout.write("\n".join(laid).rstrip("\n") + "\n")
    return 0


def test(path: str) -> int:
    engine, text = load(path), Path(path).read_text()
    package = PACKAGE.search(text)
    names = list(dict.fromkeys(TEST.findall(text)))
    failed = [name for name in names if package is None or not holds(engine, f"{package[1]}.{name}")]
    for name in failed:
        sys.stdout.write(f"data.{package[1] if package else ''}.{name}: FAIL\n")
    sys.stdout.write("-" * 80 + "\n" if failed else "")
    if names:
        sys.stdout.write(f"PASS: {len(names) - len(failed)}/{len(names)}\n")
    if failed:
        sys.stdout.write(f"FAIL: {len(failed)}/{len(names)}\n")
    return 2 if failed else 0


def holds(engine: Any, path: str) -> bool:
    try:
        return engine.eval_document(path, {}) is True
    except opa.OpaUndefinedError:
        return False


def main(words: list[str]) -> int:
    known = {"fmt": fmt, "test": test}
    if len(words) != 2 or words[0] not in known:
        sys.stderr.write(f"opa of the harness: unknown: {' '.join(words)}\n")
        return UNKNOWN
    try:
        return known[words[0]](words[1])
    except opa.OpaError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
