"""Servers that ask before they answer, and clients that listen: SDK clients and servers of both eras around
two workers, and what somebody does who writes the requests by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)
from pydantic import FileUrl

from tests.conformance.governed import fixture
from tests.system.deployment import MODERN, Answer, Deployment, envelope

ASKS = "test_input_required_result_"
CAN: dict[str, Any] = {"elicitation": {"form": {}}, "sampling": {}, "roots": {}}
ERAS = ("modern", "legacy")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Deployment]:
    folder = tmp_path_factory.mktemp("rounds")
    with ExitStack() as stack:
        servers = [
            {"name": era, "transport": "http", "url": stack.enter_context(fixture(folder, era))}
            for era in ERAS
        ]
        yield stack.enter_context(Deployment(folder, servers))


async def sampled(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Paris"), model="m")


async def elicited(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    assert "asked by the server" in params.message
    return ElicitResult(action="accept", content={"name": "Ada", "color": "blue"})


async def rooted(context: ClientRequestContext) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///work"), name="work")])


@asynccontextmanager
async def client_of(gateway: Deployment, who: str, mode: Any, path: str) -> AsyncGenerator[Client]:
    headers = {"Authorization": f"Bearer {gateway.token(who, roles=['admin'])}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{gateway.url}{path}", http_client=http)
        async with Client(
            transport,
            mode=mode,
            sampling_callback=sampled,
            elicitation_callback=elicited,
            list_roots_callback=rooted,
        ) as client:
            yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("era", ERAS)
def test_a_server_of_either_era_asks_a_client_of_either_era(gateway: Deployment, era: str, mode: str) -> None:
    who = f"{mode}-asked-by-{era}"

    async def session() -> list[str]:
        texts: list[str] = []
        async with client_of(gateway, who, mode, "/mcp") as client:
            for name in (f"{ASKS}multi_round", f"{ASKS}multiple_inputs", "test_sampling"):
                given = {"prompt": "Which city?"} if name == "test_sampling" else {}
                result = await client.call_tool(f"{era}__{name}", given)
                assert isinstance(result.content[0], TextContent)
                texts.append(result.content[0].text)
        return texts

    rounds, several, one = asyncio.run(session())
    assert "Ada" in rounds
    assert "blue" in rounds
    assert all(word in several for word in ("Ada", "Paris", "file:///work"))
    assert "Paris" in one
    rows = gateway.recorded("subject=? AND action='tool_call' AND phase='outcome'", who, count=3)
    assert {row["decision"] for row in rows} == {"allow"}
    if mode == "auto":
        asked = [row for row in rows if '"result_type":"input_required"' in row["metadata"].replace(" ", "")]
        assert len(asked) == 4


def ask(
    gateway: Deployment, server: str, tool: str, token: str, *, can: dict[str, Any] = CAN, **params: Any
) -> Answer:
    """One round by hand, on a connection of its own: any worker may get it."""
    name = f"{ASKS}{tool}"
    told = {"name": name, "arguments": {}, "_meta": envelope(can), **params}
    return gateway.post(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": told},
        token,
        path=f"/mcp/{server}",
        headers={
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": "tools/call",
            "Mcp-Name": name,
            "Accept": "application/json, text/event-stream",
        },
    )


def said(answer: Answer) -> dict[str, Any]:
    """The message that an answer ends with, in whichever form it came."""
    body = answer.body.decode()
    if answer.headers["content-type"].startswith("text/event-stream"):
        body = [line for line in body.splitlines() if line.startswith("data: ")][-1][6:]
    return Answer(answer.status, answer.headers, body.encode()).json


ROOTS = {"roots": [{"uri": "file:///work"}]}


@pytest.mark.parametrize("era", ERAS)
def test_a_round_counts_for_its_own_caller_and_call(gateway: Deployment, era: str) -> None:
    token = gateway.token(f"rounds-{era}", roles=["admin"])
    result = said(ask(gateway, era, "list_roots", token))["result"]
    ((key, _),) = result["inputRequests"].items()
    state = result.get("requestState")
    if state is None:
        state = said(ask(gateway, era, "request_state", token))["result"]["requestState"]
    other = gateway.token(f"thief-{era}", roles=["admin"])
    moved = [
        ask(gateway, era, "list_roots", other, requestState=state, inputResponses={key: ROOTS}),
        ask(gateway, era, "sampling", token, requestState=state, inputResponses={key: ROOTS}),
        ask(gateway, era, "list_roots", token, requestState=f"{state[:-1]}!", inputResponses={}),
    ]
    errors = [said(answer)["error"] for answer in moved]
    assert [error["code"] for error in errors] == [-32602] * 3
    assert len({error["message"] for error in errors}) == 1
    rows = gateway.recorded("action='mrtr' AND subject IN (?, ?)", f"rounds-{era}", f"thief-{era}", count=3)
    assert {row["reason"] for row in rows} == {"request_state_invalid"}


def test_a_parked_call_goes_on_with_any_worker_and_once(gateway: Deployment) -> None:
    token = gateway.token("parked", roles=["admin"])
    states: list[str] = []
    for _ in range(6):
        result = said(ask(gateway, "legacy", "list_roots", token))["result"]
        states.append(result["requestState"])
        assert list(result["inputRequests"]) == ["r1_1"]
        answers = {"r1_1": ROOTS, "other": {}}
        done = said(
            ask(gateway, "legacy", "list_roots", token, requestState=states[-1], inputResponses=answers)
        )
        assert "file:///work" in done["result"]["content"][0]["text"]
    for state in states:
        again = ask(
            gateway, "legacy", "list_roots", token, requestState=state, inputResponses={"r1_1": ROOTS}
        )
        assert said(again)["error"]["code"] == -32602


@pytest.mark.parametrize("era", ERAS)
def test_who_declared_nothing_is_told_what_is_missing(gateway: Deployment, era: str) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "test_missing_capability", "arguments": {}, "_meta": envelope()},
    }
    headers = {
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "test_missing_capability",
    }
    token = gateway.token("bare", roles=["admin"])
    answer = gateway.post(message, token, path=f"/mcp/{era}", headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, -32021)
    assert answer.json["error"]["data"]["requiredCapabilities"] == {"sampling": {}}


def test_policy_says_who_may_be_asked(gateway: Deployment) -> None:
    developer = gateway.token("dev", roles=["developer"])
    answer = ask(gateway, "legacy", "list_roots", developer)
    assert said(answer)["error"]["code"] == -32021


_triggers = itertools.count()


@pytest.mark.parametrize("era", ERAS)
def test_a_listening_client_hears_of_another_list(gateway: Deployment, era: str) -> None:
    async def session() -> str:
        who = f"listener-{era}-{next(_triggers)}"
        async with (
            client_of(gateway, who, "auto", f"/mcp/{era}") as client,
            client.listen(tools_list_changed=True) as events,
        ):
            await client.call_tool("test_trigger_tool_change", {})
            async with asyncio.timeout(30):
                async for event in events:
                    return type(event).__name__
        return ""

    assert "Tools" in asyncio.run(session())
