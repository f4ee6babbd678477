"""Who hears of which resource, in whatever worker, and how lists that change are noticed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from airlock.core.errors import PolicyFault
from airlock.gateway import changes, subscriptions
from airlock.gateway.changes import Changes, news
from airlock.gateway.kept import Streams
from airlock.gateway.subscriptions import Subscriptions
from airlock.gateway.visibility import Visibility
from airlock.mcp.jsonrpc import Request
from airlock.mcp.names import Kind
from airlock.model.call import Client, Identified, Redacted
from airlock.model.server import Item
from tests.edge.parts import travel
from tests.gateway.parts import HandClock, authenticated, definition, identified, registered, snapshot
from tests.gateway.session_parts import in_session


async def nobody(call: Redacted) -> None:
    raise AssertionError(call)


class Desk:
    """Subscriptions of one worker; what it tells others and servers."""

    def __init__(self) -> None:
        self.streams = Streams(slot=0, clock=HandClock(), undelivered=nobody)
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.cancelled: list[tuple[str, str, str]] = []
        self.held = Subscriptions(streams=self.streams, post=self, cancel=self._cancel)

    async def one(self, slot: int, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        raise AssertionError((slot, what, body))

    def all(self, what: str, body: dict[str, Any]) -> None:
        self.posted.append((what, body))

    async def _cancel(self, session: str, server: str, uri: str) -> None:
        self.cancelled.append((session, server, uri))


def subscribed(session: str = "s", uri: str = "file:///a") -> Redacted:
    call = in_session(session)
    routed = call.allowed.admitted.routed
    request = Request(1, "resources/subscribe", {"uri": f"mcp+docs:{uri}"})
    asked = structs.replace(routed.identified, message=request)
    admitted = structs.replace(
        call.allowed.admitted, routed=structs.replace(routed, identified=asked, uri=uri)
    )
    return structs.replace(call, allowed=structs.replace(call.allowed, admitted=admitted))


def test_an_update_reaches_the_session_under_its_own_uri() -> None:
    desk = Desk()
    desk.held.begun(subscribed())
    stream = desk.streams.stand("s")
    desk.held.heard("docs", "s", {"uri": "file:///a", "more": "secret"})
    assert '"params":{"uri":"mcp+docs:file:///a"}' in stream.after(0).data
    for server, session, uri in (
        ("docs", "t", "file:///a"),
        ("docs", "s", "file:///b"),
        ("x", "s", "file:///a"),
    ):
        desk.held.heard(server, session, {"uri": uri})
    assert (stream.number, desk.posted) == (1, [])


def test_a_session_that_listens_elsewhere_is_told_there() -> None:
    here, there = Desk(), Desk()
    here.held.begun(subscribed())
    here.held.heard("docs", "s", {"uri": "file:///a"})
    [(what, body)] = here.posted
    stream = there.streams.stand("s")

    async def told() -> None:
        await there.held.hears[what](body)

    travel(told())
    assert stream.number == 1


def test_a_subscription_is_taken_back_where_it_is_kept() -> None:
    here, there = Desk(), Desk()
    here.held.begun(subscribed())
    client = Client(version="2025-11-25", modern=False, capabilities={}, session="s")
    asked = identified("resources/unsubscribe", {"uri": "mcp+docs:file:///a"}, client=client)

    async def scenario() -> None:
        await there.held.end(asked)
        [(what, body)] = there.posted
        await here.held.hears[what](body)
        await here.held.hears[what](body)

    travel(scenario())
    assert (there.cancelled, here.cancelled, len(here.held)) == ([], [("s", "docs", "file:///a")], 0)


def test_on_the_route_of_a_server_its_own_uri_counts() -> None:
    desk = Desk()
    caller = authenticated(server="docs")
    client = Client(version="2025-11-25", modern=False, capabilities={}, session="s")
    asked = identified("resources/unsubscribe", {"uri": "file:///a"}, client=client, caller=caller)

    async def scenario() -> None:
        await desk.held.end(asked)

    travel(scenario())
    assert desk.posted[0][1] == {"session": "s", "server": "docs", "uri": "file:///a"}


def test_subscriptions_are_bounded_and_end_with_their_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MOST_OF_SESSION", 2)
    monkeypatch.setattr(subscriptions, "MOST", 3)
    desk = Desk()
    for session, uri in (("s", "1"), ("s", "2"), ("s", "3"), ("t", "1"), ("u", "1")):
        desk.held.begun(subscribed(session, uri))
    assert len(desk.held) == 3
    desk.held.over("t")
    desk.held.over("t")
    assert len(desk.held) == 2


def caller(*tools: dict[str, Any]) -> Identified:
    return identified("tools/list", {}, caller=authenticated(at=snapshot(registered("docs", *tools))))


def nothing(asked: Identified, kind: Kind) -> None:
    del asked, kind


def listed(*, fails: bool = False) -> Changes:
    def visible(asked: Identified, item: Item) -> bool:
        del asked, item
        if fails:
            raise PolicyFault("policy_failed", "it is down")
        return True

    return Changes(Visibility(visible=visible, standing=nothing))


def test_lists_that_differ_are_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "REMEMBERED", 1)
    looking = listed()

    async def scenario() -> None:
        before = await looking.seen(caller(definition("a")))
        assert news(before, await looking.seen(caller(definition("a")))) == []
        now = await looking.seen(caller(definition("a"), definition("b")))
        assert news(before, now) == ["notifications/tools/list_changed"]
        assert news({}, now) == []

    travel(scenario())


def test_what_policy_cannot_say_is_no_news() -> None:
    async def scenario() -> None:
        assert "notifications/tools/list_changed" not in await listed(fails=True).seen(
            caller(definition("a"))
        )

    travel(scenario())
