"""The engine of incident response: one process beside the workers, which answers no request.

`python -m airlock.engine --line FD` is what the supervisor starts. It detects, watches clocks, sends notices
and carries out playbooks, over the same store and audit log as everybody. It has no chain of its own: what it
does is left in the store, and a worker puts it into the log. Its death delays work, loses none,
and is said.

It ends on SIGTERM and when the line ends.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from airlock.app import response
from airlock.channel import Channel, Message
from airlock.core import log as logs
from airlock.core.clock import SYSTEM
from airlock.core.config import Config
from airlock.core.log_store import KeptLines, Place
from airlock.store.database import FILE, open_store


async def _main(end: socket.socket) -> None:
    line = await Channel.over(end)
    plan = await line.receive()
    if plan is None:
        return
    config = msgspec.convert(plan["config"], Config)
    logs.configure(config.logging.level, kept=KeptLines(Place.of(config), "engine"))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = await asyncio.to_thread(open_store, Path(config.data_dir) / FILE)
    try:
        engine = response.compose(
            config=config,
            bundle=lambda: base64.b64decode(plan["bundle"]),
            store=store,
            line=line,
            clock=SYSTEM,
            log=logs.get("incident"),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in engine.background]
            tasks.append(group.create_task(_listen(line, engine, plan, stop)))
            await stop.wait()
            for task in tasks:
                task.cancel()
    finally:
        store.close()


async def _listen(line: Channel, engine: response.Response, plan: Message, stop: asyncio.Event) -> None:
    """Follow the supervisor, keeping `plan` up to date; its silence for good means the end."""
    while (message := await line.receive()) is not None:
        if message["op"] == "reload":
            config = msgspec.convert(message["config"], Config)
            logs.configure(config.logging.level, kept=KeptLines(Place.of(config), "engine"))
            plan.update(message)
            for take_over in engine.reloaded:
                take_over(config)
    stop.set()


def main(arguments: list[str]) -> int:
    """See the module. Returns 0 when told to end."""
    parser = argparse.ArgumentParser(prog="airlock.engine")
    parser.add_argument("--line", type=int, required=True)
    given = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(_main(socket.socket(fileno=given.line)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
