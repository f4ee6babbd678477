"""What callers and servers do when something is wrong: guessing, being caught in the middle, and load."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any, Protocol

from tests.faults.facts import Facts, prove, proven
from tests.faults.processes import state
from tests.system.deployment import Answer
from tests.system.recorder import Recorder

LEGACY = "2025-11-25"
MANY = 30
"""Guesses that nobody could overlook."""


class Door(Protocol):
    """What is asked of a gateway here: a `Deployment`."""

    def post(
        self,
        body: bytes | dict[str, Any],
        token: str | None,
        *,
        path: str = "/mcp",
        headers: Mapping[str, str] | None = None,
    ) -> Answer: ...

    def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        token: str,
        *,
        path: str = "/mcp",
        modern: bool = False,
        headers: Mapping[str, str] | None = None,
        id: str | int = 1,
    ) -> Answer: ...


@contextmanager
def failed_authentications(
    gateway: Door, *, count: int = 50, source: str = "203.0.113.7"
) -> Generator[Facts]:
    """F9: tokens that nobody issued, all from one address. The gateway must trust us as its proxy.

    Where an engine answers attacks, the last ones may meet a block already: 403. Nothing mends it: what
    happened has happened.
    """
    refused: list[int] = []
    for number in range(count):
        headers = {"X-Forwarded-For": source}
        body = {"jsonrpc": "2.0", "id": f"guess-{number}", "method": "tools/list"}
        token = f"guess.{uuid.uuid4().hex}.{number}"
        refused.append(gateway.post(body, token, headers=headers).status)
    guesses = refused.count(401)
    prove(guesses + refused.count(403) == count, f"{count} answers 401, or 403: {Counter(refused)}")
    prove(guesses >= min(count, MANY), f"{MANY} answers 401: {guesses} came")
    values = {"count": guesses, "source": source}
    yield Facts(fault="F9", proof=f"{guesses} requests from {source} were answered 401", values=values)


@contextmanager
def in_flight(gateway: Door, recorder: Recorder, token: str, *, tool: str) -> Generator[Facts]:
    """F10: an open session, and in it a call of `tool` that the server behind does not answer.

    `tool` is one of `recorder` that hangs, by its name at the gateway. Facts: `session`, `marker` (in the
    arguments of the call), `answers`, which gets the one `Answer` when the call ends after all.
    """
    session = open_session(gateway, token)
    marker, answers = uuid.uuid4().hex, list[Answer]()

    def wait() -> None:
        with suppress(OSError, HTTPException):
            answers.append(gateway.call(tool, {"text": marker}, token, headers=session))

    def arrived() -> bool:
        return any(call["params"]["arguments"].get("text") == marker for call in recorder.calls())

    caller = threading.Thread(target=wait, daemon=True)
    caller.start()
    try:
        proven(arrived, "the call at the server behind")
        prove(caller.is_alive() and not answers, "a call that is not answered")
        values = {"session": session, "marker": marker, "answers": answers, "caller": caller}
        yield Facts(fault="F10", proof=f"the call {marker} is at the server, unanswered", values=values)
    finally:
        recorder.release.set()
        caller.join(60)
        recorder.release.clear()


def open_session(gateway: Door, token: str) -> dict[str, str]:
    """The headers of a session that was opened. Raises `Absent` where none is given."""
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    answer = gateway.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}, token)
    prove("mcp-session-id" in answer.headers, f"a session: HTTP {answer.status}")
    return {"Mcp-Session-Id": answer.headers["mcp-session-id"]}


class Load:
    """Callers at a steady rate, each call with arguments of its own. `acknowledged`: the markers that came
    back in an answer; `refused`: what else came."""

    def __init__(
        self, gateway: Door, token: str, tool: str, *, rate: float = 200.0, callers: int = 4, text: str = ""
    ) -> None:
        """`rate` in calls per second of all callers together: less where the gateway is slower."""
        self._gateway, self._token, self._tool, self._text = gateway, token, tool, text
        self._pause = callers / rate
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]
        self.acknowledged: list[str] = []
        self.refused: list[Answer] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def more(self, count: int, *, within: float = 60.0) -> None:
        """Wait for so many further acknowledged calls. Raises `Absent`."""
        wanted = len(self.acknowledged) + count
        proven(lambda: len(self.acknowledged) >= wanted, f"{count} more acknowledged calls", within=within)

    def _call(self) -> None:
        while not self._ended.is_set():
            began, marker = time.monotonic(), uuid.uuid4().hex
            with suppress(OSError, HTTPException):
                answer = self._gateway.call(self._tool, {"text": marker + self._text}, self._token)
                if answer.status == 200 and marker in _result(answer):
                    self.acknowledged.append(marker)
                else:
                    self.refused.append(answer)
            self._ended.wait(max(0.0, began + self._pause - time.monotonic()))


def _result(answer: Answer) -> str:
    """The result of a tool as text; empty where the answer is an error."""
    with suppress(ValueError, AttributeError):
        result = answer.json.get("result", {})
        return "" if result.get("isError") else json.dumps(result)
    return ""


@contextmanager
def killed_under_load(
    pid: int, gateway: Door, token: str, tool: str, *, rate: float = 200.0
) -> Generator[Facts]:
    """F17: SIGKILL for this process while calls are being acknowledged. Facts: `load`, whose calls go on
    until this is left, so that a restart shows; `before`, how many were acknowledged until then."""
    with Load(gateway, token, tool, rate=rate) as load:
        load.more(20)
        os.kill(pid, signal.SIGKILL)
        before = len(load.acknowledged)
        proven(lambda: state(pid) in {"", "Z", "X"}, f"the end of process {pid}")
        proof = f"process {pid} does not run any more; {before} calls were acknowledged before"
        yield Facts(fault="F17", proof=proof, values={"pid": pid, "load": load, "before": before})
