"""Checks from outside: what they need is found or made, and every answer is judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from airlock.app import verifying
from airlock.core.config import AuthSection, Config, EdgeTls, ServerSection
from airlock.identity.jws import take_apart
from airlock.identity.local import LocalIssuer
from tests.system.deployment import free_port

READY = {"ready": True, "components": {"policy": {"state": "ok", "reason": ""}}}
DEGRADED = {"ready": True, "components": {"upstreams": {"state": "degraded", "reason": "files is down"}}}
LOST = {"ready": False, "components": {"audit": {"state": "failed", "reason": "disk full"}}}


class Gateway(ThreadingHTTPServer):
    """Answers public addresses with what a test says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, bytes]] = {}

    @property
    def config(self) -> Config:
        return Config(server=ServerSection(port=self.server_address[1]))


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Gateway)
        status, body = self.server.answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("check", "status", "body", "passed"),
    [
        ("live", 200, b'{"status":"alive"}', True),
        ("live", 503, b'{"status":"stalled"}', False),
        ("live", 200, b'{"status":"stalled"}', False),
        ("ready", 200, json.dumps(READY).encode(), True),
        ("ready", 200, json.dumps(DEGRADED).encode(), True),
        ("ready", 503, json.dumps(LOST).encode(), False),
        ("ready", 200, b"a proxy", False),
        ("metrics", 200, b"# HELP a b\nairlock_up 1\n", True),
        ("metrics", 200, b"", False),
        ("metrics", 200, b"<html>\n", False),
    ],
)
def test_an_address_is_judged_by_what_it_says(
    gateway: Gateway, check: verifying.Name, status: int, body: bytes, passed: bool
) -> None:
    gateway.answers = {f"/{check}": (status, body)}
    found = verifying.run(check, gateway.config, {}, None)
    assert (found.passed, found.exit) == (passed, 0 if passed else 1)
    assert f"HTTP {status}" in found.seen[0].observed


def test_what_does_not_answer_is_not_green() -> None:
    found = verifying.run("live", Config(server=ServerSection(port=free_port())), {}, None)
    assert (found.exit, "does not answer" in found.seen[0].observed) == (1, True)


def test_an_unreadable_certificate_is_no_answer(tmp_path: Path) -> None:
    tls = EdgeTls(cert_file=str(tmp_path / "none"), key_file=str(tmp_path / "none"))
    found = verifying.run("live", Config(server=ServerSection(tls=tls)), {}, None)
    assert (found.passed, found.seen[0].result) == (False, "untried")


def test_a_suite_that_cannot_run_is_not_green(tmp_path: Path) -> None:
    found = verifying.suite("e2e", {}, tmp_path / "none.yaml")
    assert (found.exit, found.passed, found.seen[0].result) == (2, False, "untried")
    assert "AIRLOCK_URL is not set" in found.seen[0].observed


def test_a_suite_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "PATIENCE", 0.001)
    found = verifying.suite("e2e", {}, None)
    assert (found.exit, "timed out" in found.seen[0].observed) == (2, True)


def test_the_answer_of_a_suite_is_kept_with_its_digest() -> None:
    output = msgspec.json.encode(
        {"exit": 3, "checks": [{"check": "routes", "result": "untried", "observed": "x" * 999}], "notes": []}
    )
    found = verifying.read("security", 3, output)
    assert (found.exit, found.passed, len(found.seen[0].observed)) == (3, False, verifying.SHOWN)
    assert found.digest == hashlib.sha256(output).hexdigest()
    for unreadable in (b"not JSON", b"[]", b'{"exit": 0}'):
        assert verifying.read("security", 0, unreadable).exit == 2


def test_tokens_of_the_local_issuer_are_made_where_none_are_given(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path))
    LocalIssuer.open(tmp_path, config.server.public_url)
    around = verifying.surroundings(config, {"PATH": "/bin", "TEST_TOOL": ""})
    assert around["PATH"] == "/bin"
    assert "TEST_TOOL" not in around
    claims = {name: take_apart(around[name]).payload for name in ("TEST_TOKEN", "ADMIN_TOKEN")}
    assert [(each["sub"], each["roles"]) for each in claims.values()] == [
        ("synthetic", ["viewer"]), ("airlock", ["admin"])
    ]  # fmt: skip
    assert (around["AIRLOCK_URL"], around["AIRLOCK__DATA_DIR"]) == ("http://127.0.0.1:8080", str(tmp_path))


def test_what_is_given_is_taken(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path))
    given = {"TEST_TOKEN": "t", "AIRLOCK_URL": "http://else", "AIRLOCK_CONFIG": "x"}
    around = verifying.surroundings(config, given, admin="a")
    assert around == {**given, "ADMIN_TOKEN": "a"}
    file = verifying.surroundings(config, {}, file=Path("airlock.yaml"))
    assert "AIRLOCK__DATA_DIR" not in file
    assert "TEST_TOKEN" not in file, "there is no key, and none is made"


def test_a_gateway_without_a_local_issuer_gets_no_token_from_here(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path), auth=AuthSection(local_issuer=False))
    assert "TEST_TOKEN" not in verifying.surroundings(config, {})
    tls = EdgeTls(cert_file="c", key_file="k")
    secure = msgspec.structs.replace(config, server=ServerSection(tls=tls, public_url="https://gw.example"))
    assert verifying.surroundings(secure, {})["AIRLOCK_URL"] == "https://gw.example"
