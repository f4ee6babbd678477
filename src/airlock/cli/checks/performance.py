"""Calls of one tool at a steady rate, each measured from the moment it was due, and what that says.

A generator that waits for an answer before it asks again leaves out the calls that a stalled server would
have kept waiting. Here the moments are fixed before the first call. A call that failed, or that was refused
however fast, is an error, and counts as slower than every answer.
"""

from __future__ import annotations

import http.client
import math
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airlock.cli.checks import made, steps
from airlock.cli.checks.answers import echoed
from airlock.cli.checks.board import Wrong
from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from airlock.cli.checks.steps import Subject

FASTEST = 50.0
"""Calls a second. This is for gateways that serve others; `make bench` is for those that do not."""

AT_ONCE = 64
"""Calls that wait for an answer; more of them come late, and the rate is not reached."""

IDLE_S = 2.0
"""Seconds after which a connection is not used again: the gateway may be closing it."""

ERRORS = 0.001
REACHED = 0.95
"""Shares of all calls, and of the rate."""


def check(of: Subject) -> None:
    """See the module. Raises ConfigError for a rate that is too high."""
    if of.settings.rate > FASTEST:
        told = f"at most {FASTEST:g} calls a second: this is for gateways that serve others"
        raise ConfigError("RATE", told)
    if not steps.tools_list(of):
        return
    target = Target(of)
    run = Run(target, of.settings.rate, of.settings.duration)
    run.carry_out()
    target.close()
    board = of.board
    board.note(f"{run.calls} calls of {of.tool}, {run.reached:.1f} a second, {run.errors.total()} errors")
    p50, p95, p99 = (shown(run.percentile(share)) for share in (0.5, 0.95, 0.99))
    board.note(f"p50 {p50}, p95 {p95}, p99 {p99}, from the moment each was due")
    wrong = judged(run, of.settings.rate, of.settings.p95)
    for name, observed in wrong:
        board.failed(name, observed)
    if not wrong:
        board.passed("performance", f"p95 within {of.settings.p95:g} ms")


class Target:
    """The tool, and connections to the gateway that wait for their next call."""

    def __init__(self, of: Subject) -> None:
        self._of = of
        self._path = f"{urlsplit(of.settings.url).path}/mcp"
        self._headers = {
            "Authorization": f"Bearer {of.settings.token}",
            "Content-Type": "application/json",
            "User-Agent": of.site.agent,
        }
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()

    def ask(self, number: int) -> str:
        """One call; what went wrong, or an empty text."""
        text = f"airlock-check-{number}"
        connection = self._take()
        try:
            message = made.call(self._of.tool, self._of.arguments, text)
            connection.request("POST", self._path, message, self._headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                return f"HTTP {answer.status}"
            echoed(body, text)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return f"{type(error).__name__} {error}"
        except Wrong as wrong:
            return str(wrong)
        finally:
            self._keep(connection)
        return ""

    def close(self) -> None:
        """Close every connection."""
        for _, connection in self._idle:
            connection.close()

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < IDLE_S:
                    return connection
                connection.close()
        return self._of.site.connection()

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append((time.monotonic(), connection))


class Run:
    """What came of the calls."""

    def __init__(self, target: Target, rate: float, duration: float) -> None:
        self._target = target
        self._rate = rate
        self.calls = max(1, round(rate * duration))
        self._lock = threading.Lock()
        self._last = 0.0
        """When the last call was sent."""
        self.reached = 0.0
        """Calls a second that were sent."""
        self.took: list[float] = []
        """Seconds from the moment a call was due, sorted; endless for an error."""
        self.errors: Counter[str] = Counter()

    def carry_out(self) -> None:
        """All calls, at their moments."""
        start = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for number in range(self.calls):
                due = start + number / self._rate
                time.sleep(max(0.0, due - time.monotonic()))
                threads.submit(self._one, number, due)
        self.took.sort()
        self.reached = self.calls / max(self.calls / self._rate, self._last - start + 1 / self._rate)

    def _one(self, number: int, due: float) -> None:
        sent = time.monotonic()
        wrong = self._target.ask(number)
        took = time.monotonic() - due
        with self._lock:
            self._last = max(self._last, sent)
            self.took.append(math.inf if wrong else took)
            if wrong:
                self.errors[wrong] += 1

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share of all calls was answered."""
        return self.took[math.ceil(share * self.calls) - 1] * 1000


def judged(run: Run, rate: float, p95: float) -> list[tuple[str, str]]:
    """Why it is not fast enough: check and what was observed."""
    wrong: list[tuple[str, str]] = []
    count = run.errors.total()
    if count > ERRORS * run.calls:
        kinds = "; ".join(f"{times} x {kind}" for kind, times in run.errors.most_common(3))
        wrong.append(("errors", f"{count} of {run.calls} calls: {kinds}"))
    if run.percentile(0.95) > p95:
        wrong.append(("p95", f"{shown(run.percentile(0.95))}, more than {p95:g} ms"))
    if run.reached < REACHED * rate:
        wrong.append(("rate", f"{run.reached:.1f} calls a second instead of {rate:g}"))
    return wrong


def shown(milliseconds: float) -> str:
    """Milliseconds as people read them."""
    return f"{milliseconds:.1f} ms" if math.isfinite(milliseconds) else "no answer"
