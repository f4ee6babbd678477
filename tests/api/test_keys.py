"""What is asked for twice with one key is done once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from airlock.api.keys import UsedKeys
from airlock.core.errors import Rejected
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from airlock.store import api_keys
from airlock.store.database import Store
from tests.api.doors import ask, door, entry, request, told
from tests.gateway.parts import NOW, HandClock, principal

ALICE, BOB = principal("alice", roles=("admin",)), principal("bob", roles=("admin",))


class Counter:
    """A change that counts how often it was made."""

    def __init__(self, status: int = 200) -> None:
        self.made = 0
        self.status = status

    async def change(self) -> HttpResponse:
        self.made += 1
        if self.status >= 400:
            raise Rejected(self.status, -32602, "not_now", "No.")
        return json_response(self.status, {"made": self.made}, (("etag", '"1"'),))


def keyed(key: str, body: object = b"{}", **more: str) -> HttpRequest:
    return request(body=body, headers=(("idempotency-key", key), *more.items()))


class Desk:
    def __init__(self, store: Store) -> None:
        self.clock = HandClock()
        self.keys = UsedKeys(store=store, clock=self.clock)
        self.counter = Counter()

    def once(self, asked: HttpRequest, who: Principal = ALICE) -> HttpResponse:
        return asyncio.run(self.keys.once(asked, who, self.counter.change))

    def refused(self, asked: HttpRequest) -> tuple[int, str]:
        with pytest.raises(Rejected) as refused:
            self.once(asked)
        return refused.value.http, refused.value.reason


class Unasked:
    """Keys that nobody may ask for."""

    async def once(self, *_: object) -> HttpResponse:
        raise AssertionError("nothing is changed")


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


def test_without_a_key_everything_is_done(desk: Desk) -> None:
    assert [desk.once(request()).status for _ in range(2)] == [200, 200]
    assert desk.counter.made == 2


def test_the_second_answer_is_the_first_and_says_so(desk: Desk) -> None:
    first, second = desk.once(keyed("k")), desk.once(keyed("k"))
    assert second.body == first.body
    assert second.headers == (*first.headers, ("idempotency-replayed", "true"))
    assert desk.counter.made == 1


@pytest.mark.parametrize(
    "other",
    [keyed("k", {"a": 1}), keyed("k", **{"if-match": '"1"'}), msgspec.structs.replace(keyed("k"), path="/x")],
)
def test_a_key_belongs_to_one_request(desk: Desk, other: HttpRequest) -> None:
    desk.once(keyed("k"))
    assert desk.refused(other) == (409, "idempotency_conflict")


def test_a_key_belongs_to_who_sent_it(desk: Desk) -> None:
    desk.once(keyed("k"))
    assert msgspec.json.decode(desk.once(keyed("k"), BOB).body) == {"made": 2}


@pytest.mark.parametrize("key", ["", "k" * 129, "a\tb"])
def test_a_key_that_is_none(desk: Desk, key: str) -> None:
    assert desk.refused(keyed(key)) == (422, "idempotency_key_invalid")
    assert desk.counter.made == 0


def test_what_was_refused_is_not_remembered(desk: Desk) -> None:
    desk.counter.status = 409
    assert desk.refused(keyed("k")) == (409, "not_now")
    desk.counter.status = 200
    assert desk.once(keyed("k")).status == 200
    assert desk.counter.made == 2


def test_nobody_makes_a_change_that_another_is_making(desk: Desk, store: Store) -> None:
    """The worker that had it may have died: after a minute the key is free."""
    api_keys.claim(store, actor=ALICE.key, key="k", digest=_digest_of(desk, store), now=NOW)
    assert desk.refused(keyed("k")) == (409, "idempotency_in_progress")
    desk.clock.seconds += 61
    assert desk.once(keyed("k")).status == 200


def test_an_answer_is_kept_for_a_day(desk: Desk) -> None:
    desk.once(keyed("k"))
    desk.clock.seconds += 24 * 3600 + 1
    desk.once(keyed("k"))
    assert desk.counter.made == 2


def test_a_request_that_reads_uses_no_key() -> None:
    async def read(asked: HttpRequest, who: Principal) -> HttpResponse:
        return json_response(200, {})

    async def asked() -> HttpResponse:
        return await door(keys=Unasked()).guard(entry(read, method="GET"))(keyed("k"))

    assert asyncio.run(asked()).status == 200


def test_who_knows_a_version_where_there_is_none_is_refused() -> None:
    async def write(asked: HttpRequest, who: Principal) -> HttpResponse:
        return json_response(200, {})

    wrong = request(headers=(("if-match", '"1"'),))
    assert told(ask(write, wrong)) == (412, "version_conflict")
    assert ask(write, request(headers=(("if-match", "*"),))).status == 200


def _digest_of(desk: Desk, store: Store) -> str:
    """What the key of this request commits to."""
    desk.once(keyed("other"))
    return api_keys.claim(store, actor=ALICE.key, key="other", digest="", now=NOW).digest


def test_a_change_that_was_cut_short_is_not_made_again_at_once(desk: Desk) -> None:
    async def cut() -> HttpResponse:
        raise asyncio.CancelledError

    async def scenario() -> None:
        with pytest.raises(asyncio.CancelledError):
            await desk.keys.once(keyed("k"), ALICE, cut)

    asyncio.run(scenario())
    assert desk.refused(keyed("k")) == (409, "idempotency_in_progress")
    assert desk.counter.made == 0
