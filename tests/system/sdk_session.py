"""The scripted session of test_sdk_sessions.py with the client of the Python SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx2
import msgspec
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated
from mcp_types import (
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    PromptReference,
    ResourceUpdatedNotification,
    TextContent,
)

WITHIN = 30.0
"""Seconds for one step."""
AGAIN = 1.0
"""Seconds after which a change that nobody heard of is made again."""


class Cell(msgspec.Struct, frozen=True):
    """One session: who speaks which era to which server, by its URL at the gateway."""

    cell: str
    language: str
    era: str
    url: str
    token: str


async def run(cell: Cell) -> dict[str, str]:
    """Every step's name with "ok" or what went wrong."""
    steps: dict[str, str] = {}

    async def step(name: str, act: Callable[[], Awaitable[object]]) -> bool:
        try:
            async with asyncio.timeout(WITHIN):
                await act()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what came of this step
            steps[name] = f"{type(error).__name__}: {error}"
        else:
            steps[name] = "ok"
        return steps[name] == "ok"

    session = Session(cell)
    async with AsyncExitStack() as stack:
        if await step("connect", lambda: session.connect(stack)):
            for act in (
                session.list, session.progress, session.cancel, session.elicitation, session.subscribe,
                session.completion,
            ):  # fmt: skip
                await step(act.__name__, act)
            await step("close", stack.aclose)
    return steps


class Session:
    """The steps of one session, each of which raises unless it went as it should."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._uri = f"test://template/{cell.cell}/data"
        self._heard = asyncio.Event()

    async def connect(self, stack: AsyncExitStack) -> None:
        headers = {"Authorization": f"Bearer {self._cell.token}"}
        web = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=WITHIN))
        self._client = await stack.enter_async_context(
            Client(
                streamable_http_client(self._cell.url, http_client=web),
                mode="2026-07-28" if self._cell.era == "modern" else "legacy",
                elicitation_callback=self._fill,
                message_handler=self._hear,
            )
        )

    async def list(self) -> None:
        listed = await self._client.list_tools()
        expect("test_wait" in [tool.name for tool in listed.tools], True)

    async def progress(self) -> None:
        steps: list[float] = []

        async def seen(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        result = await self._client.call_tool("test_tool_with_progress", progress_callback=seen)
        expect([text_of(result), *steps], ["The work is done.", 0, 50, 100])

    async def cancel(self) -> None:
        with anyio.CancelScope() as scope:

            async def seen(progress: float, total: float | None, message: str | None) -> None:
                scope.cancel()

            await self._client.call_tool("test_wait", {"label": self._cell.cell}, progress_callback=seen)
        expect(scope.cancelled_caught, True)
        expect(await self._call("test_cancelled", label=self._cell.cell), "cancelled")

    async def elicitation(self) -> None:
        content = json.dumps(self._answer() | {"email": "[REDACTED:email]"}, sort_keys=True)
        expect(
            await self._call("test_elicitation", message="Who?"),
            f"User response: action=accept, content={content}",
        )

    async def subscribe(self) -> None:
        if self._cell.era == "modern":
            async with self._client.listen(resource_subscriptions=[self._uri]) as subscription:
                expect(subscription.honored.resource_subscriptions, [self._uri])
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._change)
                    expect(await anext(subscription), ResourceUpdated(uri=self._uri))
                    self._heard.set()
            return
        await self._client.subscribe_resource(self._uri)  # pyright: ignore[reportDeprecated]
        await self._change()
        await self._client.unsubscribe_resource(self._uri)  # pyright: ignore[reportDeprecated]

    async def completion(self) -> None:
        ref = PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        found = await self._client.complete(ref, {"name": "arg1", "value": "par"})
        expect(found.completion.values, ["paris", "park", "party"])

    async def _change(self) -> None:
        """Change the resource until it is heard of: a stream asked for a moment ago may miss the first."""
        while not self._heard.is_set():
            await self._call("test_trigger_resource_change", uri=self._uri)
            with anyio.move_on_after(AGAIN):
                await self._heard.wait()

    async def _hear(self, message: IncomingMessage) -> None:
        if isinstance(message, ResourceUpdatedNotification) and message.params.uri == self._uri:
            self._heard.set()

    async def _fill(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content=self._answer())

    def _answer(self) -> dict[str, Any]:
        return {"email": f"{self._cell.cell}@example.com", "username": self._cell.cell}

    async def _call(self, tool: str, **given: str) -> str:
        return text_of(await self._client.call_tool(tool, given))


def text_of(result: CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


def expect(found: object, wanted: object) -> None:
    assert found == wanted, f"{found!r} instead of {wanted!r}"
