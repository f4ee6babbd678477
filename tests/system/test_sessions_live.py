"""Sessions of legacy clients on two workers: what servers ask of clients, what streams carry, what is kept.

Behind the gateway: the fixture of the conformance suite, on the official SDK, over HTTP and legacy only. The
port is shared by two workers, so consecutive requests of one session reach either.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    LoggingMessageNotificationParams,
    Root,
    TextContent,
)

from tests.system.deployment import Deployment, free_port, until

EVENTS = {"Accept": "text/event-stream"}
BOTH = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Deployment]:
    folder = tmp_path_factory.mktemp("sessions")
    port = free_port()
    command = [sys.executable, "-m", "tests.conformance.fixture", "--port", str(port), "--era", "legacy"]
    with (folder / "fixture.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        servers = [{"name": "fx", "transport": "http", "url": f"http://127.0.0.1:{port}/mcp"}]
        with Deployment(folder, servers, logging={"audit_all_requests": True}) as deployment:
            yield deployment
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def client(gateway: Deployment, subject: str, **callbacks: Any) -> AsyncGenerator[Client]:
    headers = {"Authorization": f"Bearer {gateway.token(subject, roles=('admin',))}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as web:
        transport = streamable_http_client(f"{gateway.url}/mcp/fx", http_client=web)
        async with Client(transport, mode="legacy", **callbacks) as connected:
            yield connected


def text_of(result: Any) -> str:
    return result.content[0].text


async def sampled(context: Any, params: CreateMessageRequestParams) -> CreateMessageResult:
    del context
    said = params.messages[0].content
    assert isinstance(said, TextContent)
    text = TextContent(type="text", text=f"model heard {said.text}")
    return CreateMessageResult(role="assistant", content=text, model="m")


async def filled(context: Any, params: ElicitRequestParams) -> ElicitResult:
    del context
    assert params.message.endswith("(asked by the server fx)")
    return ElicitResult(action="accept", content={"username": "ada", "email": "ada@example.com"})


async def rooted(context: Any) -> ListRootsResult:
    del context
    return ListRootsResult(roots=[Root.model_validate({"uri": "file:///work", "name": "work"})])


def test_a_server_asks_the_client_of_its_call_whatever_worker_hears_the_answer(gateway: Deployment) -> None:
    async def session() -> list[str]:
        callbacks = {
            "sampling_callback": sampled, "elicitation_callback": filled, "list_roots_callback": rooted,
        }  # fmt: skip
        async with client(gateway, "asked", **callbacks) as connected:
            calls = [
                connected.call_tool("test_sampling", {"prompt": f"number {number}"}) for number in range(6)
            ]
            found = [text_of(result) for result in await asyncio.gather(*calls)]
            found.append(text_of(await connected.call_tool("test_elicitation", {"message": "Who?"})))
            return found

    *sampling, elicited = asyncio.run(session())
    assert all(f"model heard number {number}" in text for number, text in enumerate(sampling))
    assert "ada" in elicited
    rows = gateway.recorded("subject='asked' AND action='sampling' AND reason='answered'", count=6)
    assert {row["decision"] for row in rows} == {"allow"}
    gateway.recorded("subject='asked' AND action='elicitation' AND reason='answered'")


def test_what_a_client_did_not_declare_is_not_asked_of_it(gateway: Deployment) -> None:
    async def session() -> None:
        async with client(gateway, "silent") as connected:
            with pytest.raises(MCPError, match="Method not found"):
                await connected.call_tool("test_sampling", {"prompt": "hello"})

    asyncio.run(session())
    assert not gateway.rows("SELECT 1 FROM audit_events WHERE subject='silent' AND action='sampling'")


def test_log_messages_come_from_the_level_that_the_session_set(gateway: Deployment) -> None:
    heard: list[str] = []

    async def log(params: LoggingMessageNotificationParams) -> None:
        heard.append(params.level)

    async def session() -> None:
        async with client(gateway, "logs", logging_callback=log) as connected:
            await connected.call_tool("test_tool_with_logging", {})
            assert heard == ["info"] * 3
            with pytest.warns(MCPDeprecationWarning):
                await connected.set_logging_level("error")  # pyright: ignore[reportDeprecated]
            for _ in range(4):
                await connected.call_tool("test_tool_with_logging", {})
            assert heard == ["info"] * 3

    asyncio.run(session())


class Session:
    """A session by hand, on `/mcp/fx`: what no SDK does on purpose."""

    def __init__(self, gateway: Deployment, subject: str, *, version: str = "2025-11-25") -> None:
        self.gateway = gateway
        self.token = gateway.token(subject, roles=("admin",))
        hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        answer = self.post("initialize", hello)
        self.id = answer.headers["mcp-session-id"]

    id = ""

    @property
    def headers(self) -> dict[str, str]:
        named = {"Mcp-Session-Id": self.id} if self.id else {}
        return {"Authorization": f"Bearer {self.token}", **named}

    def post(self, method: str, params: dict[str, Any] | None = None, *, id: int = 1, **more: str) -> Any:
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
        headers = {**BOTH, **self.headers, **more}
        return self.gateway.post(message, None, path="/mcp/fx", headers=headers)

    @contextmanager
    def open(
        self, method: str, body: dict[str, Any] | None = None, **more: str
    ) -> Generator[http.client.HTTPResponse]:
        """A request whose answer is a stream; at the end of the context the client is gone."""
        with closing(self.gateway.connection()) as connection:
            headers = {
                **(BOTH if body else EVENTS),
                **self.headers,
                "Content-Type": "application/json",
                **more,
            }
            connection.request(method, "/mcp/fx", json.dumps(body) if body else None, headers)
            with closing(connection.getresponse()) as response:
                assert response.status == 200, response.read()
                yield response


def events(response: http.client.HTTPResponse, count: int) -> list[tuple[str, Any]]:
    """The next events of a stream: their ids and messages (None of the one that primes)."""
    found: list[tuple[str, Any]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        raw = response.readline()
        assert raw, f"the stream ended after {found}"
        line = raw.decode().rstrip("\n")
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif "id" in fields:
            found.append((fields["id"], json.loads(fields["data"]) if fields.get("data") else None))
            fields = {}
        else:
            fields = {}
    return found


def progressing(id: int = 7) -> dict[str, Any]:
    params = {"name": "test_tool_with_progress", "arguments": {}, "_meta": {"progressToken": "mine"}}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def test_who_was_cut_off_comes_back_for_the_rest_at_any_worker(gateway: Deployment) -> None:
    session = Session(gateway, "resumes")
    with session.open("POST", progressing()) as response:
        (primed, nothing), (first, message) = events(response, 2)
        assert nothing is None and message["method"] == "notifications/progress"
    for last, rest in ((primed, 3), (first, 2)) * 3:
        with session.open("GET", None, **{"Last-Event-ID": last}) as response:
            *told, (_, answer) = events(response, rest + 1)
        assert [each["method"] for _, each in told] == ["notifications/progress"] * rest
        assert answer["id"] == 7 and "result" in answer
    stranger = Session(gateway, "stranger")
    refused = gateway.get("/mcp/fx", {**EVENTS, **stranger.headers, "Last-Event-ID": first})
    assert (refused.status, refused.json["error"]["code"]) == (400, -32600)


def test_an_answer_that_nobody_can_fetch_is_recorded_as_undelivered(gateway: Deployment) -> None:
    session = Session(gateway, "leaves")
    connection = gateway.connection()
    with closing(connection):
        headers = {**session.headers, "Content-Type": "application/json", "Accept": "application/json"}
        connection.request("POST", "/mcp/fx", json.dumps(progressing()), headers)
    gateway.recorded("subject='leaves' AND action='tool_call' AND reason='undelivered'")


def test_a_session_has_one_stream_of_its_own_and_hears_there_what_changed(gateway: Deployment) -> None:
    session = Session(gateway, "listens")
    with session.open("GET") as response:
        [(primed, nothing)] = events(response, 1)
        assert nothing is None
        session.post("tools/call", {"name": "test_trigger_tool_change", "arguments": {}})
        [(_, message)] = events(response, 1)
        assert message == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}
        with session.open("GET") as newer:
            events(newer, 1)
            assert b"retry: 1000" in response.read()
            assert gateway.send("DELETE", "/mcp/fx", None, session.headers).status == 204
            assert b"retry: 1000" in newer.read()
    assert [session.post("ping").status for _ in range(4)] == [404] * 4
    assert gateway.get("/mcp/fx", {**EVENTS, **session.headers, "Last-Event-ID": primed}).status == 404


def test_one_session_too_many_ends_the_one_that_was_used_longest_ago(gateway: Deployment) -> None:
    sessions = [Session(gateway, "many") for _ in range(33)]
    left = [404] + [200] * 32
    until(lambda: [session.post("ping").status for session in sessions] == left, within=60)


def test_without_a_session_there_is_nothing_to_get(gateway: Deployment) -> None:
    session = Session(gateway, "gets")
    bearer = {"Authorization": f"Bearer {session.token}"}
    assert gateway.get("/mcp/fx", EVENTS).status == 401
    for headers in (bearer, {**bearer, **EVENTS}, session.headers):
        answer = gateway.get("/mcp/fx", headers)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    other = {**EVENTS, **session.headers, "Authorization": f"Bearer {gateway.token('someone')}"}
    assert gateway.get("/mcp/fx", other).status == 404


def test_a_server_that_closes_its_stream_is_asked_for_the_rest(gateway: Deployment) -> None:
    session = Session(gateway, "patient")
    answer = session.post("tools/call", {"name": "test_reconnection", "arguments": {}})
    assert b"the answer was kept" in answer.body


def test_a_client_cancels_its_call_whatever_worker_hears_it(gateway: Deployment) -> None:
    session = Session(gateway, "cancels")
    for number in range(4):
        with session.open("POST", progressing(number + 10)) as response:
            events(response, 2)
            message = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
            body = {**message, "params": {"requestId": number + 10}}
            told = gateway.post(body, None, path="/mcp/fx", headers={**BOTH, **session.headers})
            assert told.status == 202
            *_, last = [line for line in response.read().splitlines() if line.startswith(b"data: ")]
        answer = json.loads(last.removeprefix(b"data: "))
        assert answer["id"] == number + 10
    gateway.recorded("subject='cancels' AND reason='cancelled'", count=4)
