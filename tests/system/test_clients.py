"""Stock clients through two workers: the Python SDK in its two modes, the Inspector in its three eras.

Behind the gateway: `server-filesystem` over stdio and `server-everything` over HTTP, both from npm.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from tests.system.deployment import Deployment, free_port, until
from tests.upstream.stdio_parts import NODE, PARTS

SERVERS = PARTS / "@modelcontextprotocol"
INSPECTOR = (
    PARTS.parent / "inspector/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
)


@contextmanager
def everything(folder: Path) -> Generator[str]:
    """`server-everything` over streamable HTTP; its URL."""
    port = free_port()
    command = [str(NODE), str(SERVERS / "server-everything/dist/index.js"), "streamableHttp"]
    with (folder / "everything.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, "PORT": str(port)}, stdout=log, stderr=log)
    try:
        written = folder / "everything.log"
        until(lambda: b"listening" in written.read_bytes(), within=60, what="the HTTP server")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Deployment]:
    folder = tmp_path_factory.mktemp("clients")
    shelf = tmp_path_factory.mktemp("shelf")
    for path in (shelf, *shelf.parents[:3]):
        path.chmod(0o755)
    (shelf / "hello.txt").write_text("hello from the shelf")
    with everything(folder) as url:
        files = [str(NODE), str(SERVERS / "server-filesystem/dist/index.js"), str(shelf)]
        servers = [
            {"name": "files", "transport": "stdio", "command": files},
            {"name": "every", "transport": "http", "url": url, "sensitivity": "low", "read_only": True},
        ]
        with Deployment(folder, servers) as deployment:
            deployment.sections["shelf"] = str(shelf)
            yield deployment


def text_of(result: CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_python_sdk_lists_and_calls(gateway: Deployment, mode: str) -> None:
    async def session() -> tuple[list[str], str, str]:
        headers = {"Authorization": f"Bearer {gateway.token(mode)}"}
        async with httpx2.AsyncClient(headers=headers) as http:
            transport = streamable_http_client(f"{gateway.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                tools = await client.list_tools()
                path = f"{gateway.sections['shelf']}/hello.txt"
                read = await client.call_tool("files__read_text_file", {"path": path})
                echo = await client.call_tool("every__echo", {"message": mode})
        return [tool.name for tool in tools.tools], text_of(read), text_of(echo)

    names, read, echo = asyncio.run(session())
    assert {"files__read_text_file", "every__echo"} <= set(names)
    assert read == "hello from the shelf"
    assert echo == f"Echo: {mode}"
    row = gateway.recorded("subject=? AND resource='mcp://every/echo'", mode)[0]
    assert row["decision"] == "allow"


@pytest.mark.parametrize("era", ["legacy", "auto", "modern"])
@pytest.mark.parametrize(
    ("tool", "argument", "answer"),
    [
        ("files__read_text_file", "path={shelf}/hello.txt", "hello from the shelf"),
        ("every__echo", "message=hi", "Echo: hi"),
    ],
)
def test_the_inspector_lists_and_calls(
    gateway: Deployment, era: str, tool: str, argument: str, answer: str
) -> None:
    assert INSPECTOR.exists(), f"the Inspector is not installed: {INSPECTOR} (make setup)"
    listed = inspect(gateway, era, "--method", "tools/list")
    assert tool in [entry["name"] for entry in listed["tools"]]
    given = argument.format(shelf=gateway.sections["shelf"])
    called = inspect(gateway, era, "--method", "tools/call", "--tool-name", tool, "--tool-arg", given)
    assert called["content"][0]["text"] == answer


def inspect(gateway: Deployment, era: str, *arguments: str) -> dict[str, list[dict[str, str]]]:
    """One run of the Inspector's command line."""
    command = [
        str(NODE), str(INSPECTOR), "--cli", "--server-url", f"{gateway.url}/mcp", "--transport", "http",
        "--protocol-era", era, "--header", f"Authorization: Bearer {gateway.token(f'inspector-{era}')}",
        "--format", "json", *arguments,
    ]  # fmt: skip
    home = {"HOME": str(gateway.folder), "MCP_CATALOG_PATH": str(gateway.folder / "catalog.json")}
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **home}
    )
    assert run.returncode == 0, run.stderr + run.stdout
    found = json.loads(run.stdout)
    return found.get("result", found)
