"""What the shim between stdio and HTTP says to either side, against a gateway of a few lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from airlock.cli import shim
from airlock.cli.shim import Fields, Shim
from airlock.core.errors import Effect, UpstreamFault
from airlock.mcp.eras import VERSION_KEY

INITIALIZE = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
MODERN = {"_meta": {VERSION_KEY: "2026-07-28"}}


class Heard(msgspec.Struct, frozen=True):
    """One request as the gateway got it."""

    fields: dict[str, str]
    message: dict[str, Any]

    @property
    def method(self) -> str:
        return self.message["method"]


class Answered:
    """One HTTP answer. It never ends where `hangs`."""

    def __init__(self, *bodies: object, status: int = 200, sid: str = "", hangs: bool = False) -> None:
        self.status = status
        self.fields = {b"mcp-session-id": sid.encode()} if sid else {}
        self.aborted = False
        self._hangs = hangs
        self._bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]

    async def next(self) -> bytes | None:
        await asyncio.sleep(0)
        if self._bodies:
            return self._bodies.pop(0)
        if self._hangs:
            await asyncio.Event().wait()
        return None

    def abort(self) -> bool:
        self.aborted = True
        return True


def result(message: dict[str, Any], **value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": value}


def ordinary(heard: Heard) -> Answered:
    """A gateway that shakes hands, lists one tool, and answers everything."""
    if heard.method == "initialize":
        return Answered(result(heard.message, protocolVersion="2025-11-25"), sid="s-1")
    if "id" not in heard.message:
        return Answered(b"", status=202)
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    tools = [{"name": "a__go", "inputSchema": schema}] if heard.method == "tools/list" else []
    return Answered(result(heard.message, tools=tools))


class Client:
    """A client that says its lines and hears answers; the gateway is a function."""

    def __init__(self, gateway: Callable[[Heard], Answered] = ordinary) -> None:
        self.requests: list[Heard] = []
        self.heard: list[dict[str, Any]] = []
        self.ended: list[Fields] = []
        self._gateway = gateway

    async def post(self, fields: Fields, body: bytes) -> Answered:
        heard = Heard(dict(fields), json.loads(body))
        self.requests.append(heard)
        return self._gateway(heard)

    async def end(self, fields: Fields) -> None:
        self.ended.append(fields)

    def write(self, message: bytes) -> None:
        assert b"\n" not in message
        self.heard.append(json.loads(message))

    def says(self, *lines: object, settled: bool = True) -> None:
        """Say the lines, one after the other once what came before is answered, and leave."""

        async def every() -> AsyncIterator[bytes]:
            for line in lines:
                yield line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
                for _ in range(10 if settled else 0):
                    await asyncio.sleep(0)

        shim = Shim(post=self.post, end_session=self.end, write=self.write)
        asyncio.run(shim.run(every()))


def errors(client: Client) -> list[tuple[Any, int, str]]:
    found = [message for message in client.heard if "error" in message]
    return [(message["id"], message["error"]["code"], message["error"]["message"]) for message in found]


def test_a_legacy_client_gets_its_session_and_version_on_every_request() -> None:
    client = Client()
    client.says(INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}, LIST)
    session = {"Mcp-Session-Id": "s-1", "MCP-Protocol-Version": "2025-11-25"}
    assert [request.fields for request in client.requests] == [{}, session, session]
    assert [message["id"] for message in client.heard] == [0, 1]


def test_the_session_is_ended_when_the_client_leaves() -> None:
    client = Client()
    client.says(INITIALIZE)
    assert dict(client.ended[0])["Mcp-Session-Id"] == "s-1"


def test_a_session_that_cannot_be_ended_ends_quietly() -> None:
    async def unreachable(fields: Fields) -> None:
        del fields
        raise UpstreamFault.unavailable("gone", effect=Effect.NONE)

    client = Client()
    client.end = unreachable
    client.says(INITIALIZE)
    assert len(client.heard) == 1


def test_a_modern_client_gets_routing_and_mirrored_parameters() -> None:
    client = Client()
    call = {"name": "a__go", "arguments": {"region": "eu"}, **MODERN}
    client.says(
        {**LIST, "params": MODERN}, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}
    )
    listed, called = (request.fields for request in client.requests)
    assert listed == {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
    assert (called["Mcp-Name"], called["Mcp-Param-Region"]) == ("a__go", "eu")
    assert client.ended == []


@pytest.mark.parametrize("params", [{"name": 5, **MODERN}, {"name": "other", "arguments": [], **MODERN}])
def test_what_cannot_be_mirrored_is_left_to_the_gateway(params: dict[str, Any]) -> None:
    client = Client()
    client.says({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
    assert len(client.heard) == 1


def test_notifications_of_a_stream_are_passed_on_before_the_answer() -> None:
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
    client = Client(lambda heard: Answered(progress, json.dumps(result(heard.message), indent=1).encode()))
    client.says(LIST)
    assert [message.get("method", "answer") for message in client.heard] == [
        "notifications/progress",
        "answer",
    ]


def test_the_refusal_of_a_request_gets_its_id() -> None:
    refusal = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Who are you?"}}
    client = Client(lambda _: Answered(refusal, status=401))
    client.says(LIST, {"jsonrpc": "2.0", "method": "notifications/x"})
    assert errors(client) == [(1, -32600, "Who are you?")]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda: Answered(b"<html>", status=502), "The gateway answered with HTTP 502."),
        (lambda: Answered([], status=500), "The gateway answered with HTTP 500."),
        (lambda: Answered(b""), "The gateway's answer ended early"),
        (lambda: Answered(b"<html>"), "The gateway's answer ended early"),
        (lambda: Answered({"jsonrpc": "2.0", "id": 99, "result": {}}), "The gateway's answer ended early"),
    ],
)
def test_every_request_gets_an_answer(answer: Callable[[], Answered], text: str) -> None:
    client = Client(lambda _: answer())
    client.says(LIST)
    ((asked, code, said),) = errors(client)
    assert (asked, code) == (1, -32603)
    assert said.startswith(text)


def test_a_gateway_that_cannot_be_reached_is_said() -> None:
    def gone(_: Heard) -> Answered:
        raise UpstreamFault.unavailable("nobody listens", effect=Effect.NONE)

    client = Client(gone)
    client.says(LIST, {"jsonrpc": "2.0", "method": "notifications/x"})
    assert errors(client) == [(1, -32603, "The gateway does not answer: nobody listens")]


@pytest.mark.parametrize("line", [b"{\n", b"[]\n", b"5\n", b"\xff\n", b"[" * 5000 + b"\n"])
def test_a_line_that_is_no_message_is_said(line: bytes) -> None:
    client = Client()
    client.says(line)
    assert errors(client) == [(None, -32700, "This line is no JSON-RPC message.")]


def test_a_message_that_is_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim, "LONGEST_LINE", 20)
    client = Client()
    client.says(LIST)
    assert errors(client)[0][1] == -32700


@pytest.mark.parametrize("line", [b"\n", b'{"jsonrpc":"2.0","id":7,"result":{}}\n'])
def test_empty_lines_and_answers_of_the_client_go_nowhere(line: bytes) -> None:
    client = Client()
    client.says(line)
    assert (client.requests, client.heard) == ([], [])


def cancel(asked: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": asked}}


def test_a_modern_cancellation_closes_the_stream_of_its_request() -> None:
    hanging = Answered(hangs=True)
    client = Client(lambda _: hanging)
    client.says({**LIST, "params": MODERN}, cancel("other"), cancel([]), cancel(1))
    assert hanging.aborted
    assert (len(client.requests), client.heard) == (1, [])


def test_a_legacy_cancellation_is_passed_on() -> None:
    client = Client()
    client.says(INITIALIZE, cancel(1))
    assert client.requests[-1].method == "notifications/cancelled"


def test_what_is_still_running_at_the_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim, "LAST_ANSWERS", 0.01)
    hanging = Answered(hangs=True)
    Client(lambda _: hanging).says(LIST)
    assert hanging.aborted


class Forgetful:
    """A gateway that loses its sessions once."""

    def __init__(self, *, again: bool = True) -> None:
        self._handshakes = 0
        self._again = again

    def __call__(self, heard: Heard) -> Answered:
        if heard.method == "initialize":
            self._handshakes += 1
            if self._handshakes > 1 and not self._again:
                return Answered({"error": {"code": -32603}}, status=503)
            return Answered(result(heard.message, protocolVersion="2025-11-25"), sid=f"s-{self._handshakes}")
        if heard.fields.get("Mcp-Session-Id") == "s-1":
            return Answered({"id": None, "error": {"code": -32600, "message": "gone"}}, status=404)
        return ordinary(heard)


def test_a_lost_session_is_opened_again_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(Forgetful())
    client.says(INITIALIZE, LIST, {**LIST, "id": 2}, settled=False)
    methods = [request.method for request in client.requests]
    assert (methods.count("initialize"), methods.count("notifications/initialized")) == (2, 1)
    assert sorted(message["id"] for message in client.heard) == [0, 1, 2]
    assert errors(client) == []


def test_a_session_that_cannot_be_opened_again_is_said() -> None:
    client = Client(Forgetful(again=False))
    client.says(INITIALIZE, LIST)
    assert errors(client) == [(1, -32600, "gone")]


def test_an_unknown_method_is_no_lost_session() -> None:
    def unknown(heard: Heard) -> Answered:
        if heard.method == "initialize":
            return ordinary(heard)
        return Answered({"id": 1, "error": {"code": -32601, "message": "unknown"}}, status=404)

    client = Client(unknown)
    client.says(INITIALIZE, LIST)
    assert errors(client) == [(1, -32601, "unknown")]
    assert [request.method for request in client.requests] == ["initialize", "tools/list"]


def test_remembered_tools_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim, "MOST_TOOLS", 0)
    client = Client()
    client.says({**LIST, "params": MODERN}, {**LIST, "params": MODERN, "id": 2})
    assert len(client.heard) == 2
