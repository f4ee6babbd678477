"""What a caller sees through a proxy that misbehaves, and that it is over afterwards."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.faults import Absent, Facts, Proxy
from tests.system.recorder import Recorder

CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "echo", "arguments": {"text": "hello"}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def proxy(server: Recorder) -> Iterator[Proxy]:
    with Proxy(server.url) as running:
        assert "hello" in ask(running)
        yield running
        assert "hello" in ask(running)


def ask(proxy: Proxy, timeout: float = 30) -> str:
    request = urllib.request.Request(proxy.url, json.dumps(CALL).encode())  # noqa: S310 - a loopback port
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
        return answer.read().decode()


def test_an_honest_proxy_keeps_connections_and_counts_them(proxy: Proxy) -> None:
    before = proxy.connections
    with closing(HTTPConnection("127.0.0.1", proxy.port, timeout=30)) as connection:
        for _ in range(3):
            connection.request("POST", urlsplit(proxy.url).path, json.dumps(CALL))
            assert b"hello" in connection.getresponse().read()
    assert proxy.connections == before + 1


def test_slow(proxy: Proxy) -> None:
    with proxy.slow(0.4) as facts:
        began = time.monotonic()
        assert "hello" in ask(proxy)
        assert time.monotonic() - began >= 0.4
        assert (facts.fault, facts.values) == ("F4u", {"delay": 0.4})


def test_throttled(proxy: Proxy) -> None:
    with proxy.throttled(2000) as facts:
        began = time.monotonic()
        text = ask(proxy)
        assert time.monotonic() - began >= len(text) / 4000
        assert facts.fault == "throttled"


def test_silent(proxy: Proxy) -> None:
    with proxy.silent(), pytest.raises(TimeoutError):
        ask(proxy, timeout=0.3)


def test_garbage(proxy: Proxy) -> None:
    with proxy.garbage(), pytest.raises(HTTPException):
        ask(proxy)


def test_endless(proxy: Proxy) -> None:
    with proxy.endless(), urllib.request.urlopen(proxy.url, timeout=30) as answer:  # noqa: S310
        assert len(answer.read(3_000_000)) == 3_000_000


def test_torn(proxy: Proxy) -> None:
    with proxy.torn(60), pytest.raises((HTTPException, OSError)):
        ask(proxy)


def test_torn_in_a_connection_that_would_be_kept(proxy: Proxy) -> None:
    with closing(socket.create_connection(("127.0.0.1", proxy.port), 30)) as connection:
        connection.settimeout(30)
        head = f"POST {urlsplit(proxy.url).path} HTTP/1.1\r\nhost: x\r\n"
        with proxy.torn(60):
            body = json.dumps(CALL)
            connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
            got = b""
            with pytest.raises(ConnectionResetError):
                while piece := connection.recv(60):
                    got += piece
            assert len(got) == 60


def test_down_resets_what_is_open_and_refuses_what_comes(proxy: Proxy) -> None:
    with closing(HTTPConnection("127.0.0.1", proxy.port, timeout=30)) as connection:
        connection.request("POST", urlsplit(proxy.url).path, json.dumps(CALL))
        connection.getresponse().read()
        with proxy.down() as facts:
            with pytest.raises((HTTPException, OSError)):
                connection.request("POST", urlsplit(proxy.url).path, json.dumps(CALL))
                connection.getresponse()
            with pytest.raises(urllib.error.URLError):
                ask(proxy)
            assert (facts.fault, facts.values) == ("F18", {"port": proxy.port})


@pytest.mark.parametrize("fault", ["silent", "torn"])
def test_a_fault_of_a_server_that_is_away_is_not_called_proven(fault: str) -> None:
    with Recorder() as recorder, Proxy(recorder.url) as proxy:
        recorder.close()
        entered: AbstractContextManager[Facts] = proxy.silent() if fault == "silent" else proxy.torn()
        with pytest.raises((Absent, OSError)), entered:
            pass
