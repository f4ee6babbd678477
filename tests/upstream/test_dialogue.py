"""What is said to a server in either era, without a wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airlock.core.errors import Effect, UpstreamFault
from airlock.model.upstream import Offer, UpstreamAnswer
from airlock.upstream import dialogue
from airlock.upstream.dialogue import Peer


def answered(**result: Any) -> UpstreamAnswer:
    return UpstreamAnswer(result=result, size=1, era="")


def failed(code: int, **more: Any) -> UpstreamAnswer:
    return UpstreamAnswer(error={"code": code, "message": "no", **more}, size=1, era="")


DISCOVERED: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {}}


def test_the_envelope_wins_over_what_was_there_and_keeps_the_rest_in_order() -> None:
    params = {
        "name": "add",
        "_meta": {"progressToken": 1, "io.modelcontextprotocol/clientInfo": {"name": "evil"}},
        "arguments": {"b": 1, "a": 2},
    }
    found = dialogue.enveloped(params, {"sampling": {}})
    assert list(found) == ["name", "_meta", "arguments"]
    assert found["_meta"] == {
        "progressToken": 1,
        "io.modelcontextprotocol/clientInfo": dialogue.CLIENT_INFO,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
    }
    assert params["_meta"] == {"progressToken": 1, "io.modelcontextprotocol/clientInfo": {"name": "evil"}}


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "notifications/message"},
        {"jsonrpc": "2.0", "id": "a", "method": "ping", "params": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": ""}},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "", "data": [1]}},
    ],
)
def test_json_rpc_messages_are_read(message: dict[str, Any]) -> None:
    assert dialogue.read_message(json.dumps(message).encode()) == message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b'"x"',
        b"\xff",
        b'{"jsonrpc":"2.0","id":1,"result":{}}x',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":9223372036854775808}}',
        b'{"jsonrpc":"2.0","id":1,"result":' + b'{"a":' * 65 + b"1" + b"}" * 66,
        b'{"jsonrpc":"1.0","id":1,"result":{}}',
        b'{"id":1,"result":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        b'{"jsonrpc":"2.0","id":true,"result":{}}',
        b'{"jsonrpc":"2.0","id":1.0,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":[1],"error":{"code":1,"message":""}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1}}',
        b'{"jsonrpc":"2.0","id":1,"error":"no"}',
        b'{"jsonrpc":"2.0","method":1}',
        b'{"jsonrpc":"2.0","method":"a","params":[]}',
        b'{"jsonrpc":"2.0","method":"a","id":null}',
    ],
)
def test_everything_else_is_a_protocol_fault(raw: bytes) -> None:
    with pytest.raises(UpstreamFault) as caught:
        dialogue.read_message(raw)
    assert caught.value.code == 50201


def test_property_names_of_a_server_may_differ_in_case_only() -> None:
    raw = b'{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"ID":1,"id":2}}}'
    assert dialogue.read_message(raw)["result"] == {"structuredContent": {"ID": 1, "id": 2}}


@pytest.mark.parametrize(
    "answer",
    [
        answered(**DISCOVERED),
        answered(**DISCOVERED | {"supportedVersions": ["2030-01-01", "2026-07-28"]}),
        failed(-32020),
        failed(-32021, data={"requiredCapabilities": {}}),
        failed(-32022),
        failed(-32022, data={"supported": ["2026-07-28"], "requested": "2026-07-28"}),
        failed(-32022, data="no"),
    ],
)
def test_a_modern_server_is_recognised(answer: UpstreamAnswer) -> None:
    peer = dialogue.judge(answer)
    assert peer is not None
    assert peer.modern


@pytest.mark.parametrize(
    "answer",
    [
        failed(-32601),
        failed(-32600),
        failed(-32000),
        failed(-32602),
        answered(**DISCOVERED | {"supportedVersions": ["2025-11-25"]}),
        failed(-32022, data={"supported": ["2025-06-18"]}),
        answered(),
        answered(tools=[]),
    ],
)
def test_a_legacy_server_is_recognised(answer: UpstreamAnswer) -> None:
    assert dialogue.judge(answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        answered(supportedVersions="2026-07-28", capabilities={}),
        answered(supportedVersions=["2026-07-28"], capabilities=[]),
        answered(supportedVersions=["2030-01-01", 7], capabilities={}),
        failed(-32022, data={"supported": ["2030-01-01"]}),
    ],
)
def test_what_is_neither_is_a_fault(answer: UpstreamAnswer) -> None:
    with pytest.raises(UpstreamFault):
        dialogue.judge(answer)


def test_a_discovered_server_introduces_itself() -> None:
    info = {"name": "x", "version": "1"}
    found = dialogue.judge(
        answered(
            supportedVersions=["2026-07-28"],
            capabilities={"tools": {}},
            instructions="Hi.",
            _meta={"io.modelcontextprotocol/serverInfo": info},
        )
    )
    assert found == Peer(
        version="2026-07-28", server_info=info, capabilities={"tools": {}}, instructions="Hi."
    )


def test_a_legacy_server_introduces_itself() -> None:
    found = dialogue.introduced(
        answered(protocolVersion="2025-03-26", capabilities={}, serverInfo={"name": "x"})
    )
    assert found == Peer(version="2025-03-26", server_info={"name": "x"}, capabilities={})
    assert not found.modern


@pytest.mark.parametrize(
    "answer",
    [answered(), answered(protocolVersion="2026-07-28"), answered(protocolVersion=1), failed(-32022)],
)
def test_an_unknown_version_is_refused_without_effect(answer: UpstreamAnswer) -> None:
    with pytest.raises(UpstreamFault) as caught:
        dialogue.introduced(answer)
    assert caught.value.effect is Effect.NONE


class Pages:
    """Answers `tools/list` from a list of pages, and other lists with what a test says."""

    def __init__(self, *pages: UpstreamAnswer, **others: UpstreamAnswer) -> None:
        self.asked: list[dict[str, Any]] = []
        self.others = others
        """By method; `_` stands for `/`."""
        self._pages = list(pages)

    async def __call__(self, method: str, params: dict[str, Any]) -> UpstreamAnswer:
        if method != "tools/list":
            return self.others.get(method.replace("/", "_"), failed(-32601))
        self.asked.append(params)
        return self._pages.pop(0) if len(self._pages) > 1 else self._pages[0]


MODERN = Peer(version="2026-07-28", capabilities={"tools": {}})
OLD = Peer(version="2025-11-25", capabilities={"tools": {}})


def offer(peer: Peer, ask: Pages) -> Offer:
    return asyncio.run(dialogue.describe(peer, ask))


def named(*names: str, **more: Any) -> UpstreamAnswer:
    return answered(tools=[{"name": name} for name in names], **more)


def test_all_pages_are_read_and_an_empty_cursor_is_a_cursor() -> None:
    ask = Pages(named("a", nextCursor=""), named("b", nextCursor="2"), named("c"))
    assert [tool["name"] for tool in offer(OLD, ask).tools] == ["a", "b", "c"]
    assert ask.asked == [{}, {"cursor": ""}, {"cursor": "2"}]


def test_a_server_without_tools_is_not_asked_for_them() -> None:
    ask = Pages(named("a"))
    assert offer(Peer(version="2025-11-25", capabilities={"prompts": {}}), ask).tools == ()
    assert ask.asked == []


def test_a_server_that_said_nothing_of_itself_is_asked() -> None:
    found = offer(Peer(version="2026-07-28"), Pages(named("a")))
    assert (len(found.tools), found.capabilities) == (1, {})


@pytest.mark.parametrize(
    ("peer", "pages", "ttl", "keep_ms"),
    [
        (OLD, [named("a", ttlMs=1000)], 30.0, 30_000),
        (MODERN, [named("a")], 30.0, 30_000),
        (MODERN, [named("a", ttlMs=60000, nextCursor="2"), named("b", ttlMs=9000)], 9.0, 9_000),
        (MODERN, [named("a", ttlMs=60000)], 30.0, 60_000),
        (MODERN, [named("a", ttlMs=0)], 5.0, 0),
        (MODERN, [named("a", ttlMs=-1)], 5.0, 0),
        (MODERN, [named("a", ttlMs=9e12)], 30.0, 9_000_000_000_000),
        (MODERN, [named("a", ttlMs=True)], 30.0, 30_000),
        (Peer(version="2026-07-28", capabilities={}), [], 30.0, 30_000),
    ],
)
def test_the_shortest_announced_lifetime_counts_and_bounds_only_our_own_reading(
    peer: Peer, pages: list[UpstreamAnswer], ttl: float, keep_ms: int
) -> None:
    found = offer(peer, Pages(*pages))
    assert (found.ttl, found.keep_ms) == (ttl, keep_ms)


@pytest.mark.parametrize(
    "page",
    [
        failed(-32603),
        answered(),
        answered(tools={}),
        answered(tools=["a"]),
        answered(tools=[{"title": "a"}]),
        answered(tools=[{"name": ""}]),
        answered(tools=[{"name": 1}]),
        named("a", "a"),
        named("a", nextCursor="again"),
        named(*map(str, range(2001))),
    ],
)
def test_half_a_catalog_is_no_catalog(page: UpstreamAnswer) -> None:
    with pytest.raises(UpstreamFault) as caught:
        offer(OLD, Pages(page))
    assert caught.value.code == 50201


def test_at_most_fifty_pages_are_read() -> None:
    pages = [named(str(number), nextCursor="x") for number in range(60)]
    ask = Pages(*pages)
    with pytest.raises(UpstreamFault, match="50 pages"):
        offer(OLD, ask)
    assert len(ask.asked) == 50


def test_two_thousand_tools_pass() -> None:
    assert len(offer(OLD, Pages(named(*map(str, range(2000))))).tools) == 2000


EVERYTHING = Peer(version="2025-11-25", capabilities={"tools": {}, "prompts": {}, "resources": {}})
PROMPTS, RESOURCES = answered(prompts=[{"name": "p"}]), answered(resources=[{"uri": "a:b"}])
TEMPLATES = answered(resourceTemplates=[{"uriTemplate": "a:{b}"}])


def test_every_list_of_a_server_is_read() -> None:
    pages = Pages(
        named("a"), prompts_list=PROMPTS, resources_list=RESOURCES, resources_templates_list=TEMPLATES
    )
    found = offer(EVERYTHING, pages)
    assert [len(every) for every in (found.tools, found.prompts, found.resources, found.templates)] == [1] * 4
    assert found.left_out == {}


def test_the_shortest_lifetime_of_all_lists_counts() -> None:
    peer = Peer(version="2026-07-28", capabilities={"tools": {}, "prompts": {}})
    pages = Pages(named("a"), prompts_list=answered(prompts=[], ttlMs=7000))
    assert offer(peer, pages).ttl == 7.0


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (failed(-32601), ""),
        (failed(-32603), "resources/list was answered with error -32603"),
        (answered(resources=7), "a page of resources/list has no resources"),
        (answered(resources=[{"name": "x"}]), "resources/list has an item without uri"),
        (answered(resources=[], nextCursor="again"), "more than 50 pages of resources/list"),
    ],
)
def test_a_list_that_cannot_be_read_is_left_out_and_the_others_stay(
    resources: UpstreamAnswer, said: str
) -> None:
    found = offer(EVERYTHING, Pages(named("a"), prompts_list=PROMPTS, resources_list=resources))
    assert (len(found.tools), len(found.prompts), found.resources) == (1, 1, ())
    assert found.left_out == ({"resources/list": said} if said else {})
