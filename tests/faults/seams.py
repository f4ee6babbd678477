"""Faults that need a hand inside the gateway's own processes.

A gateway that is started with `Seam.environment` runs the product's code; a few of its functions look for
requests in a folder and misbehave while one stands there.
"""

from __future__ import annotations

import json
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.facts import Absent, Facts, prove, proven
from tests.faults.processes import children, state

Knock = Callable[[], object]
"""Makes the gateway do something once."""

CODE = Path(__file__).with_name("seam")


class Seam:
    """The folder of requests of one gateway. `disk`: keep an image of what was flushed, for `power_loss`."""

    def __init__(self, folder: Path, *, disk: bool = False) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        folder.mkdir(parents=True, exist_ok=True)
        if disk:
            self.disk.mkdir(exist_ok=True)
            (self.disk / "asked").touch()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the gateway is started with, beside its own."""
        before = os.environ.get("PYTHONPATH")
        return {
            "FAULT_SEAM": str(self.folder),
            "PYTHONPATH": f"{CODE}:{before}" if before else str(CODE),
        }

    @contextmanager
    def asking(self, name: str, what: str = "") -> Generator[Path]:
        """The request stands while this is entered."""
        request, fresh = self.folder / name, self.folder / f"{name}.new"
        fresh.write_text(what)
        fresh.replace(request)
        try:
            yield request
        finally:
            request.unlink()

    @contextmanager
    def obeyed(
        self,
        name: str,
        what: str,
        workers: Sequence[int],
        knock: Knock | None = None,
        *,
        everyone: bool = False,
    ) -> Generator[str]:
        """The request stands, and a process (or everyone) has followed it: `knock` makes them do so.

        Yields the proof.
        """
        for pid in workers:
            self.prove_listening(pid)
        seen = self.folder / f"{name}.seen"
        seen.unlink(missing_ok=True)

        def followed() -> bool:
            if knock is not None:
                knock()
            marks = set(seen.read_text().split()) if seen.exists() else set[str]()
            return {own_id(pid) for pid in workers} <= marks if everyone else bool(marks)

        with self.asking(name, what):
            proven(followed, f"processes that follow the request {name}")
            yield f"the request {name} {what}".strip() + f" was followed in {seen.read_text().split()}"

    def clock(self) -> float:
        """The Unix time that a process with the seam has."""
        command = [sys.executable, "-c", "import time; print(time.time())"]
        variables = {**os.environ, **self.environment}
        return float(subprocess.run(command, capture_output=True, check=True, env=variables).stdout)

    def prove_listening(self, pid: int) -> None:
        """Raise `Absent` unless this process was started with our environment, so that requests reach it."""
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            raise Absent(f"process {pid} is gone") from None
        prove(f"FAULT_SEAM={self.folder}".encode() in variables, f"process {pid} with the seam")


def own_id(pid: int) -> str:
    """The id of a process in its own namespace, by which it knows itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:"))


@contextmanager
def policy_panics(seam: Seam, workers: Sequence[int], knock: Knock) -> Generator[Facts]:
    """F1: every evaluation in these processes panics, as the engine's library does. `knock` causes one: a
    call that no decision was kept of."""
    with seam.obeyed("panic", "", workers, knock) as proof:
        yield Facts(fault="F1", proof=proof, values={"workers": list(workers)})


@contextmanager
def policy_slow(seam: Seam, workers: Sequence[int], knock: Knock, seconds: float = 0.5) -> Generator[Facts]:
    """F4p: every evaluation in these processes takes `seconds` longer. `knock` causes one."""
    with seam.obeyed("slow", str(seconds), workers, knock) as proof:
        yield Facts(fault="F4p", proof=proof, values={"seconds": seconds})


@contextmanager
def clock_shifted(seam: Seam, workers: Sequence[int], seconds: int = 600) -> Generator[Facts]:
    """F8c: the time of day is wrong by `seconds` in everything that was started with the seam.

    The monotonic clock is right, as when an administrator sets a clock, and so is the time in libraries that
    are not Python's: SQLite, OpenSSL. `workers` have been seen to follow; so does what is started meanwhile.
    """
    with seam.obeyed("clock", str(seconds), workers, everyone=True) as proof:
        off = seam.clock() - time.time()
        prove(abs(off - seconds) < 30, f"a process that is {seconds} s off: {off:.1f} s")
        whole = f"{proof}; a fresh process is {off:+.1f} s off"
        yield Facts(fault="F8c", proof=whole, values={"seconds": seconds})


@contextmanager
def deaf_worker(seam: Seam, workers: Sequence[int], slot: int = 1) -> Generator[Facts]:
    """F13: the worker of this slot hears no message and sees nothing that changes in the store.

    It serves on with what it knows. What it missed reaches it when this is left.
    """
    with seam.obeyed("deaf", str(slot), workers) as proof:
        yield Facts(fault="F13", proof=proof, values={"slot": slot})


@contextmanager
def leak(seam: Seam, workers: Sequence[int], knock: Knock, *, mib: int = 256) -> Generator[Facts]:
    """F12: the handler of `/live` keeps `mib` MiB in whichever worker answers it, at once and for good.

    `mib` is a multiple of 64. `knock` asks `/live` once, over a connection of its own. Entered when one
    worker at least has grown; what leaked is given back at the first `/live` after this is left.
    """
    before = {pid: resident(pid) for pid in workers}

    def grown() -> dict[int, int]:
        knock()
        growth = {pid: resident(pid) - size for pid, size in before.items()}
        return {pid: size for pid, size in growth.items() if size > mib * 1024 * 1024 * 0.9}

    for pid in workers:
        seam.prove_listening(pid)
    with seam.asking("leak", str(mib)):
        found = proven(grown, f"a worker that grew by {mib} MiB", within=60)
        proof = ", ".join(f"process {pid} grew by {size} bytes" for pid, size in found.items())
        yield Facts(fault="F12", proof=proof, values={"growth": found, "function": "leaking_handler"})
    knock()


def resident(pid: int) -> int:
    """Bytes of a process that are in memory; 0 when it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@contextmanager
def lying_flush(seam: Seam) -> Generator[Facts]:
    """Flushes of the journal say that they are done, and keep nothing. Needs `Seam(disk=True)`."""
    before = _kept(seam)
    with seam.asking("disk/lying"):
        proof = f"the request stands; the medium holds {before} bytes"
        yield Facts(fault="lying flush", proof=proof, values={"kept": before})


def power_loss(seam: Seam, supervisor: int, journals: Path) -> Facts:
    """Kill every process of a gateway at once, and leave of its journals only what was flushed.

    Needs `Seam(disk=True)`. The databases stay as they are: SQLite looks after itself. Facts: `changed`, the
    bytes of the journals that are others than before.
    """
    victims = [supervisor, *children(supervisor)]
    for pid in victims:  # nobody works on while others die
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in reversed(victims):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in victims:
        proven(lambda pid=pid: state(pid) in {"", "Z", "X"}, f"the end of process {pid}")
    changed = sum(_restore(seam, chain) for chain in sorted(journals.iterdir()) if chain.is_dir())
    proof = f"{len(victims)} processes do not run any more; {changed} bytes of the journals were lost"
    return Facts(fault="power loss", proof=proof, values={"changed": changed})


def _restore(seam: Seam, chain: Path) -> int:
    """Put the medium's image in the place of a chain's files; how many bytes that changed."""
    names = seam.disk / f"{chain.name}.json"
    kept: dict[str, str] = json.loads(names.read_text()) if names.exists() else {}
    changed = 0
    for path in sorted(chain.iterdir()):
        if path.name in {"lock", "durable"}:
            continue
        before = path.read_bytes()
        image = seam.disk / kept.get(path.name, "nothing")
        after = image.read_bytes() if image.exists() else b""
        if path.name in kept:
            path.write_bytes(after)
        else:
            path.unlink()
        changed += _different(before, after)
    return changed


def _different(before: bytes, after: bytes) -> int:
    """How many bytes are not what they were; what is missing counts as zeros."""
    after = after.ljust(len(before), b"\0")
    blocks = range(0, len(before), 4096)
    pairs = ((before[at : at + 4096], after[at : at + 4096]) for at in blocks)
    return sum(sum(map(operator.ne, one, other)) for one, other in pairs if one != other)


def _kept(seam: Seam) -> int:
    return sum(path.stat().st_size for path in seam.disk.iterdir() if "-" in path.name and path.suffix == "")
