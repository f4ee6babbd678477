"""The attacker: guesses, asks around, and pulls data over streams that stay open. Written by hand, no SDK."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2

from airlock.cli.demo import agent
from airlock.cli.demo.transcript import Unexpected
from airlock.core.clock import SYSTEM

GUESSER = "203.0.113.66"
THIEF = "203.0.113.77"
ELSEWHERE = "203.0.113.88"
"""Addresses of documentation (RFC 5737), as the proxy in front of the gateway names them."""

LEGACY = "2025-11-25"


def behind(token: str, address: str) -> httpx2.AsyncClient:
    """Plain HTTP from an address, each request over a connection of its own."""
    carrier = agent.http(token)
    carrier.headers["X-Forwarded-For"] = address
    return carrier


def forged(token: str) -> str:
    """The token with another signature."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{signature[:10]}{'A' if signature[10] != 'A' else 'B'}{signature[11:]}"


async def status(carrier: httpx2.AsyncClient, url: str, body: bytes) -> int:
    """The HTTP status of one message."""
    return (await carrier.post(f"{url}/mcp", content=body)).status_code


async def opened(carrier: httpx2.AsyncClient, url: str) -> str:
    """A session; its id. Raises `Unexpected`."""
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "curl", "version": "8"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    answer = await carrier.post(
        f"{url}/mcp", json=message, headers={"Accept": "application/json, text/event-stream"}
    )
    if "mcp-session-id" not in answer.headers:
        raise Unexpected("a session opens", expected="a session", seen=f"HTTP {answer.status_code}")
    return answer.headers["mcp-session-id"]


class Stream:
    """A call whose answer comes piece by piece. `pieces` counts them; `ended_at` is None while it is open."""

    def __init__(self, carrier: httpx2.AsyncClient, url: str, *, session: str, tool: str) -> None:
        self._carrier, self._url, self._session, self._tool = carrier, url, session, tool
        self._reading: asyncio.Task[None] | None = None
        self.pieces = 0
        self.ended_at: float | None = None
        self.last = ""
        """What came last, or why nothing came."""

    def begin(self) -> None:
        """Call, and read until it ends."""
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def close(self) -> None:
        """Hang up."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        params: dict[str, Any] = {
            "name": self._tool,
            "arguments": {"table": "all"},
            "_meta": {"progressToken": "p"},
        }
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        headers = {
            "Accept": "application/json, text/event-stream",
            "Mcp-Session-Id": self._session,
            "MCP-Protocol-Version": LEGACY,
        }
        try:
            async with self._carrier.stream(
                "POST", f"{self._url}/mcp", content=json.dumps(message), headers=headers, timeout=120
            ) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data:") and len(line) > len("data: "):
                        self.last = line.removeprefix("data:").strip()
                        self.pieces += '"notifications/progress"' in line
        except httpx2.HTTPError as cut:
            self.last = f"{type(cut).__name__}: {cut}"
        finally:
            self.ended_at = SYSTEM.wall()
