"""The line between two processes, whole messages only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from airlock.channel import LIMIT, Channel

T = TypeVar("T")


def over(scenario: Callable[[Channel, socket.socket], Awaitable[T]]) -> T:
    """Run a scenario with one end as a channel and the other as it is."""

    async def bounded() -> T:
        ours, theirs = socket.socketpair()
        with theirs:
            channel = await Channel.over(ours)
            try:
                async with asyncio.timeout(10):
                    return await scenario(channel, theirs)
            finally:
                channel.close()

    return asyncio.run(bounded())


def received(*pieces: bytes) -> list[Any]:
    """Every message in these pieces, up to the end of the line."""

    async def scenario(channel: Channel, theirs: socket.socket) -> list[Any]:
        for piece in pieces:
            theirs.sendall(piece)
        theirs.close()
        messages: list[Any] = []
        while (message := await channel.receive()) is not None:
            messages.append(message)
        return messages

    return over(scenario)


@pytest.mark.parametrize(
    ("pieces", "messages"),
    [
        ((), []),
        ((b'{"a":1}\n',), [{"a": 1}]),
        ((b'{"a":', b"1}\n"), [{"a": 1}]),
        ((b'{"a":1}\n{"b":2}\n',), [{"a": 1}, {"b": 2}]),
        ((b'{"a":1}\n{"b"',), [{"a": 1}]),
        ((b'{"a":1}',), []),
    ],
    ids=["nothing", "one", "in pieces", "two", "one and a half", "unfinished"],
)
def test_a_message_is_a_whole_line(pieces: tuple[bytes, ...], messages: list[Any]) -> None:
    assert received(*pieces) == messages


def test_messages_arrive_as_they_were_sent() -> None:
    message = {"op": "world", "text": "a\nb\u2028", "nested": [{"n": 1.5}, None]}

    async def scenario(channel: Channel, theirs: socket.socket) -> Any:
        other = await Channel.over(theirs.dup())
        try:
            channel.send(message)
            return await other.receive()
        finally:
            other.close()

    assert over(scenario) == message


def test_the_end_of_the_other_side_is_the_end_of_the_line() -> None:
    async def scenario(channel: Channel, theirs: socket.socket) -> Any:
        waiting = asyncio.ensure_future(channel.receive())
        theirs.close()
        return await waiting

    assert over(scenario) is None


def test_a_broken_line_is_its_end() -> None:
    async def scenario(channel: Channel, theirs: socket.socket) -> Any:
        channel.send({"never": "read"})
        await asyncio.sleep(0)
        theirs.close()  # with unread data: the other end is told of a reset
        return await channel.receive()

    assert over(scenario) is None


def test_a_message_larger_than_the_limit_is_the_end_of_the_line() -> None:
    async def scenario(channel: Channel, theirs: socket.socket) -> Any:
        loop = asyncio.get_running_loop()
        theirs.setblocking(False)
        async with asyncio.TaskGroup() as group:
            flood = group.create_task(loop.sock_sendall(theirs, b"x" * (2 * LIMIT + 65536)))
            found = await channel.receive()
            flood.cancel()
        return found

    assert over(scenario) is None


def test_after_the_end_sending_is_no_error() -> None:
    async def scenario(channel: Channel, _: socket.socket) -> None:
        channel.close()
        channel.send({"to": "nobody"})

    assert over(scenario) is None
