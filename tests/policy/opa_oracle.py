"""Real OPA behind standard input and output: one JSON request a line, one JSON answer a line.

Runs under the interpreter of `.parts/opa-venv`, never under the test's own: OPA's Go runtime does not survive
a fork. Requests: {"load": {"modules": {path: text}, "data": {...}}} answers {} or {"error": text};
{"path": "airlock.decision", "inputs": [...]} answers {"results": [...]}, each {"value": v}, {} when undefined,
or {"error": text}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from opa_bindings import OpaEngine, OpaError, OpaUndefinedError


def load(modules: dict[str, str], data: dict[str, Any]) -> OpaEngine:
    engine = OpaEngine()
    for path, text in modules.items():
        engine.add_policy(path, text)
    engine.add_data(data)
    return engine


def evaluate(engine: OpaEngine, path: str, question: Any) -> dict[str, Any]:
    try:
        return {"value": engine.eval_document(path, question)}
    except OpaUndefinedError:
        return {}
    except OpaError as error:
        return {"error": error.message}


def main() -> None:
    engine = OpaEngine()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "load" in request:
                engine = load(**request["load"])
                answer: dict[str, Any] = {}
            else:
                answer = {"results": [evaluate(engine, request["path"], i) for i in request["inputs"]]}
        except OpaError as error:
            answer = {"error": error.message}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


main()
