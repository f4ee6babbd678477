"""Attacks that once worked, against a real gateway: each stays here with its benign twin."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.system.deployment import Deployment
from tests.system.recorder import Recorder


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    servers = [
        {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True},
        {"name": "merger", "transport": "http", "url": "http://127.0.0.1:9/mcp", "tenant": "other"},
    ]
    deployment = Deployment(tmp_path_factory.mktemp("attacks"), servers)
    deployment.expected = "degraded"
    with deployment:
        yield deployment


def raw(gateway: Deployment, data: bytes) -> bytes:
    """Everything that comes back for these bytes, until the other side closes or two seconds are silent."""
    with closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=2)) as peer:
        peer.sendall(data)
        answer = b""
        try:
            while piece := peer.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def test_the_callers_token_is_no_argument(gateway: Deployment, upstream: Recorder) -> None:
    token = gateway.token("leaky")
    signature = token.rpartition(".")[2]
    for text in (token, f"prefix {signature}"):
        assert (
            gateway.call("low__echo", {"text": text}, token).refusal["policy_reason"]
            == "credential_in_arguments"
        )
    assert "fine" in gateway.call("low__echo", {"text": "fine"}, token).text
    assert signature.encode() not in b"".join(seen.body for seen in upstream.seen)


def test_the_callers_token_is_no_user_agent(gateway: Deployment) -> None:
    token = gateway.token("agent")
    gateway.call("low__echo", {"text": "x"}, token, headers={"User-Agent": f"me/{token}"})
    gateway.recorded("subject='agent'")
    journal = b"".join(path.read_bytes() for path in gateway.data.glob("journal/*/*.seg"))
    assert token.rpartition(".")[2].encode() not in journal


def test_readiness_names_nobodys_servers(gateway: Deployment) -> None:
    answer = gateway.get("/ready")
    assert b"merger" not in answer.body
    assert answer.json["components"]["upstreams"]["reason"] == "1 of 2 servers are not ready"


@pytest.mark.parametrize("field", [b"Host: localhost", b"Authorization: Bearer x", b"X: " + b"y" * 70_000])
def test_trailers_are_no_headers(gateway: Deployment, field: bytes) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost:{gateway.port}\r\nContent-Type: application/json\r\n"
    chunked = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(body), body)
    assert raw(gateway, chunked + b"\r\n").startswith(b"HTTP/1.1 401")
    assert raw(gateway, chunked + field + b"\r\n\r\n") == b""


def test_requests_that_wait_for_answers_nobody_reads_are_few(gateway: Deployment) -> None:
    one = f"GET /live HTTP/1.1\r\nHost: localhost:{gateway.port}\r\n\r\n".encode()
    assert raw(gateway, one * 3).count(b"HTTP/1.1 200") == 3
    assert raw(gateway, one * 2000).count(b"HTTP/1.1 200") < 100
