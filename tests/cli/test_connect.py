"""`airlock connect` as a client starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from airlock.cli.connect import connect
from airlock.mcp.eras import VERSION_KEY
from tests.system.recorder import Recorder

MODERN: dict[str, Any] = {
    VERSION_KEY: "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(connect)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["ftp://localhost/", "--token", "t"], "begins with http:// or https://"),
        (["http://gate.example/mcp", "--token", "t"], "plain http to another machine"),
        (["http://localhost:1/mcp"], "no token: give --token-file, or set AIRLOCK_TOKEN"),
        (["http://localhost:1/mcp", "--token-file", "/nowhere/token"], "the token cannot be read"),
        (["https://gate.example/mcp", "--token", "t", "--ca-file", "/nowhere/ca.pem"], "No such file"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRLOCK_TOKEN", raising=False)
    result = run(*arguments)
    assert (result.exit_code, why in result.stderr, result.stdout) == (2, True, "")


def test_a_token_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff")
    assert run("http://localhost:1/mcp", "--token-file", tmp_path / "token").exit_code == 2


def ask(number: int) -> bytes:
    message: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/list",
        "params": {"_meta": MODERN},
    }
    return json.dumps(message).encode() + b"\n"


class Shim:
    """The program with its pipes."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airlock.cli", "connect", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
        )

    def __enter__(self) -> Shim:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def answer(self, line: bytes) -> dict[str, object]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def leave(self, last: bytes) -> tuple[list[dict[str, object]], int]:
        """Say the last words and close; what is answered then, and the exit code."""
        out, _ = self.process.communicate(last, timeout=60)
        return [json.loads(line) for line in out.splitlines()], self.process.returncode


def test_lines_go_to_the_gateway_with_the_token_that_the_file_has_then(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with Recorder() as gateway, Shim(gateway.url, "--token-file", token) as shim:
        assert shim.answer(ask(1))["id"] == 1
        token.write_text("second\n")
        answers, code = shim.leave(ask(2).rstrip(b"\n"))
        sent = [seen.headers.get("Authorization") or seen.headers["authorization"] for seen in gateway.seen]
    assert ([answer["id"] for answer in answers], code) == ([2], 0)
    assert sent == ["Bearer first", "Bearer second"]


def test_a_gateway_that_is_away_and_a_token_that_is_gone_are_answered(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    with Shim("http://127.0.0.1:1/mcp", "--token-file", token) as shim:
        away = json.dumps(shim.answer(ask(1)))
        token.unlink()
        (gone,), code = shim.leave(ask(2))
    assert "The gateway does not answer: no connection" in away
    assert "the token cannot be read" in json.dumps(gone)
    assert code == 0
