"""`make bench`: governed calls a second on one core, next to nginx as a bare reverse proxy, in one run.

Rounds alternate: nginx, a read-only tool, a sensitive tool (intent and outcome flushed). Gateway worker and
nginx are pinned to one core; generator (wrk) and upstream to the other. Every answer is checked. Read the
figures as ratios of this run: the machine is shared, and the projector runs on the generator's core.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.system.deployment import Deployment, free_port, until  # noqa: E402 - the repository is no package

SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CONNECTIONS = 32

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def pinned(core: int, *command: str) -> list[str]:
    return ["taskset", "-c", str(core), *command]


def cpu_seconds(pid: int) -> float:
    """User and system time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wrk(port: int, tool: str, token: str) -> dict[str, float]:
    """One round of load; requests a second and latency percentiles in milliseconds."""
    environment = {**os.environ, "BENCH_TOKEN": token, "BENCH_TOOL": tool, "BENCH_PORT": str(port)}
    command = pinned(
        1, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", str(HERE / "call.lua"),
        f"http://127.0.0.1:{port}/mcp",
    )  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    if "unexpected" in run.stderr or "Non-2xx" in run.stdout:
        raise SystemExit(f"{tool}: wrong answers\n{run.stderr}\n{run.stdout}")
    [rate] = map(float, re.findall(r"Requests/sec:\s+([0-9.]+)", run.stdout))
    found = re.findall(r"(50|99)%\s+([0-9.]+)(us|ms|s)", run.stdout)
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    return {"rate": rate, **{f"p{p}": float(value) * scale[unit] for p, value, unit in found}}


def measure() -> dict[str, Any]:
    """All rounds. Starts and ends everything itself."""
    folder = Path(tempfile.mkdtemp(prefix="airlock-bench-"))
    up, front = free_port(), free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=up, port=front))
    servers = [
        {"name": "low", "transport": "http", "url": f"http://127.0.0.1:{up}/mcp", "sensitivity": "low",
         "read_only": True},
        {"name": "medium", "transport": "http", "url": f"http://127.0.0.1:{up}/mcp"},
    ]  # fmt: skip
    started = [
        subprocess.Popen(pinned(1, sys.executable, str(HERE / "upstream.py"), str(up))),
        subprocess.Popen(
            pinned(0, shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(folder / "nginx.conf"))
        ),
    ]
    time.sleep(1)
    try:
        with Deployment(folder, servers, workers=1) as gateway:
            return rounds(gateway, front)
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def rounds(gateway: Deployment, front: int) -> dict[str, Any]:
    worker = gateway.children("airlock.worker")[0]
    subprocess.run(["taskset", "-a", "-cp", "0", str(worker)], check=True, capture_output=True)
    for name in ("airlock.audit.projector", "airlock.upstream.runner"):
        for pid in gateway.children(name):
            subprocess.run(["taskset", "-a", "-cp", "1", str(pid)], check=True, capture_output=True)
    token = gateway.token("bench")
    results: dict[str, list[dict[str, float]]] = {"nginx": [], "low": [], "medium": []}
    for _ in range(ROUNDS):
        results["nginx"].append(wrk(front, "search", token))
        for kind in ("low", "medium"):
            before = cpu_seconds(worker)
            figures = wrk(gateway.port, f"{kind}__search", token)
            figures["cpu_us"] = (cpu_seconds(worker) - before) * 1e6 / (figures["rate"] * SECONDS)
            results[kind].append(figures)
    rows = int(sum(figures["rate"] for figures in results["medium"]) * SECONDS * 0.5)
    until(lambda: gateway.rows("SELECT max(n) FROM audit_log")[0][0] > rows, within=120, what="projection")
    return results


def main() -> None:
    results = measure()
    nginx = statistics.median(one["rate"] for one in results["nginx"])
    print(f"{'':8} {'calls/s':>9} {'of nginx':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU us/call':>12}")
    for kind, figures in results.items():
        middle = {key: statistics.median(one[key] for one in figures) for key in figures[0]}
        cpu = f"{middle['cpu_us']:12.0f}" if "cpu_us" in middle else f"{'-':>12}"
        figures_of = f"{middle['rate']:9.0f} {middle['rate'] / nginx:9.3f}"
        print(f"{kind:8} {figures_of} {middle['p50']:8.2f} {middle['p99']:8.2f} {cpu}")
    print(json.dumps({"rounds": ROUNDS, "seconds": SECONDS, "connections": CONNECTIONS, "results": results}))


if __name__ == "__main__":
    main()
