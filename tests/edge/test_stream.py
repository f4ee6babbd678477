"""One answer to one POST, second by second: when it becomes a stream, what travels in it, who ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from airlock.edge.stream import KEEP_ALIVE, MAX_QUEUED, MAX_QUEUED_BYTES, OPEN_AFTER, Conversation
from airlock.gateway.kept import Streams
from airlock.model.call import Redacted, Reply
from tests.edge.parts import Peer, now, travel
from tests.gateway.parts import HandClock, redacted

REPLY = Reply(body=b'{"id":1}')
REFUSED = Reply(body=b'{"id":1,"error":{}}', status=400)
CONTAINED = Reply(body=b'{"id":1,"error":{}}', contained=True)

Work = Callable[[Conversation], Awaitable[Reply]]


async def converse(
    work: Work,
    peer: Peer,
    *,
    stream: bool = True,
    plain: bool = True,
    modern: bool = True,
    early: bool = True,
) -> Peer:
    conversation = Conversation(
        visit=peer,
        stream=stream,
        plain=plain,
        headers=(("vary", "origin"),),
        cancel_when_gone=modern,
        early=early,
    )
    await conversation.answer(work(conversation))
    return peer


def answered(work: Work, **how: bool) -> Peer:
    return travel(converse(work, Peer(None), **how))


def working(seconds: float, reply: Reply = REPLY) -> Work:
    async def work(_: Conversation) -> Reply:
        await asyncio.sleep(seconds)
        return reply

    return work


def telling(*steps: float, reply: Reply = REPLY) -> Work:
    """Notifications 0, 1, ... after these pauses, then the reply."""

    async def work(conversation: Conversation) -> Reply:
        for number, pause in enumerate(steps):
            await asyncio.sleep(pause)
            conversation.notify("notifications/progress", {"progress": number})
        await asyncio.sleep(0.1)
        return reply

    return work


def progress(peer: Peer) -> list[Any]:
    return [event["params"]["progress"] if "params" in event else "reply" for event in peer.events]


def comments(peer: Peer) -> list[float]:
    return [at for at, data in peer.sent if data == b":\n\n"]


def concluding(peer: Peer, *, said: bool = True, paused: bool = False) -> Work:
    """A notification, and a reply ahead of the work; then another one, and the end of the work."""

    async def work(conversation: Conversation) -> Reply:
        if said:
            conversation.notify("notifications/progress", {"progress": 0})
        await asyncio.sleep(0.1)
        peer.hold(paused=paused)
        conversation.conclude(REPLY)
        peer.hold(paused=False)
        conversation.conclude(REPLY)
        conversation.notify("notifications/progress", {"progress": 1})
        await asyncio.sleep(KEEP_ALIVE + 1)
        return REPLY

    return work


def test_a_reply_may_be_sent_ahead_of_the_work_and_is_the_last_word() -> None:
    peer = Peer(None)
    travel(converse(concluding(peer), peer))
    assert progress(peer) == [0, "reply"]
    assert (peer.sent[-1][0], peer.ended, peer.listener, comments(peer)) == (0.1, True, None, [])


def test_who_hears_nothing_yet_gets_the_reply_at_the_end_of_the_work() -> None:
    peer = Peer(None)
    travel(converse(concluding(peer, said=False), peer))
    assert progress(peer) == [1, "reply"]
    assert peer.sent[-1][0] > KEEP_ALIVE


def test_who_takes_nothing_is_told_when_it_does() -> None:
    peer = Peer(None)
    travel(converse(concluding(peer, paused=True), peer))
    assert progress(peer) == [0, "reply"]


@pytest.mark.parametrize("reply", [REPLY, REFUSED], ids=["result", "refusal"])
def test_a_fast_answer_is_one_json_object_with_its_own_status(reply: Reply) -> None:
    peer = answered(working(0, reply))
    assert (peer.status, peer.headers["content-type"], peer.body) == (
        reply.status,
        "application/json",
        reply.body,
    )


def test_the_length_of_a_plain_answer_is_told() -> None:
    assert answered(working(0)).headers["content-length"] == str(len(REPLY.body))


def test_an_empty_answer_has_no_content_type() -> None:
    assert "content-type" not in answered(working(0, Reply(body=b"", status=202))).headers


def test_the_headers_of_the_reply_and_of_the_conversation_are_sent() -> None:
    reply = Reply(body=b"{}", headers=(("retry-after", "5"),))
    assert {"retry-after": "5", "vary": "origin"}.items() <= answered(working(0, reply)).headers.items()


@pytest.mark.parametrize("plain", [True, False], ids=["JSON", "a stream"])
def test_a_reply_that_brings_headers_is_waited_for(plain: bool) -> None:
    reply = Reply(body=REPLY.body, headers=(("mcp-session-id", "s"),))
    peer = answered(working(OPEN_AFTER * 4, reply), plain=plain, early=False)
    assert (peer.begun, peer.headers["mcp-session-id"]) == (OPEN_AFTER * 4, "s")


def test_a_refusal_just_before_250_ms_has_its_own_status() -> None:
    assert answered(working(OPEN_AFTER - 0.01, REFUSED)).status == 400


def test_after_250_ms_of_silence_a_stream_opens() -> None:
    peer = answered(working(1))
    assert peer.begun == OPEN_AFTER
    assert peer.headers == {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "vary": "origin",
    }


def test_the_first_notification_opens_the_stream() -> None:
    peer = answered(telling(0.1))
    assert (peer.begun, peer.headers["content-type"]) == (0.1, "text/event-stream")


def test_a_notification_of_the_fastest_call_is_not_lost() -> None:
    async def work(conversation: Conversation) -> Reply:
        conversation.notify("notifications/progress", {"progress": 0})
        return REPLY

    assert progress(answered(work)) == [0, "reply"]


def test_a_refusal_before_the_stream_opened_wins_over_what_was_queued() -> None:
    async def work(conversation: Conversation) -> Reply:
        conversation.notify("notifications/progress", {"progress": 0})
        return REFUSED

    assert answered(work).status == 400


def test_who_takes_json_only_never_gets_a_stream() -> None:
    peer = answered(telling(0.1, 60), stream=False)
    assert (peer.headers["content-type"], peer.body) == ("application/json", REPLY.body)


def test_who_takes_events_only_gets_one_event() -> None:
    peer = answered(working(0), plain=False)
    assert (peer.headers["content-type"], peer.events) == ("text/event-stream", [{"id": 1}])


def test_who_takes_events_only_still_hears_the_status_of_a_refusal() -> None:
    peer = answered(working(0, REFUSED), plain=False)
    assert (peer.status, peer.headers["content-type"]) == (400, "application/json")


def test_notifications_come_in_order_and_the_reply_last() -> None:
    assert progress(answered(telling(0, 0, 0.1, 0.5, 0))) == [0, 1, 2, 3, 4, "reply"]


def test_a_stream_ends_with_the_reply() -> None:
    peer = answered(telling(0.1))
    assert ([at for at, _ in peer.sent], peer.ended) == ([0.1, 0.2], True)


def test_a_refusal_after_the_stream_opened_travels_inside_it() -> None:
    peer = answered(working(1, REFUSED))
    assert (peer.status, peer.events) == (200, [{"id": 1, "error": {}}])


def test_a_stream_with_nothing_to_answer_just_ends() -> None:
    peer = answered(working(1, Reply(body=b"", status=202)))
    assert (peer.body, peer.ended) == (b"", True)


def test_a_quiet_stream_is_kept_alive() -> None:
    first = OPEN_AFTER + KEEP_ALIVE
    assert comments(answered(working(50))) == [first, first + 15, first + 30]


def test_traffic_puts_off_the_keep_alive() -> None:
    assert comments(answered(telling(10, 10, 10))) == []


def test_of_too_many_notifications_the_oldest_are_dropped() -> None:
    kept = progress(answered(telling(*[0.0] * (MAX_QUEUED + 5))))
    assert (len(kept), kept[0], kept[-1]) == (MAX_QUEUED + 1, 5, "reply")


def test_of_too_large_notifications_the_newest_are_kept() -> None:
    async def work(conversation: Conversation) -> Reply:
        for number in range(6):
            text = "x" * (MAX_QUEUED_BYTES // 4)
            conversation.notify("notifications/progress", {"progress": number, "message": text})
        await asyncio.sleep(1)
        return REPLY

    assert progress(answered(work)) == [3, 4, 5, "reply"]


def test_what_a_slow_client_could_not_take_yet_comes_before_the_reply() -> None:
    async def scenario() -> Peer:
        peer = Peer(None)
        peer.hold()
        asyncio.get_running_loop().call_later(5, lambda: peer.hold(paused=False))
        return await converse(telling(0.1, 0.1), peer)

    assert progress(travel(scenario())) == [0, 1, "reply"]


def test_what_a_contained_client_did_not_take_in_time_it_never_gets() -> None:
    async def scenario() -> Peer:
        peer, loop = Peer(None), asyncio.get_running_loop()
        loop.call_later(0.15, peer.hold)
        loop.call_later(5, lambda: peer.hold(paused=False))
        return await converse(telling(0.1, 0.1, 0.1, reply=CONTAINED), peer)

    assert progress(travel(scenario())) == [0, "reply"]


async def abandoned(peer: Peer, after: float, *, modern: bool) -> dict[str, float]:
    """When what happened to a call of ten seconds whose client leaves."""
    happened: dict[str, float] = {}

    async def work(conversation: Conversation) -> Reply:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            happened["cancelled"] = now()
            conversation.notify("notifications/progress", {"progress": 0})
            raise
        happened["done"] = now()
        return REPLY

    asyncio.get_running_loop().call_later(after, peer.leave)
    await converse(work, peer, modern=modern)
    return happened


@pytest.mark.parametrize("after", [0, 0.1, 3])
def test_a_modern_client_that_leaves_cancels_its_call_within_100_ms(after: float) -> None:
    happened = travel(abandoned(Peer(None), after, modern=True))
    assert after <= happened["cancelled"] <= after + 0.1


def test_a_modern_client_that_left_before_its_call_began_cancels_it() -> None:
    peer = Peer(None)
    peer.leave()
    happened = travel(abandoned(peer, 20, modern=True))
    assert happened == {"cancelled": 0}


@pytest.mark.parametrize("modern", [True, False])
def test_nothing_is_sent_to_a_client_that_left(modern: bool) -> None:
    peer = Peer(None)
    travel(abandoned(peer, 3, modern=modern))
    assert [at for at, _ in peer.sent if at >= 3] == []


@pytest.mark.parametrize("after", [0, 3])
def test_a_legacy_client_that_leaves_does_not_cancel_its_call(after: float) -> None:
    assert travel(abandoned(Peer(None), after, modern=False)) == {"done": 10}


def test_the_end_of_the_body_is_not_the_end_of_the_client() -> None:
    assert travel(converse(working(1), Peer(b""))).events == [{"id": 1}]


def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    async def scenario() -> None:
        async with asyncio.timeout(5):
            await converse(working(10), Peer(None))

    with pytest.raises(TimeoutError):
        travel(scenario())


def test_a_defect_of_the_work_is_passed_on() -> None:
    async def work(_: Conversation) -> Reply:
        await asyncio.sleep(1)
        raise LookupError("a defect")

    with pytest.raises(LookupError, match="a defect"):
        answered(work)


class Kept:
    """What a session keeps of an answer that is made in it."""

    def __init__(self, *, version: str = "2025-11-25", stream: bool = True) -> None:
        self.lost: list[Redacted] = []
        self.streams = Streams(slot=2, clock=HandClock(), undelivered=self._lost)
        self.peer = Peer(None)
        self.conversation = Conversation(
            visit=self.peer,
            stream=stream,
            plain=True,
            headers=(),
            cancel_when_gone=False,
            streams=self.streams,
        )
        self.conversation.enter("s", version)

    async def _lost(self, call: Redacted) -> None:
        self.lost.append(call)

    def answered(self, *steps: Callable[[], object], reply: Reply = REPLY) -> bytes:
        async def work() -> Reply:
            self.conversation.belongs(redacted())
            for step in steps:
                await asyncio.sleep(1)
                step()
            await asyncio.sleep(1)
            return reply

        travel(self.conversation.answer(work()))
        return b"".join(data for _, data in self.peer.sent)

    def ask(self) -> None:
        self.conversation.request("q", "roots/list", {})


def test_a_stream_of_a_session_says_where_it_can_be_had_again() -> None:
    kept = Kept()
    said = kept.answered(kept.ask)
    assert said.startswith(b"id: 2.")
    assert said.count(b"id: 2.") == 3
    assert b'"id":"q","method":"roots/list"' in said
    assert (len(kept.streams), kept.lost) == (1, [])


def test_an_older_client_gets_ids_and_no_event_without_a_message() -> None:
    kept = Kept(version="2025-06-18")
    assert kept.answered(kept.ask).count(b"id: 2.") == 2


def test_an_answer_of_a_session_without_a_stream_is_plain() -> None:
    kept = Kept()
    travel(kept.conversation.answer(working(0)(kept.conversation)))
    assert (kept.peer.body, len(kept.streams)) == (REPLY.body, 0)


def test_who_leaves_a_stream_finds_the_answer_in_the_session() -> None:
    kept = Kept()
    kept.answered(kept.ask, kept.peer.leave)
    assert not kept.conversation.hears
    assert kept.lost == []
    kept.streams.end_session("s")
    assert len(kept.streams) == 0


def test_who_leaves_without_a_stream_has_lost_the_answer() -> None:
    kept = Kept(stream=False)
    kept.answered(kept.peer.leave)
    assert len(kept.lost) == 1


def test_what_is_contained_is_not_kept() -> None:
    kept = Kept()
    kept.answered(kept.ask, reply=CONTAINED)
    assert kept.streams.size < 200
