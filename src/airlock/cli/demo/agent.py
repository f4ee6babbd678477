"""Those who call: an agent on the official SDK, and a caller who writes HTTP by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from airlock.cli.demo.transcript import Unexpected
from airlock.mcp.refusals import REFUSAL_KEY

TIMEOUT = 20.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a call came back with."""

    text: str
    code: int = 0
    """Of the refusal; 0 where the call was served."""
    reason: str = ""
    decision_id: str = ""
    """Names the row in the log."""


class Agent:
    """A connected SDK client of one identity."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def era(self) -> str:
        return self._client.protocol_version

    async def tools(self) -> list[str]:
        """The names in `tools/list`."""
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, **arguments: object) -> Answer:
        """One call; a refusal is an answer too."""
        try:
            result = await self._client.call_tool(tool, arguments)
        except MCPError as error:
            return Answer(text=error.error.message, code=error.error.code)
        text = "\n".join(block.text for block in result.content if block.type == "text")
        refusal: dict[str, Any] = (result.meta or {}).get(REFUSAL_KEY, {})
        return Answer(
            text=text,
            code=refusal.get("code", 0),
            reason=refusal.get("policy_reason") or refusal.get("reason", ""),
            decision_id=refusal.get("decision_id", ""),
        )


@asynccontextmanager
async def connected(url: str, token: str) -> AsyncGenerator[Agent]:
    """An agent with a bearer token, in whichever era the gateway speaks."""
    async with (
        http(token) as carrier,
        Client(streamable_http_client(f"{url}/mcp", http_client=carrier), mode="auto") as client,
    ):
        yield Agent(client)


def http(token: str = "") -> httpx2.AsyncClient:
    """Plain HTTP with a bearer token. Proxies of the environment are for elsewhere. No connection is used
    twice, so that any worker may get any request."""
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(
        headers={"Content-Type": "application/json", **bearer},
        limits=httpx2.Limits(max_keepalive_connections=0),
        timeout=TIMEOUT,
        trust_env=False,
    )


async def by_hand(carrier: httpx2.AsyncClient, url: str, body: bytes) -> dict[str, Any]:
    """One JSON-RPC message as these very bytes, and the JSON that came back; a stream is not taken."""
    return read(await carrier.post(f"{url}/mcp", content=body, headers={"Accept": "application/json"}))


def read(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON of an answer. Raises `Unexpected` for anything else: the gateway never says it otherwise."""
    try:
        return answer.json()
    except ValueError as other:
        seen = f"HTTP {answer.status_code} {answer.text[:200]!r}"
        raise Unexpected("every answer of the gateway is JSON", expected="JSON", seen=seen) from other


def message(tool: str, **arguments: object) -> bytes:
    """A `tools/call` as a client without handshake sends it."""
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def served(answer: dict[str, Any]) -> bool:
    """Whether an answer by hand is the server's own, and not a refusal."""
    result = answer.get("result", {})
    return "result" in answer and REFUSAL_KEY not in result.get("_meta", {}) and not result.get("isError")


def refusal_code(answer: dict[str, Any]) -> int:
    """The code of a refusal in an answer by hand; 0 where there is none."""
    meta: dict[str, Any] = answer.get("result", {}).get("_meta", {})
    return meta.get(REFUSAL_KEY, {}).get("code", 0)
