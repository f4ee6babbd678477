"""The first call with the Python SDK: the tools, a call that is allowed, and one that is refused."""

import asyncio
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

URL = "http://127.0.0.1:8080/mcp"
TOKEN = Path("airlock-data/agent.token").read_text()


async def main() -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(URL, http_client=http)) as agent,
    ):
        print([tool.name for tool in (await agent.list_tools()).tools])
        for path in ("public/welcome.md", "private/salaries.csv"):
            answer = await agent.call_tool("files__read_text_file", {"path": path})
            print(path, answer.is_error, answer.content)


asyncio.run(main())
