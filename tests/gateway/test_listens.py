"""`subscriptions/listen`: a client hears that what it may know of has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Refused, Rejected, Stage
from airlock.gateway import audience
from airlock.gateway.audience import Audience
from airlock.gateway.interests import Interests
from airlock.gateway.listens import MOST_OF_PRINCIPAL, Listens
from airlock.mcp.headers import Headers
from airlock.mcp.names import Kind
from airlock.model.call import Authenticated, Identified, Inbound, Reply, Routed
from airlock.model.server import Item
from airlock.model.snapshot import Current
from tests.gateway.parts import MODERN_CLIENT, authenticated, identified, registered, snapshot, until

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
EVERYTHING: dict[str, Any] = {
    "toolsListChanged": True,
    "promptsListChanged": True,
    "resourcesListChanged": True,
}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "CALM", 0.0)


class Server:
    """A server that tells of changes of its resources, where a test lets it."""

    def __init__(self) -> None:
        self.can = True
        self.watched: list[frozenset[str]] = []

    def watch(self, uris: frozenset[str]) -> bool:
        self.watched.append(uris)
        return self.can


class House:
    """The listening part of a worker, and what its clients hear."""

    def __init__(self) -> None:
        of = registered()
        assert of.catalog is not None
        item = of.catalog.tools["echo"]
        watched = msgspec.structs.replace(
            item, kind="resource", name="resource:test://a", alias="mcp+docs:test://a"
        )
        catalog = msgspec.structs.replace(of.catalog, resources={"test://a": watched})
        self.current = Current(snapshot(msgspec.structs.replace(of, catalog=catalog)))
        self.seen: dict[str, tuple[Item, ...]] = {
            "tool": (item,),
            "prompt": (),
            "resource": (),
            "template": (),
        }
        self.item = item
        self.server = Server()
        upstreams: Any = {"docs": self.server}
        self.interests = Interests(upstreams)
        self.allowed = True
        self.refused: Refused | None = None
        self.rows: list[dict[str, Any]] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.ends: list[Reply] = []
        self.listens = Listens(
            audience=Audience(authenticate=self.authenticate, permit=self.permit, current=self.current),
            visible=self.visible,
            permitted=self.permitted,
            interests=self.interests,
            current=self.current,
            record=self,
        )

    def authenticate(self, inbound: Inbound) -> Authenticated:
        return msgspec.structs.replace(authenticated(at=self.current.get()), inbound=inbound)

    def permit(self, caller: Authenticated) -> None:
        if self.refused is not None:
            raise self.refused

    async def visible(self, identified: Identified, kind: Kind) -> tuple[Item, ...]:
        return self.seen[kind]

    def permitted(self, routed: Routed) -> bool:
        assert routed.uri == "test://a"
        return self.allowed

    async def listed(self, caller: Identified, metadata: dict[str, Any]) -> None:
        self.rows.append(metadata)

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self.told.append((method, params))

    def conclude(self, reply: Reply) -> None:
        self.ends.append(reply)

    def request(
        self, *, server: str = "", accept: str = "text/event-stream", who: Any = None, **wished: Any
    ) -> Identified:
        caller = authenticated(at=self.current.get(), server=server, who=who)
        stream: Any = self
        headers = Headers([(b"accept", accept.encode())])
        inbound = msgspec.structs.replace(caller.inbound, headers=headers, stream=stream)
        return identified(
            "subscriptions/listen",
            {"notifications": wished},
            caller=msgspec.structs.replace(caller, inbound=inbound),
            client=MODERN_CLIENT,
        )

    def changed(self) -> None:
        self.current.swap()

    def run(self, scenario: Callable[[], Awaitable[None]], *requests: Identified) -> list[dict[str, Any]]:
        async def all() -> list[Reply]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.listens(one, self.notify)) for one in requests]
                await until(lambda: len(self.told) >= len(requests))
                await scenario()
                self.listens.drain()
            return [task.result() for task in tasks]

        return [msgspec.json.decode(reply.body) for reply in asyncio.run(all())]

    def methods(self) -> list[str]:
        return [method.removeprefix("notifications/") for method, _ in self.told]


def test_a_subscription_is_acknowledged_and_ends_with_an_empty_result() -> None:
    house = House()

    async def scenario() -> None:
        assert len(house.listens) == 1

    (reply,) = house.run(scenario, house.request(**EVERYTHING, other=True))
    method, params = house.told[0]
    assert method == "notifications/subscriptions/acknowledged"
    assert params == {"notifications": EVERYTHING, "_meta": {SUBSCRIPTION: 1}}
    assert reply == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: 1}},
    }
    assert len(house.listens) == 0
    assert house.rows == [{"lists": 3, "resources": 0}]


def test_only_lists_that_are_others_for_this_caller_are_said_to_have_changed() -> None:
    house = House()

    async def scenario() -> None:
        house.changed()
        await asyncio.sleep(0.01)
        assert len(house.told) == 1
        house.seen["tool"] = ()
        house.seen["template"] = (house.item,)
        house.changed()
        await until(lambda: len(house.told) == 3)

    house.run(scenario, house.request(**EVERYTHING))
    assert house.methods()[1:] == ["tools/list_changed", "resources/list_changed"]
    assert all(params == {"_meta": {SUBSCRIPTION: 1}} for _, params in house.told[1:])


def test_nothing_is_said_that_nobody_wished_to_hear() -> None:
    house = House()

    async def scenario() -> None:
        house.seen["tool"] = ()
        house.changed()
        await asyncio.sleep(0.01)

    house.run(scenario, house.request(promptsListChanged=True, toolsListChanged=False))
    assert house.told[0][1]["notifications"] == {"promptsListChanged": True}
    assert len(house.told) == 1


def test_who_could_not_begin_now_ends() -> None:
    house = House()

    async def scenario() -> None:
        house.refused = Refused(Stage.ADMIT, 40302, "contained", "No.", scope={"kind": "principal"})
        house.seen["tool"] = ()
        house.changed()
        assert len(house.ends) == 1  # at once
        await until(lambda: len(house.listens) == 0)

    (reply,) = house.run(scenario, house.request(toolsListChanged=True))
    assert len(house.told) == 1
    assert [msgspec.json.decode(end.body) for end in house.ends] == [reply]


def test_who_was_let_in_before_the_world_changed_and_listens_after_it_ends_too() -> None:
    house = House()
    late = house.request(toolsListChanged=True)
    house.refused = Refused(Stage.ADMIT, 40302, "contained", "No.", scope={"kind": "principal"})
    house.changed()

    async def scenario() -> None:
        await until(lambda: len(house.listens) == 0)

    house.run(scenario, late)


@pytest.mark.parametrize(("server", "uri"), [("", "mcp+docs:test://a"), ("docs", "test://a")])
def test_a_resource_is_told_of_under_the_uri_of_its_client(server: str, uri: str) -> None:
    house = House()

    async def scenario() -> None:
        assert house.server.watched == [frozenset({"test://a"})]
        house.interests.heard("docs", "a session", {"uri": "test://a"})
        house.interests.heard("docs", "", {"uri": "test://b"})
        house.interests.heard("docs", "", {"uri": "test://a"})
        house.interests.heard("other", "", {"uri": "test://a"})
        house.refused = Refused(Stage.ADMIT, 40302, "contained", "No.")
        house.interests.heard("docs", "", {"uri": "test://a"})

    house.run(scenario, house.request(server=server, resourceSubscriptions=[uri, uri]))
    assert house.told[0][1]["notifications"] == {"resourceSubscriptions": [uri]}
    updated = ("notifications/resources/updated", {"uri": uri, "_meta": {SUBSCRIPTION: 1}})
    assert house.told[1:] == [updated]
    assert house.server.watched[-1] == frozenset()


@pytest.mark.parametrize(
    "uri", ["test://a", "mcp+docs:test://unknown", "mcp+other:test://a", "mcp+docs:test://a"]
)
def test_what_nobody_may_hear_of_is_left_out(uri: str) -> None:
    house = House()
    house.allowed = False

    async def scenario() -> None:
        house.interests.heard("docs", "", {"uri": "test://a"})

    house.run(scenario, house.request(resourceSubscriptions=[uri]))
    assert house.told == [
        ("notifications/subscriptions/acknowledged", {"notifications": {}, "_meta": {SUBSCRIPTION: 1}})
    ]


def test_a_server_that_does_not_tell_of_its_resources_is_left_out() -> None:
    house = House()
    house.server.can = False

    async def scenario() -> None:
        pass

    house.run(scenario, house.request(resourceSubscriptions=["mcp+docs:test://a"]))
    assert house.told[0][1]["notifications"] == {}


def test_a_resource_is_watched_once_for_all() -> None:
    house = House()

    async def scenario() -> None:
        house.interests.heard("docs", "", {"uri": "test://a"})

    one = house.request(resourceSubscriptions=["mcp+docs:test://a"])
    house.run(scenario, one, one)
    assert house.methods().count("resources/updated") == 2
    assert house.server.watched[-1] == frozenset()


def test_a_subscription_is_a_stream() -> None:
    house = House()
    with pytest.raises(Rejected) as refused:
        asyncio.run(house.listens(house.request(accept="application/json"), house.notify))
    assert refused.value.http == 406


def test_a_principal_has_few_subscriptions() -> None:
    house = House()

    async def scenario() -> None:
        with pytest.raises(Refused) as refused:
            await house.listens(house.request(), house.notify)
        assert refused.value.code == 42901

    house.run(scenario, *(house.request() for _ in range(MOST_OF_PRINCIPAL)))
    assert len(house.listens) == 0
