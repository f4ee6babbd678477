"""One round of as many calls as a program takes: each connection of wrk sends the next after an answer."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import msgspec

from bench import accounts, figures
from bench.rig import CORES, Rig

SCRIPT = Path(__file__).with_name("call.lua")
CONNECTIONS = 32
PATIENCE = "30s"
"""What takes longer counts as an error, and ends the run."""

_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def round_of(rig: Rig, row: str, *, seconds: int) -> figures.Round:
    """Load `nginx`, or the gateway: `mixed` calls, or one tool. Raises `RuntimeError` for wrong answers."""
    front = "nginx" if row == "nginx" else "gateway"
    only = f"{row}__search" if row in {"low", "medium"} else ""
    before = rig.read()
    load = wrk(rig.port(front), rig.tokens, seconds=seconds, only=only)
    after = rig.read()
    load = msgspec.structs.replace(load, backlog=accounts.backlog(rig.gateway.data))
    rig.drain()
    return figures.spent(row, load, before, after, rig.read(), cores=CORES)


def wrk(
    port: int, tokens: Path, *, seconds: int, only: str = "", era: str = "both", session: str = ""
) -> figures.Load:
    """Load one port with calls of all tools, or of one, in both eras, or in `legacy` alone (in this session).

    Raises `RuntimeError` for wrong answers.
    """
    environment = {**os.environ, "BENCH_TOKENS": str(tokens), "BENCH_PORT": str(port), "BENCH_ERA": era}
    environment["BENCH_SESSION"] = session
    if only:
        environment["BENCH_TOOL"] = only
    url = f"http://127.0.0.1:{port}/mcp"
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        PATIENCE,
        "-s",
        str(SCRIPT),
        url,
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    if "unexpected" in run.stderr or "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        raise RuntimeError(f"wrong answers\n{run.stderr}\n{run.stdout}")
    return parse(run.stdout)


def parse(text: str) -> figures.Load:
    """What wrk printed. Raises `ValueError` where it did not print it."""
    [requests] = re.findall(r"(\d+) requests in", text)
    if not int(requests):
        raise ValueError("no call was answered")
    [rate] = re.findall(r"Requests/sec:\s+([0-9.]+)", text)
    found = re.findall(r"^\s+(50|99)%\s+([0-9.]+)(us|ms|s)", text, re.MULTILINE)
    latency = {percent: float(value) * _MILLISECONDS[unit] for percent, value, unit in found}
    if latency.keys() != {"50", "99"}:
        raise ValueError(f"no percentiles in what wrk printed:\n{text}")
    return figures.Load(requests=int(requests), rate=float(rate), p50_ms=latency["50"], p99_ms=latency["99"])
