"""A trace tells the way of a message, and nothing of what it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from airlock.app import traces
from airlock.app.traces import Traces
from airlock.core.errors import Effect, UpstreamFault
from airlock.model.call import Reply
from tests.gateway.parts import MODERN, House, answered, call_message, no, until

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = CLIENT.split("-")[1:3]
CANARY = "4111-1111-1111-1111"
WAY = ["authenticate", "read", "permit", "resolve", "admit", "authorize", "redact_request", "intend"]


class Followed:
    """A pipeline that is followed, and the spans of what it carried."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.kept))
        self.house.pipeline = Traces(provider.get_tracer("test"), clock=self.house.clock).of(
            self.house.pipeline
        )

    def govern(self, message: object, *, headers: Mapping[str, str] | None = None, token: str = "") -> Reply:
        asked = self.house.inbound(message, headers=headers, token=token or None)
        return asyncio.run(self.house.govern(asked))

    def spans(self) -> tuple[ReadableSpan, ReadableSpan | None]:
        """That of the message, and that of what was sent to the server."""
        found = {span.kind: span for span in self.kept.get_finished_spans()}
        return found[SpanKind.SERVER], found.get(SpanKind.CLIENT)

    def server(self) -> ReadableSpan:
        return self.spans()[0]

    @property
    def sent(self) -> dict[str, Any]:
        """`_meta` of the request that the server got."""
        return self.house.upstream.requests[-1].params.get("_meta", {})


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def names(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def message(**meta: Any) -> dict[str, Any]:
    return call_message(arguments={"text": CANARY}, _meta=meta) if meta else call_message()


def test_a_call_is_one_span_with_an_event_for_each_stage(followed: Followed) -> None:
    assert followed.govern(message()).status == 200
    server, client = followed.spans()
    assert client is not None
    assert names(server) == [*WAY, "redact_response", "seal"]
    assert (server.name, client.name) == ("tools/call docs__echo", "tools/call echo")
    assert server.status.status_code is StatusCode.UNSET
    assert said(server) | {"airlock.request_id": ""} == {
        "airlock.request_id": "",
        "airlock.server": "docs",
        "airlock.policy.revision": followed.house.engine.revision,
        "http.response.status_code": 200,
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2025-03-26",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "docs__echo",
    }
    assert said(client) == {
        "airlock.server": "docs",
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": MODERN,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "echo",
    }


def test_the_trace_of_the_client_goes_on_and_the_server_is_below_us(followed: Followed) -> None:
    followed.govern(message(traceparent=CLIENT, tracestate=f"a={CANARY}", baggage=f"b={CANARY}"))
    server, client = followed.spans()
    assert client is not None
    assert server.parent is not None
    assert client.parent is not None
    assert server.context is not None
    assert client.context is not None
    assert (f"{server.context.trace_id:032x}", f"{server.parent.span_id:016x}") == (TRACE, PARENT)
    assert client.parent.span_id == server.context.span_id
    assert followed.sent == {"traceparent": f"00-{TRACE}-{client.context.span_id:016x}-01"}


def test_the_headers_carry_a_trace_too_and_the_message_wins(followed: Followed) -> None:
    other = CLIENT.replace(TRACE, "1" * 32)
    followed.govern(message(), headers={"traceparent": CLIENT})
    followed.govern(message(traceparent=CLIENT), headers={"traceparent": other})
    spans = followed.kept.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {TRACE}


@pytest.mark.parametrize(
    "given", ["", "00-0-0-00", CLIENT + "-x", CLIENT.replace(TRACE, "0" * 32), 7, {"a": 1}, CANARY]
)
def test_what_is_no_trace_context_is_nothing(followed: Followed, given: object) -> None:
    assert followed.govern(message(traceparent=given)).status == 200
    assert followed.server().parent is None


def test_progress_is_still_told(followed: Followed) -> None:
    followed.govern(message(traceparent=CLIENT, progressToken="mine"))
    assert set(followed.sent) == {"traceparent", "progressToken"}
    assert followed.sent["progressToken"] != "mine"


def test_nothing_that_the_caller_said_is_in_a_span(followed: Followed) -> None:
    followed.govern(message(traceparent=CLIENT, baggage=CANARY))
    followed.govern({"jsonrpc": "2.0", "id": CANARY, "method": CANARY, "params": {}})
    followed.govern(call_message(name=CANARY))
    followed.govern(message(), token=CANARY)
    told = "".join(span.to_json() for span in followed.kept.get_finished_spans())
    assert CANARY not in told
    assert "alice" not in told
    assert "192.0.2.7" not in told


def test_a_refusal_is_named_and_is_no_error(followed: Followed) -> None:
    followed.house.engine.answer = no
    followed.govern(message())
    server, client = followed.spans()
    assert client is None
    assert names(server)[-2:] == ["authorize", "seal"]
    assert server.status.status_code is StatusCode.UNSET
    assert said(server)["error.type"] == "policy_denied"


def test_a_message_without_a_token_has_a_span(followed: Followed) -> None:
    assert followed.govern(message(), token="x").status == 401
    server = followed.server()
    assert (server.name, names(server)) == ("mcp", ["authenticate", "seal"])
    assert "mcp.method.name" not in said(server)


def test_a_list_is_answered_without_a_server(followed: Followed) -> None:
    followed.govern({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
    server, client = followed.spans()
    assert (server.name, client) == ("tools/list", None)
    assert names(server) == ["authenticate", "read", "permit", "answer"]


def test_a_fault_of_the_server_is_an_error_of_both_spans(followed: Followed) -> None:
    def respond(*_: object) -> None:
        raise UpstreamFault.unavailable("gone", effect=Effect.NONE)

    followed.house.upstream.respond = respond
    followed.govern(message())
    for span in followed.spans():
        assert span is not None
        assert span.status.status_code is StatusCode.ERROR
        assert said(span)["error.type"] == "upstream_unavailable"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [({"error": {"code": -32000, "message": CANARY}}, "-32000"), ({"result": {"isError": True}}, "")],
)
def test_an_error_of_the_tool_is_one(followed: Followed, answer: dict[str, Any], kind: str) -> None:
    result = (
        {"content": [{"type": "text", "text": CANARY}], **answer["result"]} if "result" in answer else None
    )
    followed.house.upstream.respond = lambda _request, _notify: answered(result, error=answer.get("error"))
    followed.govern(message())
    server, client = followed.spans()
    assert client is not None
    assert server.status.status_code is StatusCode.ERROR
    assert said(client).get("error.type", "") == kind
    assert CANARY not in server.to_json() + client.to_json()


def test_a_client_that_goes_away_ends_its_span(followed: Followed) -> None:
    async def scenario() -> None:
        followed.house.upstream.respond = lambda _request, _notify: asyncio.Event().wait()
        running = asyncio.create_task(followed.house.govern(followed.house.inbound(message())))
        await until(lambda: bool(followed.house.upstream.requests), within=30)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    server, client = followed.spans()
    assert client is not None
    assert said(server)["error.type"] == "client_disconnected"
    assert said(server)["http.response.status_code"] == 499


def test_only_so_many_messages_are_followed_at_once(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "OPEN", 0)
    assert followed.govern(message(traceparent=CLIENT)).status == 200
    assert followed.kept.get_finished_spans() == ()
    assert followed.sent == {}
