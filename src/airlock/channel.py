"""The line between the supervisor and one of its processes: JSON objects, one a line, over an inherited
socket.

Its end is a message too: a process whose supervisor is gone stops by itself.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec

LIMIT = 64 * 1024 * 1024
"""Bytes of one message: a configuration with 10,000 servers and a policy bundle fit well."""

Message = dict[str, Any]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Channel:
    """One end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """Take over a connected socket."""
        reader, writer = await asyncio.open_connection(sock=end, limit=LIMIT)
        return cls(reader, writer)

    def send(self, message: Message) -> None:
        """Queue a message; one that the other side will never read is not an error here but its end of
        line there."""
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def receive(self) -> Message | None:
        """The next message, or None when the other side is gone."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            return None
        return _decode(line) if line.endswith(b"\n") else None

    def close(self) -> None:
        self._writer.close()
