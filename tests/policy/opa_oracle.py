"""Real OPA behind standard input and output: one JSON request a line, one JSON answer a line.

Runs under the interpreter of `.parts/opa-venv`, never under the test's own: OPA's Go runtime does not survive
a fork. Requests: {"load": {"modules": {path: text}, "data": {...}}} answers {} or {"error": text};
{"path": "airlock.decision", "inputs": [...]} answers {"results": [...]}, each {"value": v}, {} when
undefined, or {"error": text}.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

opa: Any = import_module("opa_bindings")  # by name: it is in no environment that type checkers see


def load(modules: dict[str, str], data: dict[str, Any]) -> Any:
    engine = opa.OpaEngine()
    for path, text in modules.items():
        engine.add_policy(path, text)
    engine.add_data(data)
    return engine


def evaluate(engine: Any, path: str, question: Any) -> dict[str, Any]:
    try:
        return {"value": engine.eval_document(path, question)}
    except opa.OpaUndefinedError:
        return {}
    except opa.OpaError as error:
        return {"error": error.message}


def main() -> None:
    engine = opa.OpaEngine()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "load" in request:
                engine = load(**request["load"])
                answer: dict[str, Any] = {}
            else:
                answer = {"results": [evaluate(engine, request["path"], i) for i in request["inputs"]]}
        except opa.OpaError as error:
            answer = {"error": error.message}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


main()
