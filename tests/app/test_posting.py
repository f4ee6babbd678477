"""Posting to real servers on loopback: what arrives, and every way in which nothing does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from airlock.app.posting import Posting
from airlock.core.clock import SYSTEM
from airlock.core.incident_config import TargetEntry
from airlock.incident.comms import outgoing, payloads
from airlock.incident.comms.outgoing import Text
from airlock.incident.comms.payloads import Post, Verdict
from tests.incident.comms.example import INCIDENT, NOW


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it got; `/no` answers 404."""

    got: ClassVar[list[tuple[str, dict[str, str], Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(404 if self.path == "/no" else 200)
        self.end_headers()
        self.wfile.write(str(self.headers["authorization"]).encode() if self.path == "/echo" else b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def deliver(target: TargetEntry) -> Verdict:
    text = Text(subject="Subject", body="Body")
    (message,) = outgoing.notices(INCIDENT, "team", text, occasion="o", targets=[target], by="alice", now=NOW)
    return asyncio.run(Posting(clock=SYSTEM).deliver(target, message))


def target(kind: Any = "webhook", **more: Any) -> TargetEntry:
    return TargetEntry(name="told", kind=kind, audiences=("war_room",), **more)


def test_a_webhook_arrives_with_its_signature(url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("k" * 32 + "\n")
    verdict = deliver(target(url=url + "/hook", allow_private=True, secret_file=str(secret)))
    assert verdict == Verdict(delivered=True, detail="200 ok")
    path, headers, body = Receiver.got[-1]
    assert (path, body["incident"]) == ("/hook", INCIDENT.id)
    assert headers["X-Airlock-Signature"].startswith("sha256=")


def test_a_playbook_calls_a_webhook_with_its_key_and_its_signature(url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("k" * 32 + "\n")
    hook = target(url=url + "/hook", allow_private=True, secret_file=str(secret))
    answered = asyncio.run(Posting(clock=SYSTEM).call(hook, {"step": "ask"}, key="0123"))
    assert (answered.status, answered.body) == (200, b"ok")
    _, headers, body = Receiver.got[-1]
    assert (body, headers["Idempotency-Key"]) == ({"step": "ask"}, "0123")
    assert headers["X-Airlock-Signature"].startswith("sha256=")


def test_slack_says_ok(url: str) -> None:
    assert deliver(target("slack", url=url + "/slack", allow_private=True)).delivered


def test_a_private_address_needs_permission(url: str) -> None:
    before = len(Receiver.got)
    verdict = deliver(target(url=url))
    assert not verdict.delivered
    assert len(Receiver.got) == before


def test_a_refusal_is_no_delivery(url: str) -> None:
    verdict = deliver(target(url=url + "/no", allow_private=True))
    assert (verdict.delivered, verdict.again, verdict.detail) == (False, False, "404 ok")


@pytest.mark.parametrize("bad", ["no url", "http://127.0.0.1:1", "ftp://a.example/", ""])
def test_what_cannot_be_reached_is_no_delivery(bad: str) -> None:
    assert not deliver(target(url=bad, allow_private=True)).delivered


@pytest.mark.parametrize("content", [None, b"", b"a\r\nX-Evil: 1", b"\xff", b"k" * 9000])
def test_a_secret_that_is_none_stops_the_delivery(url: str, tmp_path: Path, content: bytes | None) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    verdict = deliver(target(url=url, allow_private=True, secret_file=str(secret)))
    assert not verdict.delivered
    assert str(secret) in verdict.detail


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # one of its plug-ins
def test_apprise_delivers_and_says_when_it_cannot(url: str) -> None:
    host = url.removeprefix("http://")
    assert deliver(target("apprise", url=f"json://{host}/apprise")).delivered
    assert Receiver.got[-1][2]["message"] == "Body"
    assert not deliver(target("apprise", url=f"json://{host}/no")).delivered
    assert "no URL that Apprise knows" in deliver(target("apprise", url="unheard-of")).detail


def test_an_answer_that_repeats_the_secret_leaves_it_in_no_receipt(url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("Basic Y2FuYXJ5OmNhbmFyeQ==")
    hook = target(url=url + "/echo", allow_private=True, secret_file=str(secret))
    post = Post(url=hook.url, headers={"Authorization": secret.read_text()}, body=b"{}")

    def posted(*_: object, **__: object) -> Post:
        return post

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(payloads, "post", posted)
        assert deliver(hook).detail == "200 ***"


def test_a_service_of_apprise_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object) -> Verdict:
        release.wait(30)
        return Verdict(delivered=True, detail="late")

    async def twice() -> list[Verdict]:
        posting, mail = Posting(clock=SYSTEM), target("apprise", url="json://a.example")
        text = Text(subject="Subject", body="Body")
        (message,) = outgoing.notices(
            INCIDENT, "team", text, occasion="o", targets=[mail], by="alice", now=NOW
        )
        return [await posting.deliver(mail, message) for _ in range(2)]

    monkeypatch.setattr("airlock.app.posting._send", hang)
    monkeypatch.setattr("airlock.app.posting.PATIENCE", 0.05)
    first, second = asyncio.run(twice())
    release.set()
    assert (first.delivered, second.delivered) == (False, False)
    assert (first.detail, second.detail) == (
        "no answer within 0.05 s",
        "the try before this one has not ended",
    )
