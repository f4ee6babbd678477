"""`make conformance`: every pair through the governed gateway, the client scenarios, the page.

Exit status 1 where a target is missed, or a scenario does not pass that once passed. `--client` and
`--server` run one half, print it, and leave the page alone. Raw results: `.cache/conformance`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.conformance import pairs, report, suite
from tests.conformance.client_driver import Running
from tests.conformance.governed import ROOT, fixture, governed
from tests.conformance.pairs import CROSSED, DUAL, Pair, Run
from tests.conformance.suite import Scenario
from tests.system.deployment import Deployment

RAW = ROOT / ".cache/conformance"
DRIVER = f"{sys.executable} -m tests.conformance.client_driver"


def control(folder: Path) -> tuple[Run, ...]:
    """The fixture without a gateway: what the suite says of the SDK."""
    with fixture(folder, "dual") as url:
        return tuple(_ask(url, pair, "http", RAW / f"control-{pair.revision}") for pair in DUAL)


def servers(folder: Path) -> tuple[tuple[Run, ...], tuple[Scenario, ...]]:
    """All pairs over both transports, and the older release of the suite."""
    eras = ("legacy", "modern")
    stdio = [(pair.upstream, pair.isolation) for pair in CROSSED]
    with governed(folder, http=(*eras, "dual"), stdio=stdio) as (_, shim):
        base = f"http://localhost:{shim.port}/mcp"
        plan = [
            *((pair, way) for way in ("http", "stdio") for pair in CROSSED),
            *((pair, "http") for pair in DUAL),
        ]
        runs = [
            _again(
                _ask(
                    f"{base}/{pairs.server(pair, way)}", pair, way, RAW / f"{pair.name}-{way}-{pair.revision}"
                ),
                base,
            )
            for pair, way in plan
        ]
        old = suite.ask_server_2025(f"{base}/dual-http", RAW / "crosscheck")
    return tuple(runs), tuple(old)


def _ask(url: str, pair: Pair, way: str, out: Path) -> Run:
    run = Run(pair, way, tuple(suite.ask_server(url, pair.revision, out)))
    score = f"{len(run.passed)} of {len(run.required)}"
    say(f"{pair.name:5} {pair.revision} {way:6} {score}  {' '.join(run.missed)}")
    return run


def _again(run: Run, base: str) -> Run:
    """The run, with what once passed and did not asked once more, alone."""
    again = {each.rsplit(" ", 1)[1] for each in pairs.lost([run])}
    found = {each.name: each for each in run.scenarios}
    for name in sorted(again):
        url = f"{base}/{run.server}"
        found |= {each.name: each for each in suite.ask_one(url, run.pair.revision, name, RAW / "again")}
    return Run(run.pair, run.transport, tuple(found.values()))


def clients(folder: Path) -> tuple[report.ClientRun, ...]:
    """The client scenarios that are scored, one after another against one gateway."""
    with Deployment(folder, workers=1) as gateway:
        assert gateway.process is not None
        running = Running(
            url=gateway.url,
            pid=gateway.process.pid,
            config=str(gateway.config),
            token=gateway.token("agent", roles=["admin"], ttl=7200),
        )
        path = folder / "gateway.json"
        path.write_bytes(msgspec.json.encode(running))
        return tuple(_client_run(revision, f"{DRIVER} {path}") for revision in suite.REVISIONS)


def _client_run(revision: str, command: str) -> report.ClientRun:
    names = suite.scored(revision, "client")
    out = RAW / f"client-{revision}"
    found = tuple(suite.ask_client(command, revision, name, out / name.replace("/", "-")) for name in names)
    run = report.ClientRun(revision, names, found)
    missed = [name for name in names if name not in run.passed]
    say(f"client {revision} {len(run.passed)} of {len(names)}  {' '.join(missed)}")
    return run


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    half = parser.add_mutually_exclusive_group()
    half.add_argument("--server", action="store_true", help="only the server scenarios; no page")
    half.add_argument("--client", action="store_true", help="only the client scenarios; no page")
    given = parser.parse_args(arguments)
    shutil.rmtree(RAW, ignore_errors=True)
    checked: tuple[Run, ...] = ()
    runs: tuple[Run, ...] = ()
    old: tuple[Scenario, ...] = ()
    legs: tuple[report.ClientRun, ...] = ()
    if not given.client:
        with _folder() as folder:
            checked = control(folder)
            runs, old = servers(folder)
    if not given.server:
        with _folder() as folder:
            legs = clients(folder)
    found = report.Found(control=checked, runs=runs, crosscheck=old, clients=legs)
    lost = pairs.lost(runs)
    for each in lost:
        say(f"conformance: passed once and does not now: {each}")
    if not (given.server or given.client):
        pairs.remember(runs)
        report.PAGE.write_text(
            report.page(found, node=node(), date=f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}")
        )
    return 0 if found.is_met and not lost else 1


@contextmanager
def _folder() -> Generator[Path]:
    """A folder that the users of stdio servers may enter."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def node() -> str:
    """The version of Node."""
    return subprocess.run(
        [suite.NODE, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()


def say(line: str) -> None:
    sys.stdout.write(line.rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
