"""The runner: one process per host that owns every stdio server, and nothing else does.

Run by the supervisor as `python -m airlock.upstream.runner --socket PATH`, with a pipe as standard input.
Each line there is a whole configuration (`Configuration`, JSON); the end of the pipe, SIGTERM, or the death
of the supervisor stop every server and then the runner. Workers connect to the socket (same user only) and
share the servers. It is a sub-reaper: whatever a server leaves behind comes back here and is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import uvloop

from airlock.core import log as logs
from airlock.core.clock import SYSTEM, Clock
from airlock.core.errors import Effect
from airlock.core.log_store import KeptLines
from airlock.redaction.rewrite import Redactor
from airlock.redaction.scan import Scanner
from airlock.upstream import census, spawn
from airlock.upstream.frames import TurnedAway, socket_address
from airlock.upstream.launcher import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl
from airlock.upstream.links import Link
from airlock.upstream.lives import Timing
from airlock.upstream.orders import MAX_CONFIGURATION, Configuration, configurations
from airlock.upstream.owned import Owned
from airlock.upstream.servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airlock.core.config import ServerEntry
    from airlock.upstream.lives import Log, Owner

MAX_SERVERS = 64
MAX_RESIDENT = 1024**3
"""Bytes of memory of one server's whole tree."""
CENSUS_EVERY = 2.0


class Runner:
    """The servers, the connections and the watchdog of one process."""

    def __init__(
        self,
        *,
        work: Path,
        root: bool,
        timing: Timing,
        clock: Clock,
        log: Log,
        uid_first: int = spawn.UID_FIRST,
        max_resident: int = MAX_RESIDENT,
        census_every: float = CENSUS_EVERY,
    ) -> None:
        self.servers: dict[str, Server] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The latest life of each name, also of one that is being stopped."""
        self._turns: dict[str, asyncio.Lock] = {}
        """One process per name at a time: they share a directory and a user."""
        self._alive: set[Server] = set()
        self.links: set[Link] = set()
        self.owned = Owned(
            begin=self._begin_owned,
            room=lambda: MAX_SERVERS - len(self.servers),
            clock=clock,
            idle=timing.idle,
        )
        self._group: asyncio.TaskGroup | None = None
        self._count = 0
        self._work = work
        self._root = root
        self._timing = timing
        self._clock = clock
        self._log = log
        self._uid_first = uid_first
        self._max_resident = max_resident
        self._census_every = census_every
        self._redactor: Redactor | None = None
        self._kept: KeptLines | None = None

    async def serve(self, listener: socket.socket, configurations: AsyncIterator[bytes]) -> None:
        """Until the configurations end or the caller cancels. On return every server has been stopped.

        1. watch memory and strays, 2. let workers in, 3. follow the configuration,
        4. stop all servers at once, 5. see that no process is left
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._group = tasks
                watchdog = tasks.create_task(self._watch())  # 1
                door = await asyncio.get_running_loop().create_unix_server(self._link, sock=listener)  # 2
                try:
                    async for line in configurations:  # 3
                        self._configure(line, tasks)
                finally:
                    door.close()
                    self._group = None
                    self.owned.close()
                    for task in (watchdog, *self._tasks.values()):  # 4
                        _retire(task)
        finally:
            left = self._sweep(census.take(()).children)  # 5
            if left:
                self._log.warning("runner.strays", killed=left)

    def _link(self) -> Link:
        return Link(servers=self.servers, owned=self.owned, links=self.links, refused=self._refused)

    def _refused(self, uid: int) -> None:
        self._log.warning("runner.peer_refused", uid=uid)

    def _configure(self, line: bytes, tasks: asyncio.TaskGroup) -> None:
        try:
            wanted = msgspec.json.decode(line, type=Configuration)
        except msgspec.DecodeError as problem:
            self._log.warning("runner.configuration_refused", reason=str(problem))
            return
        if wanted.log_place is not None:
            self._kept = self._kept or KeptLines(wanted.log_place, "runner")
            self._kept.place = wanted.log_place
        logs.configure(wanted.log_level, kept=self._kept)
        self._redactor = Redactor(Scanner(wanted.detectors)) if wanted.detectors else None
        entries = {entry.name: entry for entry in wanted.servers if entry.transport == "stdio"}
        for name in [name for name in self.servers if name not in entries]:
            del self.servers[name]
            self.owned.forget(name)
            _retire(self._tasks[name])
        for name, entry in list(entries.items())[:MAX_SERVERS]:
            if name not in self.servers or self.servers[name].entry != entry:
                self._begin(entry, tasks)
        if len(entries) > MAX_SERVERS:
            self._log.warning("runner.too_many_servers", configured=len(entries), most=MAX_SERVERS)

    def _begin(self, entry: ServerEntry, tasks: asyncio.TaskGroup) -> None:
        if entry.name in self._tasks:
            self.owned.forget(entry.name)
            _retire(self._tasks[entry.name])
        server = self.servers[entry.name] = self._server(entry, entry.name)
        task = self._tasks[entry.name] = tasks.create_task(self._run(server))
        task.add_done_callback(lambda _: server.close())

    def _begin_owned(self, entry: ServerEntry, owner: Owner) -> tuple[Server, asyncio.Task[None]]:
        """A process of a server for one owner. Its name is never used again."""
        if self._group is None:
            raise TurnedAway.unavailable("the gateway stops", effect=Effect.NONE, retry_after=1)
        self._count += 1
        server = self._server(entry, f"{entry.name}.{self._count}", owner)
        task = self._group.create_task(self._run_owned(server))
        task.add_done_callback(lambda _: server.close())
        return server, task

    async def _run_owned(self, server: Server) -> None:
        self._alive.add(server)
        try:
            await server.run()
        finally:
            await asyncio.to_thread(shutil.rmtree, server.place, ignore_errors=True)
            self._alive.discard(server)  # until here nobody else gets its user

    def _server(self, entry: ServerEntry, name: str, owner: Owner | None = None) -> Server:
        return Server(
            entry=entry,
            place=self._work / name,
            uid=self._uid(name),
            timing=self._timing,
            clock=self._clock,
            random=random.random,
            announce=self._announce,
            watched=partial(self._watched, entry.name, owner.key if owner is not None else ""),
            updated=self._updated,
            clean=self._clean,
            log=self._log,
            owner=owner,
        )

    async def _run(self, server: Server) -> None:
        """Run a server once the process of its predecessor is gone."""
        async with self._turns.setdefault(server.entry.name, asyncio.Lock()):
            self._alive.add(server)
            try:
                await server.run()
            finally:
                self._alive.discard(server)

    def _uid(self, name: str) -> int | None:
        """A user for this server: the same in every run as long as its name and its neighbours stay."""
        if not self._root:
            return None
        known = self.servers.get(name)
        if known is not None:
            return known.uid
        taken = {server.uid for server in (*self.servers.values(), *self.owned.servers(), *self._alive)}
        slot = zlib.crc32(name.encode())
        while (uid := self._uid_first + slot % spawn.UID_COUNT) in taken:
            slot += 1
        return uid

    def _clean(self, line: str) -> str:
        return line if self._redactor is None else self._redactor.text(line)[0]

    def _announce(self, server: Server, event: Literal["list_changed", "state"]) -> None:
        if server.owner is not None or self.servers.get(server.entry.name, server) is not server:
            return  # an old life of a changed entry ends while the new one waits for it
        for link in self.links:
            link.tell(server, event)

    def _watched(self, name: str, owner: str) -> frozenset[str]:
        """Resources of a server, on the process of an owner, of which any worker wants to hear."""
        return frozenset[str]().union(*(link.watched.get((name, owner), ()) for link in self.links))

    def _updated(self, server: Server, uri: str) -> None:
        for link in self.links:
            link.updated(server, uri)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._census_every)
            found = await asyncio.to_thread(census.take, self._keepers().keys())
            for keeper, server in self._keepers().items():
                resident = found.resident.get(keeper, 0)
                if resident > self._max_resident:
                    self._log.warning("upstream.memory", server=server.entry.name, resident=resident)
                    server.overgrown(resident)
            self._sweep(found.children)
            self.owned.sweep()

    def _keepers(self) -> dict[int, Server]:
        return {server.process.keeper: server for server in self._alive if server.process is not None}

    def _sweep(self, children: Sequence[int]) -> int:
        """Kill children of ours that are nobody's keeper; how many there were."""
        keepers = self._keepers()
        return sum(census.kill_stray(pid) for pid in children if pid not in keepers)


def _retire(task: asyncio.Task[None]) -> None:
    """Cancel once: a second time would cut short the orderly end of a server."""
    if not task.cancelling():
        task.cancel()


def listen(path: Path) -> socket.socket:
    """The workers' socket, for this user only. A stale one is replaced: the supervisor runs one runner."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with socket_address(path) as address:
            listener.bind(address)
            listener.listen()
    finally:
        os.umask(before)
    return listener


async def _main(path: Path, work: Path, log: Log) -> None:
    reader = asyncio.StreamReader(limit=MAX_CONFIGURATION)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, reader.feed_eof)
    runner = Runner(work=work, root=os.geteuid() == 0, timing=Timing(), clock=SYSTEM, log=log)
    await runner.serve(listen(path), configurations(sys.stdin.fileno(), reader))


def main(arguments: Sequence[str]) -> int:
    """See the module. Returns 0 when every server has been stopped."""
    parser = argparse.ArgumentParser(prog="airlock.upstream.runner")
    parser.add_argument("--socket", type=Path, required=True)
    path: Path = parser.parse_args(arguments).socket
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    logs.configure("info")
    log = logs.get("runner")
    work = Path(tempfile.mkdtemp(prefix="airlock-servers-"))
    work.chmod(0o711)  # servers walk through it to their own directories, and list nothing
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(_main(path, work, log))
    finally:
        path.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
