"""The mix of calls, and that both generators make the same ones."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from contextlib import closing
from pathlib import Path

from bench import calls

SCRIPT = Path(calls.__file__).with_name("call.lua")
TOKENS = [f"token{number}" for number in range(7)]


def split(request: bytes) -> tuple[dict[str, str], bytes]:
    """The fields that are ours, and the body."""
    head, _, body = request.partition(b"\r\n\r\n")
    fields = (line.partition(": ") for line in head.decode().splitlines()[1:])
    return {name.lower(): value for name, _, value in fields}, body


def heard_from_wrk(folder: Path, count: int) -> list[bytes]:
    """The first requests of a wrk with one connection."""
    tokens = folder / "tokens"
    tokens.write_text("\n".join(TOKENS) + "\n")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(30)
        port = server.getsockname()[1]
        environment = {**os.environ, "BENCH_TOKENS": str(tokens), "BENCH_PORT": str(port)}
        command = ["wrk", "-t1", "-c1", "-d60s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}/mcp"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as wrk:
            try:
                return answered(server, count)
            finally:
                wrk.kill()


def answered(server: socket.socket, count: int) -> list[bytes]:
    found: list[bytes] = []
    while not found:  # wrk tries the address with a connection of its own, which it closes
        connection, _ = server.accept()
        with closing(connection):
            connection.settimeout(30)
            while len(found) < count and (request := one_request(connection)):
                found.append(request)
                body = b'{"text":"nothing found"}'
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return found


def one_request(connection: socket.socket) -> bytes:
    data = b""
    while True:
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if length and len(body) == int(length[1]):
            return data
        more = connection.recv(65536)
        if not more:
            return b""
        data += more


def test_a_third_is_sensitive_and_half_of_each_is_modern() -> None:
    kinds = [(calls.tool(number), calls.is_modern(number)) for number in range(600)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        (calls.SENSITIVE, True): 100,
        (calls.SENSITIVE, False): 100,
        (calls.HARMLESS, True): 200,
        (calls.HARMLESS, False): 200,
    }


def test_arguments_are_unique_and_principals_take_turns() -> None:
    requests = [split(calls.request(number, port=1, tokens=TOKENS)) for number in range(70)]
    assert len({json.dumps(json.loads(body)["params"]["arguments"]) for _, body in requests}) == 70
    assert [fields["authorization"] for fields, _ in requests] == [f"Bearer {token}" for token in TOKENS * 10]


def test_both_generators_make_the_same_calls(tmp_path: Path) -> None:
    heard = heard_from_wrk(tmp_path, 12)
    port = int(split(heard[0])[0]["host"].rpartition(":")[2])
    first = json.loads(split(heard[0])[1])[
        "id"
    ]  # wrk makes calls that it does not send, to see what they are
    ours = [split(calls.request(number, port=port, tokens=TOKENS)) for number in range(first, first + 12)]
    assert [split(request) for request in heard] == ours
