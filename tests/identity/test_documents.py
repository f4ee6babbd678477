"""Finding clients: those who registered, and those whom a document describes, whoever asks how often."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from airlock.core.errors import Effect, Fault, Rejected, UpstreamFault
from airlock.identity import clients, documents
from airlock.identity.clients import Client
from airlock.identity.documents import Directory
from tests.gateway.parts import NOW, HandClock
from tests.identity.login_parts import SEALER

URL = "https://app.example/client.json"
CALLBACK = "https://app.example/callback"
GOOD = json.dumps({"client_id": URL, "redirect_uris": [CALLBACK], "client_name": "App"}).encode()


class Fetched(msgspec.Struct, frozen=True):
    status: int
    body: bytes


class World:
    def __init__(self, *, on: bool = True) -> None:
        self.answer: Fetched | Fault = Fetched(200, GOOD)
        self.asked = 0
        self.waiting: asyncio.Event | None = None
        self.clock = HandClock()
        self.directory = Directory(
            sealer=SEALER, get=self.get if on else None, origins=(), schemes=(), clock=self.clock
        )

    async def get(self, url: str) -> Fetched:
        self.asked += 1
        if self.waiting is not None:
            await self.waiting.wait()
        if isinstance(self.answer, Fault):
            raise self.answer
        return self.answer

    def find(self, client_id: str = URL) -> Client:
        return asyncio.run(self.directory.find(client_id, "192.0.2.7"))

    def reason(self, client_id: str = URL) -> str:
        with pytest.raises(Rejected) as refused:
            self.find(client_id)
        return refused.value.reason


def test_a_registered_client_is_found_without_asking_anybody() -> None:
    world = World()
    found = clients.metadata({"redirect_uris": [CALLBACK]}, ())
    assert world.find(clients.register(SEALER, found, now=NOW)).redirect_uris == (CALLBACK,)
    assert world.asked == 0


def test_a_described_client_is_fetched_once_in_ten_minutes() -> None:
    world = World()
    assert world.find() == world.find() == Client(id=URL, name="App", redirect_uris=(CALLBACK,))
    assert world.asked == 1
    world.clock.seconds += documents.FRESH
    world.find()
    assert world.asked == 2


@pytest.mark.parametrize("client_id", ["", "unknown", "http://app.example/c", "file:///etc/passwd"])
def test_what_is_neither_is_unknown_and_nobody_is_asked(client_id: str) -> None:
    world = World()
    assert world.reason(client_id) == "login_client_unknown"
    assert world.asked == 0


def test_documents_can_be_switched_off() -> None:
    world = World(on=False)
    assert world.reason() == "login_client_unknown"
    assert world.asked == 0


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Fetched(404, b""), "login_client_unknown"),
        (Fetched(200, b"<html>"), "login_client_unknown"),
        (Fetched(200, b"{}"), "login_client_invalid"),
        (UpstreamFault.unavailable("away", effect=Effect.NONE), "login_client_unknown"),
    ],
    ids=["404", "html", "empty", "away"],
)
def test_a_document_that_cannot_be_used_is_not_asked_for_again_at_once(
    answer: Fetched | Fault, word: str
) -> None:
    world = World()
    world.answer = answer
    assert [world.reason(), world.reason()] == [word, word]
    assert world.asked == 1
    world.clock.seconds += documents.FAILED
    world.answer = Fetched(200, GOOD)
    assert world.find().id == URL


@pytest.mark.parametrize(
    ("asking", "fetched"),
    [(1, documents.AT_ONCE_FOR_ONE), (documents.AT_ONCE + 1, documents.AT_ONCE)],
    ids=["one address", "many"],
)
def test_a_few_documents_are_fetched_at_a_time(asking: int, fetched: int) -> None:
    """For one address fewer, so that others log in beside it."""
    world = World()

    async def crowd() -> list[Client | BaseException]:
        world.waiting = asyncio.Event()
        urls = [f"https://app.example/{n}.json" for n in range(fetched + 1)]
        async with asyncio.TaskGroup() as group:
            first = [group.create_task(one(url, f"{n % asking}")) for n, url in enumerate(urls)]
            await asyncio.sleep(0)
            world.waiting.set()
        return [task.result() for task in first]

    async def one(url: str, address: str) -> Client | BaseException:
        try:
            return await world.directory.find(url, address)
        except Rejected as refused:
            return refused

    reasons = [found.reason for found in asyncio.run(crowd()) if isinstance(found, Rejected)]
    assert reasons == ["login_client_invalid"] * fetched + ["login_busy"]


def test_the_memory_of_documents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "REMEMBERED", 2)
    world = World()
    for n in range(3):
        world.reason(f"https://app.example/{n}.json")
    world.reason("https://app.example/2.json")
    assert world.asked == 3
    world.reason("https://app.example/0.json")
    assert world.asked == 4
