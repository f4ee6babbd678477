"""Who holds a stream open is judged whenever the world changes: the end first, the rest afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from airlock.core.errors import Refused, Stage, Unauthenticated
from airlock.gateway import audience as module
from airlock.gateway.audience import Audience
from airlock.gateway.slices import AT_ONCE
from airlock.model.call import Authenticated, Inbound
from airlock.model.snapshot import Current
from tests.gateway.parts import authenticated, inbound, snapshot, until


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "CALM", 0.0)
    yield


class House:
    """What happens to the streams of one worker, in its order."""

    def __init__(self) -> None:
        self.current = Current(snapshot())
        self.invalid: set[str] = set()
        self.contained: set[str] = set()
        self.asked: list[str] = []
        self.done: list[tuple[str, str]] = []
        self.audience = Audience(authenticate=self._authenticate, permit=self._permit, current=self.current)

    def _authenticate(self, told: Inbound) -> Authenticated:
        token = told.headers.get("authorization") or ""
        self.asked.append(token)
        if token in self.invalid:
            raise Unauthenticated(401, "token_invalid", "no")
        return authenticated(headers={"authorization": token}, at=self.current.get())

    def _permit(self, caller: Authenticated) -> None:
        if caller.inbound.headers.get("authorization") in self.contained:
            raise Refused(Stage.ADMIT, 40302, "contained", "No.")

    def stream(self, name: str, who: str = "one", *, mine: bool = True) -> Stream:
        stream = Stream(self, name, who, mine=mine)
        self.audience.enter(stream)
        return stream

    def names(self, what: str) -> set[str]:
        return {name for did, name in self.done if did == what}


class Stream:
    """A `Hearer`."""

    def __init__(self, house: House, name: str, who: str, *, mine: bool) -> None:
        self.inbound = inbound(b"", headers={"authorization": who})
        self._done = house.done
        self._name = name
        self._mine = mine

    def may(self, caller: Authenticated) -> bool:
        return self._mine

    def leave(self) -> None:
        self._done.append(("leave", self._name))

    def put_away(self) -> None:
        self._done.append(("put away", self._name))

    def look(self) -> None:
        self._done.append(("look", self._name))


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scenario()

    asyncio.run(whole())


def test_everybody_else_looks_once_those_who_may_not_go_on_have_heard_their_end() -> None:
    house = House()
    for name, token in (("a", "good"), ("b", "bad"), ("c", "held"), ("d", "good")):
        house.stream(name, token)
    house.stream("e", "good", mine=False)
    house.invalid, house.contained = {"bad"}, {"held"}

    async def scenario() -> None:
        house.current.swap()
        assert house.names("leave") == {"b", "c", "e"}
        await until(lambda: len(house.done) == 8)
        house.current.swap()
        await until(lambda: len(house.done) == 10)

    run(scenario)
    assert [what for what, _ in house.done] == ["leave"] * 3 + ["put away"] * 3 + ["look"] * 4
    assert house.names("put away") == {"b", "c", "e"}
    assert house.names("look") == {"a", "d"}
    assert len(house.audience) == 2


def test_a_caller_is_judged_once_for_all_its_streams() -> None:
    house = House()
    for number in range(9):
        house.stream(str(number), f"token {number % 3}")

    async def scenario() -> None:
        house.current.swap()
        await until(lambda: len(house.done) == 9)

    run(scenario)
    assert sorted(house.asked) == ["token 0", "token 1", "token 2"]


def test_who_is_judged_after_another_change_is_judged_by_that() -> None:
    house = House()
    count = 3 * AT_ONCE
    for number in range(count):
        house.stream(str(number))

    async def scenario() -> None:
        house.current.swap()
        assert house.done == []
        house.contained = {"one"}
        house.current.swap()
        await until(lambda: len(house.names("put away")) == count)

    run(scenario)
    assert len(house.done) == 2 * count
    assert len(house.audience) == 0


def test_a_stream_that_was_closed_meanwhile_is_left_alone() -> None:
    house = House()
    streams = [house.stream(str(number)) for number in range(2 * AT_ONCE)]
    house.contained = {"one"}

    async def scenario() -> None:
        house.current.swap()
        assert len(house.done) == AT_ONCE
        told = house.names("leave")
        for number, stream in enumerate(streams):
            if str(number) not in told:
                house.audience.forget(stream)
        await until(lambda: len(house.names("put away")) == AT_ONCE)

    run(scenario)
    assert house.names("leave") == house.names("put away")


def test_draining_ends_all_and_lets_nobody_begin() -> None:
    house = House()
    stream = house.stream("a")

    async def scenario() -> None:
        house.audience.drain()
        await until(lambda: house.done == [("leave", "a"), ("put away", "a")])

    run(scenario)
    assert house.audience.judge(stream.inbound) is None
    assert house.asked == []


def test_with_nobody_there_a_change_needs_no_loop() -> None:
    House().current.swap()
