"""Calls of one tool at a steady rate, each measured from the moment it was due, and what that says.

A generator that waits for an answer before it asks again leaves out the calls that a stalled server would
have kept waiting. Here the moments are fixed before the first call. A call that failed, or that was refused
however fast, is an error, and counts as slower than every answer.

The token is read from standard input. Exit code 0: fast enough; 1: not, said by lines `FAIL CHECK: ...`;
2: it cannot run.
"""

from __future__ import annotations

import argparse
import http.client
import math
import ssl
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from check_inputs import Wrong, call
from checks import echoed

FASTEST = 50.0
"""Calls a second. This is for gateways that serve others; `make bench` is for those that do not."""

AT_ONCE = 64
"""Calls that wait for an answer; more of them come late, and the rate is not reached."""

TIMEOUT_S = 10.0
IDLE_S = 2.0
"""Seconds after which a connection is not used again: the gateway may be closing it."""

ERRORS = 0.001
REACHED = 0.95
"""Shares of all calls, and of the rate."""


class Target:
    """The gateway, and connections to it that wait for their next call."""

    def __init__(self, url: str, tool: str, arguments: str, agent: str, token: str) -> None:
        self._url: SplitResult = urlsplit(url)
        self._tool, self._arguments = tool, arguments
        self._headers = {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json", "User-Agent": agent,
        }  # fmt: skip
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._lock = threading.Lock()

    def ask(self, number: int) -> str:
        """One call; what went wrong, or an empty text."""
        text = f"airlock-check-{number}"
        connection = self._take()
        try:
            message = call(b"", self._tool, self._arguments, text)
            connection.request("POST", self._url.path, message, self._headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                return f"HTTP {answer.status}"
            echoed(body, text)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return f"{type(error).__name__} {error}"
        except (Wrong, ValueError) as wrong:
            return str(wrong)
        finally:
            self._keep(connection)
        return ""

    def close(self) -> None:
        for _, connection in self._idle:
            connection.close()

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < IDLE_S:
                    return connection
                connection.close()
        host, port = self._url.hostname or "", self._url.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

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


def judged(run: Run, rate: float, p95: float) -> list[str]:
    """Why it is not fast enough, a line each."""
    wrong: list[str] = []
    count = run.errors.total()
    if count > ERRORS * run.calls:
        kinds = "; ".join(f"{times} x {kind}" for kind, times in run.errors.most_common(3))
        wrong.append(f"FAIL errors: {count} of {run.calls} calls: {kinds}")
    if run.percentile(0.95) > p95:
        wrong.append(f"FAIL p95: {shown(run.percentile(0.95))}, more than {p95:g} ms")
    if run.reached < REACHED * rate:
        wrong.append(f"FAIL rate: {run.reached:.1f} calls a second instead of {rate:g}")
    return wrong


def shown(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if math.isfinite(milliseconds) else "no answer"


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="steady_load.py")
    for option in ("--url", "--tool", "--arguments", "--agent"):
        parser.add_argument(option, required=True)
    for option in ("--rate", "--duration", "--p95"):
        parser.add_argument(option, type=positive, required=True)
    given = parser.parse_args()
    if given.rate > FASTEST:
        parser.error(f"at most {FASTEST:g} calls a second: this is for gateways that serve others")
    target = Target(given.url, given.tool, given.arguments, given.agent, sys.stdin.read().strip())
    run = Run(target, given.rate, given.duration)
    run.carry_out()
    target.close()
    p50, p95, p99 = (shown(run.percentile(share)) for share in (0.5, 0.95, 0.99))
    print(f"{run.calls} calls of {given.tool}, {run.reached:.1f} a second, {run.errors.total()} errors")
    print(f"p50 {p50}, p95 {p95}, p99 {p99}, from the moment each was due")
    wrong = judged(run, given.rate, given.p95)
    print("\n".join(wrong) or f"ok   performance: p95 within {given.p95:g} ms")
    return 1 if wrong else 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(2)
