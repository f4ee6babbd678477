"""The runner's end of a connection whose worker does not keep up."""

from __future__ import annotations

import asyncio

import msgspec

from airlock.upstream.frames import Answer, FrameReader, Notified, Request, encode, from_runner
from tests.upstream.stdio_parts import call, house, toy, until

MIB = 1024 * 1024


def asked(n: int, tool: str, **arguments: object) -> bytes:
    params = msgspec.json.encode({"name": tool, "arguments": arguments})
    return encode(Request(n=n, server="toy", method="tools/call", progress=True), params)


def test_a_worker_that_does_not_read_loses_notifications_but_no_answer() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            await found.state("ready")
            reader, writer = await asyncio.open_unix_connection(found.path)
            writer.write(asked(1, "progress", marker="x" * MIB, steps=20))
            writer.write(asked(2, "changed", times=1))
            # The toy works in order: when others learn of the change, all its progress has been told.
            await until(lambda: any(event.event == "list_changed" for event in found.events))
            frames, heads = FrameReader(), list[object]()
            while not any(isinstance(head, Answer) for head in heads):
                heads += [from_runner.decode(head) for head, _ in frames.feed(await reader.read(MIB))]
            assert 0 < sum(isinstance(head, Notified) for head in heads) < 20
            writer.close()

    asyncio.run(run())


def test_a_worker_that_never_reads_is_cut_off() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            await found.state("ready")
            _, writer = await asyncio.open_unix_connection(found.path)
            for n in range(22):
                writer.write(asked(n, "long_line", bytes=4 * MIB - 200))
            await until(lambda: len(found.runner.links) == 2)
            await until(lambda: len(found.runner.links) == 1)
            assert await call(found.upstream(), "echo")
            writer.close()

    asyncio.run(run())
