"""The generator that does not wait: every call is timed from when it was due."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import pytest

from bench import open_loop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def request(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number


@contextmanager
def serving(answers: Iterator[tuple[float, bytes]]) -> Generator[int]:
    """A server of one connection that pauses and then answers; the connection ends with the answers."""

    def serve() -> None:
        connection, _ = server.accept()
        with closing(connection):
            for pause, answer in answers:
                if not connection.recv(65536):
                    return
                time.sleep(pause)
                connection.sendall(answer)

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join(30)


def test_arrivals_are_those_of_the_seed_and_of_the_rate() -> None:
    due = open_loop.arrivals(1000, 10, seed=1)
    assert due == open_loop.arrivals(1000, 10, seed=1) == sorted(due)
    assert due != open_loop.arrivals(1000, 10, seed=2)
    assert 9_500 < len(due) < 10_500
    assert due[0] > 0
    assert due[-1] < 10


def test_calls_that_a_stalled_server_kept_waiting_count_their_waiting() -> None:
    answers = iter([(1.0, ANSWER)] + [(0.0, ANSWER)] * 9)
    with serving(answers) as port:
        due = [number * 0.01 for number in range(10)]
        outcome = open_loop.drive(port, request, due=due, answer=b"ok", connections=1)
    assert len(outcome.latencies) == 10
    assert (
        min(outcome.latencies) > 0.8
    )  # all were due in the first tenth of the second that the first one took
    assert outcome.wrong == []


def test_an_answer_that_is_not_the_right_one_is_kept() -> None:
    refused = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nok"
    answers = iter([(0.0, ANSWER), (0.0, refused), (0.0, ANSWER.replace(b"ok", b"no"))])
    with serving(answers) as port:
        outcome = open_loop.drive(port, request, due=[0.0] * 3, answer=b"ok", connections=1)
    assert outcome.wrong == [b"503 ok", b"200 no"]


def test_a_connection_that_is_lost_ends_the_run() -> None:
    with (
        serving(iter([(0.0, ANSWER)])) as port,
        pytest.raises(RuntimeError, match="closed by the other side"),
    ):
        open_loop.drive(port, request, due=[0.0, 0.0], answer=b"ok", connections=1)


def test_answers_that_never_come_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "PATIENCE", 0.2)
    with (
        serving(iter([(0.0, ANSWER), (0.0, b""), (0.0, b"")])) as port,
        pytest.raises(RuntimeError, match="1 calls were never answered"),
    ):
        open_loop.drive(port, request, due=[0.0, 0.0], answer=b"ok", connections=1)
