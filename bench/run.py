"""`make bench`: what a governed call costs, next to nginx as a bare reverse proxy, in one run.

1. rounds under full load, in turn: nginx, the mix of calls, and the two tools alone;
2. calls at half the rate that the mix reached, to nginx and to the gateway in turn, timed from when due;
3. the mix while snapshots are replaced, with every question asked of the policy, and on disks whose flushes
   take longer;
4. a thousand busy streams, ten thousand idle ones, lists of 2,000 tools, and single parts of the way alone;
5. other proxies from PyPI, the load and the server the same;
6. a report on the screen, and all readings as JSON in `.cache/bench/result.json`.

docs/benchmark.md says what each figure means and what it does not. Exit code 0: measured, whatever came out.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from bench import (  # noqa: E402 - no package
    accounts,
    calls,
    figures,
    idle,
    lists,
    micro,
    open_loop,
    peers,
    report,
    rig,
    saturate,
    streams,
    swaps,
)

SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
VARIANTS = {
    "uncached": {"AIRLOCK__POLICY__CACHE_TTL": "0s"},
    "flush+1ms": rig.slower_flush(1),
    "flush+5ms": rig.slower_flush(5),
}
"""Environments of the gateway, for one more round of the mix each."""

CHOSEN = os.environ.get("BENCH_VARIANTS", " ".join(VARIANTS)).split()

EXTRAS = os.environ.get("BENCH_EXTRAS", "swaps streams idle lists parts").split()
"""What else is measured."""

PEERS = os.environ.get("BENCH_PEERS", "fastmcp mcp-proxy contextforge")
PEER_SECONDS = 8
"""The least length of a round of a peer: some answer a few times a second."""

RESULT = Path(os.environ.get("BENCH_RESULT", ".cache/bench/result.json"))


def main() -> None:
    if len(rig.CORES) < 2:
        raise SystemExit("bench: needs two cores, one for what is measured and one for the load")
    os.sched_setaffinity(
        0, {rig.CORES[1]}
    )  # and with it whatever is started, until the rig pins it elsewhere
    document = measure()
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(document)))
    print(report.render(document))
    print(f"\nAll readings: {RESULT}")


def measure() -> figures.Document:
    """All of it. Starts and ends every program."""
    others = peers.chosen(PEERS)
    with rig.running() as usual:
        before = figures.Latency.of(accounts.flush_times(usual.gateway.data))
        rounds = [
            saturate.round_of(usual, row, seconds=SECONDS) for _ in range(ROUNDS) for row in report.ROWS
        ]
        rate = figures.middle(rounds, "mixed").rate / 2
        loop = at_rate(usual, rate)
        after = figures.Latency.of(accounts.flush_times(usual.gateway.data))
        swapped = swaps.measure(usual, seconds=SECONDS, rounds=ROUNDS) if "swaps" in EXTRAS else None
        beside = [peers.measure(one, usual, seconds=max(SECONDS, PEER_SECONDS)) for one in others]
        usual.gateway.stop()
        parts = micro.measure(usual.gateway.data) if "parts" in EXTRAS else []
    return figures.Document(
        machine=machine(),
        settings=settings(),
        rounds=rounds,
        open_loop=loop,
        variants={name: varied(VARIANTS[name]) for name in CHOSEN},
        swaps=swapped,
        streams=streams.measure() if "streams" in EXTRAS else None,
        idle=idle.measure() if "idle" in EXTRAS else None,
        lists=lists.measure(seconds=SECONDS) if "lists" in EXTRAS else None,
        parts=parts,
        peers=beside,
        flush_before=before,
        flush_after=after,
    )


def at_rate(usual: rig.Rig, rate: float) -> figures.OpenLoop:
    """`ROUNDS` times nginx and then the gateway, with the same arrivals."""
    tokens = rig.read_tokens(usual.tokens)
    latencies: dict[str, list[float]] = {"nginx": [], "gateway": []}
    late: list[float] = []
    for number in range(ROUNDS):
        due = open_loop.arrivals(rate, SECONDS, seed=number)
        for front in latencies:
            outcome = _drive(usual.port(front), due, tokens)
            latencies[front] += outcome.latencies
            late += outcome.late
        usual.drain()
    return figures.OpenLoop(
        rate=rate,
        nginx=_milliseconds(latencies["nginx"]),
        airlock=_milliseconds(latencies["gateway"]),
        late=_milliseconds(late),
        calls=len(latencies["gateway"]),
    )


def _drive(port: int, due: Sequence[float], tokens: Sequence[str]) -> open_loop.Outcome:
    def request(number: int) -> bytes:
        return calls.request(number, port=port, tokens=tokens)

    outcome = open_loop.drive(port, request, due=due, answer=calls.ANSWER)
    if outcome.wrong:
        raise RuntimeError(f"wrong answers: {outcome.wrong}")
    return outcome


def _milliseconds(seconds: Sequence[float]) -> figures.Latency:
    return figures.Latency.of([one * 1000 for one in seconds])


def varied(environment: Mapping[str, str]) -> list[figures.Round]:
    """nginx, and the mix through another gateway in this environment."""
    with rig.running(**environment) as other:
        return [saturate.round_of(other, row, seconds=SECONDS) for row in ("nginx", "mixed")]


def machine() -> dict[str, str]:
    """What it was measured on, as far as it matters and names nobody."""
    models = [
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    nginx = subprocess.run([rig.nginx(), "-v"], capture_output=True, text=True, check=True).stderr
    return {
        "processor": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "reverse proxy": nginx.strip().rpartition(": ")[2],
    }


def settings() -> dict[str, str]:
    """What was asked of the benchmark and of the gateway under test."""
    own = {name: value for name, value in sorted(os.environ.items()) if name.startswith("AIRLOCK__")}
    return {
        "load": f"{ROUNDS} rounds of {SECONDS} s, {saturate.CONNECTIONS} connections",
        "gateway": " ".join(f"{name}={value}" for name, value in own.items())
        or "one worker, defaults, ample limits",
    }


if __name__ == "__main__":
    main()
