"""Which calls of one owner run together, which alone, and to which of them belongs what a server says."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.core.clock import SYSTEM
from airlock.core.errors import UpstreamFault
from airlock.upstream.calls import Call, Counters
from airlock.upstream.child import Child
from airlock.upstream.dialogue import MODERN, Peer
from airlock.upstream.turns import MOST_ASKED, MOST_RUNNING, MOST_WAITING, Turns

if TYPE_CHECKING:
    from collections.abc import Callable

LEGACY = Peer(version="2025-06-18", capabilities={"logging": {}})


class Sink:
    """What came of a call."""

    def __init__(self) -> None:
        self.came: list[tuple[str, Any]] = []

    def answered(self, line: bytes) -> None:
        self.came.append(("answered", line))

    def failed(self, fault: UpstreamFault) -> None:
        self.came.append(("failed", fault.detail))

    def notified(self, line: bytes) -> None:
        self.came.append(("notified", line))

    def asked(self, line: bytes) -> None:
        self.came.append(("asked", line))


class Wire:
    """A child that notes what it is given."""

    def __init__(self) -> None:
        self.hears: Callable[[str, object, bytes], bool] | None = None
        self.sent: list[Call] = []
        self.cancelled: list[Call] = []
        self.replies: list[dict[str, Any]] = []
        self.blocked = False

    def send(self, call: Call) -> None:
        if self.blocked:
            call.sink.failed(UpstreamFault.unavailable("blocked", effect=call.effect))
        else:
            self.sent.append(call)

    def cancel(self, call: Call) -> None:
        self.cancelled.append(call)

    def reply(self, line: bytes) -> None:
        self.replies.append(json.loads(line))

    def says(self, **message: Any) -> bool:
        assert self.hears is not None
        line = json.dumps({"jsonrpc": "2.0", **message}).encode()
        number = message.get("id", msgspec.UNSET)
        return self.hears(message["method"], number, line)


def begun(peer: Peer = LEGACY) -> tuple[Turns, Wire]:
    wire = Wire()
    return Turns(child=cast("Child", wire), peer=peer), wire


def a_call(**fields: Any) -> tuple[Call, Sink]:
    sink = Sink()
    return Call(sink=sink, method="tools/call", **fields), sink


def test_a_call_that_can_be_asked_runs_alone_and_others_together() -> None:
    turns, wire = begun()
    plain, asking, later = a_call()[0], a_call(asks=True)[0], a_call()[0]
    for call in (plain, asking, later):
        turns.send(call)
    assert wire.sent == [plain]
    plain.sink.answered(b"{}")
    assert wire.sent == [plain, asking]
    asking.sink.failed(UpstreamFault.protocol("x"))
    assert wire.sent == [plain, asking, later]
    assert turns.busy
    later.sink.answered(b"{}")
    assert not turns.busy


def test_a_modern_server_runs_alone_only_what_wants_its_log() -> None:
    turns, wire = begun(Peer(version=MODERN))
    calls = [a_call(asks=True)[0], a_call(asks=True)[0], a_call(level="info")[0]]
    for call in calls:
        turns.send(call)
    assert wire.sent == calls[:2]


def test_the_level_is_set_before_the_call_and_only_where_it_is_another_one() -> None:
    turns, wire = begun()
    call, sink = a_call(level="debug")
    turns.send(call)
    assert [each.method for each in wire.sent] == ["logging/setLevel"]
    assert json.loads(wire.sent[0].params) == {"level": "debug"}
    wire.sent[0].sink.notified(b"")
    wire.sent[0].sink.answered(b"{}")
    assert wire.sent[1] is call
    assert wire.says(method="notifications/message", params={})
    call.sink.notified(b"progress")
    call.sink.answered(b"{}")
    assert [what for what, _ in sink.came] == ["notified", "notified", "answered"]
    again = a_call(level="debug")[0]
    turns.send(again)
    assert wire.sent[2] is again
    again.sink.answered(b"{}")
    # Who goes away before the level is set is never sent; a server that fails to set it does not matter.
    gone, other = a_call(level="error")[0], a_call(level="info")[0]
    turns.send(gone)
    turns.send(other)
    turns.cancel(gone)
    wire.sent[3].sink.answered(b"{}")
    wire.sent[4].sink.failed(UpstreamFault.protocol("x"))
    assert wire.sent[5] is other
    assert gone not in wire.sent


def test_questions_are_answered_once_and_by_the_call_that_runs() -> None:
    turns, wire = begun()
    call, sink = a_call(asks=True)
    assert not wire.says(method="elicitation/create", id=1)
    turns.send(call)
    assert wire.says(method="elicitation/create", id=1)
    assert wire.says(method="roots/list", id="b")
    assert not wire.says(method="roots/list", id=None)
    assert not wire.says(method="notifications/other")
    assert turns.asking
    turns.reply(a_call()[0], b'{"id":1}')
    turns.reply(call, b'{"id":7}')
    assert wire.replies == []
    for _ in range(2):
        turns.reply(call, b'{"id":1,"result":{}}')
    assert wire.replies == [{"id": 1, "result": {}}]
    assert wire.says(method="notifications/cancelled", params={"requestId": "b"})
    assert wire.says(method="notifications/cancelled", params={})
    assert not turns.asking
    assert [what for what, _ in sink.came] == ["asked", "asked", "notified", "notified"]
    assert wire.says(method="sampling/createMessage", id=2)
    turns.cancel(call)
    assert wire.cancelled == [call]
    assert [(each["id"], each["error"]["code"]) for each in wire.replies[1:]] == [(2, -32603)]
    assert not turns.busy


def test_a_flood_of_questions_is_refused_and_no_question_comes_twice() -> None:
    turns, wire = begun()
    call, sink = a_call(asks=True)
    turns.send(call)
    for number in range(MOST_ASKED):
        assert wire.says(method="roots/list", id=number)
        assert wire.says(method="roots/list", id=number)
    assert not wire.says(method="roots/list", id=MOST_ASKED)
    assert len(sink.came) == MOST_ASKED
    turns.reply(call, b'{"id":0,"result":{}}')
    assert wire.says(method="roots/list", id=MOST_ASKED)


def test_a_process_that_ends_while_the_level_is_set_fails_the_call() -> None:
    async def run() -> None:
        (stdin, its_in), (its_out, stdout), (its_err, stderr) = (os.pipe() for _ in range(3))
        for fd in (its_in, its_out, its_err):
            os.set_blocking(fd, False)
        child = Child(
            stdin=its_in, stdout=its_out, stderr=its_err,
            clock=SYSTEM, counters=Counters(), patience=5,
            complain=lambda line: None, list_changed=lambda: None, updated=lambda uri: None,
        )  # fmt: skip
        turns = Turns(child=child, peer=LEGACY)
        call, sink = a_call(level="debug")
        turns.send(call)
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        turns.close("it ended")
        child.close("it ended")
        assert sink.came == [("failed", "it ended")]
        assert not turns.busy

    asyncio.run(run())


def test_a_call_without_a_client_to_ask_hears_the_log_and_no_question() -> None:
    turns, wire = begun()
    call, _ = a_call(level="debug")
    turns.send(call)
    assert not wire.says(method="elicitation/create", id=1)


def test_who_waits_is_bounded_and_told_when_the_process_ends() -> None:
    turns, wire = begun()
    turns.send(a_call(asks=True)[0])
    waiting = [a_call() for _ in range(MOST_WAITING)]
    for call, _ in waiting:
        turns.send(call)
    more, sink = a_call()
    turns.send(more)
    assert sink.came[0][0] == "failed"
    gone, left = waiting[0], waiting[1:]
    turns.cancel(gone[0])
    turns.cancel(gone[0])
    assert len(wire.sent) == 1
    turns.close("over")
    assert gone[1].came == []
    assert all(sink.came == [("failed", "over")] for _, sink in left)


def test_so_many_run_at_once_and_a_process_that_reads_nothing_fails_them_all() -> None:
    turns, wire = begun()
    for _ in range(MOST_RUNNING + 1):
        turns.send(a_call()[0])
    assert len(wire.sent) == MOST_RUNNING
    wire.blocked = True
    turns.cancel(wire.sent[0])
    blocked = [a_call(asks=True) for _ in range(3)]
    for call, _ in blocked:
        turns.send(call)
    for call in wire.sent[1:]:
        call.sink.answered(b"{}")
    assert [sink.came for _, sink in blocked] == [[("failed", "blocked")]] * 3
    assert not turns.busy
