"""Values that no answer and no log may show: a person's and a secret, made up, with valid checksums."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.facts import Facts, prove
from tests.system.recorder import Recorder

CANARIES = {
    "email": "canary.person@example.org",
    "ssn": "536-22-8726",
    "credit_card": "4111 1111 1111 1111",
    "iban": "GB82 WEST 1234 5698 7654 32",
    "aws_key": "AKIA" + "QYLPMN5HHHFPZAM2",
}
"""A value of each kind, by the name that detectors have."""


@contextmanager
def canary_in_result(
    recorder: Recorder, tool: str, canaries: Mapping[str, str] = CANARIES
) -> Generator[Facts]:
    """F11: every answer of this tool of the server contains them."""
    text = " ".join(f"[{name}: {value}]" for name, value in canaries.items())
    before = recorder.results.get(tool)
    recorder.results[tool] = result = {"content": [{"type": "text", "text": text}]}
    try:
        said = _ask(recorder, tool)
        prove(all(value in said for value in canaries.values()), "every canary in an answer of the server")
        proof = f"asked directly, the server answers with {len(canaries)} canaries"
        yield Facts(fault="F11", proof=proof, values={"canaries": dict(canaries), "result": result})
    finally:
        if before is None:
            del recorder.results[tool]
        else:
            recorder.results[tool] = before


@contextmanager
def canary_in_log(file: Path, canaries: Mapping[str, str] = CANARIES) -> Generator[Facts]:
    """F11l: a line of this log file has them in a field. The line is blanked when left: others append."""
    fields = {"timestamp": "2000-01-01T00:00:00.000000Z", "level": "info", "event": "lifecycle"}
    said = {**fields, "component": "canary", "correlation_id": uuid.uuid4().hex, "what": dict(canaries)}
    line = json.dumps(said).encode() + b"\n"
    with file.open("ab") as log:
        log.write(line)
    try:
        prove(line in file.read_bytes(), "the line with the canaries")
        proof = f"{file.name} has a line with {len(canaries)} canaries"
        yield Facts(fault="F11l", proof=proof, values={"canaries": dict(canaries), "file": str(file)})
    finally:
        with file.open("r+b") as log:
            log.seek(log.read().index(line))
            log.write(b"\n" * len(line))


def _ask(recorder: Recorder, tool: str) -> str:
    """The answer of the server itself, past the gateway."""
    params: dict[str, Any] = {"name": tool, "arguments": {}}
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": "canary", "method": "tools/call", "params": params}
    request = urllib.request.Request(recorder.url, json.dumps(message).encode())  # noqa: S310 - a loopback port
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.read().decode()
