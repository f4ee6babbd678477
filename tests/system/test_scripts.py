"""The checking scripts, run as operators run them: on a gateway that works, and on what does not."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.deployment import Deployment, free_port
from tests.system.recorder import Recorder

ROOT = Path(__file__).parents[2]
WATCHED = ["email", "aws_key"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    servers = [
        {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True},
        {"name": "high", "transport": "http", "url": upstream.url, "sensitivity": "high"},
    ]
    folder = tmp_path_factory.mktemp("scripts")
    with Deployment(folder, servers, redaction={"detectors": WATCHED}) as deployment:
        yield deployment


def script(gateway: Deployment, name: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    usual = {
        "AIRLOCK_URL": gateway.url,
        "AIRLOCK_CONFIG": str(gateway.config),
        "TEST_TOKEN": gateway.token("synthetic", roles=["viewer"]),
        "ADMIN_TOKEN": gateway.token("olga", roles=["admin"]),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_PROXY": "*",
    }
    done = subprocess.run(
        [ROOT / "scripts" / f"{name}-test.sh"],
        cwd=gateway.folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**os.environ, **usual, **variables},
    )
    return done.returncode, done.stdout, done.stderr


def native(gateway: Deployment, name: str, **variables: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of `airlock verify NAME --json`."""
    usual = {
        "AIRLOCK_URL": gateway.url,
        "TEST_TOKEN": gateway.token("synthetic", roles=["viewer"]),
        "ADMIN_TOKEN": gateway.token("olga", roles=["admin"]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "airlock.cli", "verify", name, "--json", "--config", gateway.config],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**os.environ, **usual, **variables},
    )
    return done.returncode, json.loads(done.stdout)


def results(answer: dict[str, Any], result: str) -> dict[str, str]:
    return {check["check"]: check["observed"] for check in answer["checks"] if check["result"] == result}


def failed(output: str) -> dict[str, str]:
    """What was observed, by the check that failed; the last where one failed twice."""
    return dict(re.findall(r"^FAIL ([a-z_0-9]+): (.+)$", output, re.MULTILINE))


def passed(output: str) -> set[str]:
    return set(re.findall(r"^ok   ([a-z_0-9]+): ", output, re.MULTILINE))


def test_the_way_of_a_call_through_a_gateway_that_works(gateway: Deployment) -> None:
    code, output, errors = script(gateway, "e2e")
    assert (code, failed(output), errors) == (0, {}, ""), output
    assert passed(output) == {
        "live", "ready", "upstreams", "tools_list", "call", "forbidden_tool", "forbidden_row", "canary",
        "audit_row", "audit_verify",
    }  # fmt: skip


def test_the_native_command_gives_the_same_answer_and_its_rows_say_what_they_are(gateway: Deployment) -> None:
    code, answer = native(gateway, "e2e")
    assert (code, answer["exit"], results(answer, "fail")) == (0, 0, {})
    chain, seq, *_ = results(answer, "ok")["audit_row"].split()
    with closing(sqlite3.connect(gateway.data / "audit.db", timeout=30)) as db:
        ask = (
            "SELECT resource, json_extract(metadata, '$.synthetic') FROM audit_log"
            " WHERE chain_uid = ? AND seq = ?"
        )
        assert db.execute(ask, (chain, int(seq))).fetchone() == ("mcp://airlock/echo", 1)


def test_what_could_not_be_tried_is_three(gateway: Deployment) -> None:
    code, answer = native(gateway, "security", ADMIN_TOKEN=gateway.token("synthetic", roles=["viewer"]))
    assert (code, answer["exit"], results(answer, "fail")) == (3, 3, {})
    assert set(results(answer, "untried")) == {"routes"}


def test_another_subject_is_checked_by_the_tools_of_a_server(gateway: Deployment) -> None:
    token = gateway.token("probe", roles=["viewer"])
    code, answer = native(gateway, "e2e", TEST_TOKEN=token, TEST_SUBJECT="probe")
    assert (code, results(answer, "fail"), results(answer, "untried")) == (0, {}, {})
    good = results(answer, "ok")
    assert good["call"] == "low__echo answered"
    assert good["forbidden_tool"].startswith("high__echo: ")


def test_a_policy_that_refuses_nothing_is_found(gateway: Deployment) -> None:
    code, answer = native(gateway, "e2e", TEST_TOKEN=gateway.token("synthetic", roles=["admin"]))
    assert code == 1
    assert results(answer, "fail")["forbidden_tool"].startswith("airlock__guarded was not refused: HTTP 200")


def test_nobody_else_finds_the_tool_of_the_checks(gateway: Deployment) -> None:
    answer = gateway.call("airlock__echo", {"text": "x"}, gateway.token("alice"))
    assert answer.json["error"]["message"] == "Unknown tool: airlock__echo"


def test_the_doors_of_a_gateway_that_works(gateway: Deployment) -> None:
    code, output, errors = script(gateway, "security")
    assert (code, failed(output), errors) == (0, {}, ""), output
    assert passed(output) == {
        "tools_list", "routes", "wrong_audience", "expired", "alg_none", "bad_host", "bad_origin",
        "duplicate_key", "forbidden_tool", "forbidden_row", "canary", "audit_verify",
    }  # fmt: skip
    admin = {"Authorization": f"Bearer {gateway.token('olga', roles=['admin'])}"}
    doors = gateway.get("/admin/routes", admin).json["routes"]
    assert f"ok   routes: {len(doors)} are shut or public by declaration" in output


def test_a_gateway_that_is_fast_enough(gateway: Deployment) -> None:
    run: tuple[int, str, str] = (-1, "", "")
    for _ in range(3):  # the machine may stand still for a moment
        run = script(gateway, "performance", RATE="10", DURATION_S="3", P95_MS="5000")
        if run[0] == 0:
            break
    assert run[0] == 0, run
    assert "30 calls of airlock__echo" in run[1]
    assert re.search(r"^p50 [0-9.]+ ms, p95 [0-9.]+ ms, p99 [0-9.]+ ms", run[1], re.MULTILINE)


def test_a_slow_tool_is_found(gateway: Deployment) -> None:
    code, output, _ = script(gateway, "performance", TEST_TOOL="low__slow", RATE="5", DURATION_S="1")
    assert code == 1
    assert "p95" in failed(output)
    assert "errors" not in failed(output)


def test_a_quick_refusal_is_no_quick_answer(gateway: Deployment) -> None:
    code, output, _ = script(
        gateway,
        "performance",
        TEST_TOKEN=gateway.token("synthetic", roles=["developer"]),
        TEST_TOOL="high__echo",
        RATE="10",
        DURATION_S="1",
    )
    assert code == 1
    assert failed(output)["errors"] == "10 of 10 calls: 10 x refused: 40303 approval_required"
    assert failed(output)["p95"].startswith("no answer")


def test_a_server_that_fails_is_found(gateway: Deployment, upstream: Recorder) -> None:
    upstream.errors["echo"] = {"code": -32000, "message": "out of order"}
    try:
        code, output, _ = script(gateway, "e2e", TEST_TOOL="low__echo", FORBIDDEN_TOOL="low__nothing")
    finally:
        del upstream.errors["echo"]
    assert code == 1
    assert "out of order" in failed(output)["call"]
    assert {"live", "ready", "tools_list"} <= passed(output)
    # That a tool is refused which does not exist proves nothing of policy.
    assert failed(output)["forbidden_row"].endswith("deny unknown_tool")


def test_a_canary_that_comes_back_and_a_tool_that_is_not_forbidden_are_found(gateway: Deployment) -> None:
    expecting = gateway.folder / "expecting.yaml"
    expecting.write_text(yaml.safe_dump({**gateway.sections, "redaction": {"detectors": [*WATCHED, "iban"]}}))
    code, output, _ = script(gateway, "e2e", AIRLOCK_CONFIG=str(expecting), FORBIDDEN_TOOL="low__progress")
    assert code == 1
    assert set(failed(output)) == {"canary", "forbidden_tool"}
    assert failed(output)["canary"] == "iban: it came back"
    assert failed(output)["forbidden_tool"].startswith("low__progress was not refused: HTTP 200")


@contextmanager
def edited(database: Path) -> Generator[None]:
    """One record says something else than it did, past the guards against accidents."""
    change = "UPDATE audit_log SET decision = ? WHERE n = ?"
    with closing(sqlite3.connect(database, timeout=30)) as db:
        guards = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        [n] = db.execute("SELECT MIN(n) FROM audit_log WHERE decision = 'allow'").fetchone()
        with db:
            for name, _ in guards:
                db.execute(f"DROP TRIGGER {name}")
            db.execute(change, ("deny", n))
        try:
            yield
        finally:
            with db:
                db.execute(change, ("allow", n))
                for _, sql in guards:
                    db.execute(sql)


def test_an_edited_log_is_found(gateway: Deployment) -> None:
    gateway.call("low__echo", {"text": "x"}, gateway.token("edith"))
    gateway.recorded("subject = 'edith' AND decision = 'allow'")
    with edited(gateway.data / "audit.db"):
        code, output, _ = script(gateway, "security")
    assert code == 1
    assert "V-COLUMN" in failed(output)["audit_verify"]


class Open(BaseHTTPRequestHandler):
    """A gateway with every door open: whatever is asked, by whomever, is answered with a list of tools."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        tool = {"name": "x__echo", "inputSchema": {"properties": {"text": {"type": "string"}}}}
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": "airlock-check", "result": {"tools": [tool]}}
        if self.path == "/admin/routes":
            answer = {"routes": [{"method": "GET", "path": "/admin/{id}", "auth": "admin"}]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def everything_open() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Open) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


def test_every_open_door_is_named(gateway: Deployment, everything_open: str) -> None:
    code, output, _ = script(gateway, "security", AIRLOCK_URL=everything_open, FORBIDDEN_TOOL="x__other")
    assert code == 1
    assert set(failed(output)) == {
        "routes", "wrong_audience", "expired", "alg_none", "bad_host", "bad_origin", "duplicate_key",
        "forbidden_tool",
    }  # fmt: skip
    assert failed(output)["routes"].startswith("GET /admin/nothing without credentials: HTTP 200")


def test_where_nothing_listens_it_does_not_live(gateway: Deployment) -> None:
    code, output, _ = script(gateway, "e2e", AIRLOCK_URL=f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert set(failed(output)) == {"live"}


@pytest.mark.parametrize(
    ("name", "variables", "why"),
    [
        ("e2e", {"TEST_TOKEN": ""}, "TEST_TOKEN is not set"),
        ("performance", {"AIRLOCK_URL": ""}, "AIRLOCK_URL is not set"),
        ("security", {"ADMIN_TOKEN": ""}, "ADMIN_TOKEN is not set"),
        ("e2e", {"TEST_TOKEN": "x"}, "no signed token of three parts"),
        ("e2e", {"TEST_SUBJECT": "alice"}, "speaks for synthetic, not for alice"),
        ("performance", {"RATE": "51"}, "at most 50 calls a second"),
        ("performance", {"DURATION_S": "soon"}, "DURATION_S is no positive number: soon"),
        ("performance", {"AIRLOCK_URL": "localhost:8080"}, "AIRLOCK_URL is no address of a gateway"),
        ("e2e", {"TEST_ARGUMENTS": "text"}, "TEST_ARGUMENTS is no JSON object"),
    ],
)
def test_what_cannot_run_says_why(
    gateway: Deployment, name: str, variables: dict[str, str], why: str
) -> None:
    code, output, errors = script(gateway, name, **variables)
    assert (code, failed(output)) == (2, {})
    assert why in errors


def test_what_is_not_tried_is_not_called_good(gateway: Deployment) -> None:
    """No log to read, no tool that only an administrator sees."""
    nobody = gateway.token("probe", roles=["viewer"])
    code, output, errors = script(
        gateway,
        "e2e",
        TEST_SUBJECT="probe",
        TEST_TOKEN=nobody,
        ADMIN_TOKEN=nobody,
        AIRLOCK_CONFIG="/nonexistent.yaml",
    )
    assert (code, failed(output)) == (2, {})
    assert "name a tool in FORBIDDEN_TOOL" in errors
    assert "could not run audit_row: /nonexistent.yaml" in errors
    assert "could not run canary" in errors


def test_the_format_for_curl_tells_every_time(gateway: Deployment) -> None:
    told = subprocess.run(
        ["curl", "-s", "-o", os.devnull, "-w", "@curl-format.txt", f"{gateway.url}/live"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "NO_PROXY": "*"},
    ).stdout
    names = ("namelookup", "connect", "appconnect", "pretransfer", "redirect", "starttransfer", "total")
    expected = [*(f"time_{name}" for name in names), "http_code"]
    assert [line.partition(":")[0] for line in told.splitlines()] == expected
    assert told.endswith("\nhttp_code: 200\n")
