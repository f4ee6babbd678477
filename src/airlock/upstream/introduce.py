"""How a stdio server is asked which era it speaks (MCP 2026-07-28, stdio transport, backward compatibility).

`server/discover` comes first, because a modern server refuses what has no envelope. Any error but the modern
ones, an answer that makes no sense, or silence leads to `initialize`: no single error code decides.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.calls import Call
from airlock.upstream.dialogue import answer_of, initialize_params, introduced, judge, read_message

if TYPE_CHECKING:
    from airlock.model.upstream import UpstreamAnswer
    from airlock.upstream.child import Child
    from airlock.upstream.dialogue import Peer

EraPin = Literal["auto", "modern", "legacy"]


class Question:
    """A sink for one call of our own: its line or its fault, as a future."""

    def __init__(self) -> None:
        self.line: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answered(self, line: bytes) -> None:
        self.line.set_result(line)

    def failed(self, fault: UpstreamFault) -> None:
        self.line.set_exception(fault)
        # A fault that nobody waited for is no news: the child's end says the same.
        self.line.exception()

    def notified(self, line: bytes) -> None:
        """No progress was asked for."""

    asked = notified


async def introduce(
    child: Child,
    *,
    era: EraPin,
    probe_timeout: float,
    start_timeout: float,
    capabilities: dict[str, Any] | None = None,
) -> Peer:
    """Agree on a version. Afterwards `child.modern` is set and requests may be sent. A legacy server hears of
    these capabilities, a modern one with every request.

    1. ask `server/discover`, unless the server is pinned to legacy
    2. no proof of the modern era: `initialize`, unless it is pinned to modern
    3. a slow modern server answers 1 only now and refuses 2: its late answer counts

    Raises `UpstreamFault` where they have no version in common, or the server ended or kept silent.
    """
    probe = None
    if era != "legacy":
        child.modern = True
        probe = Question()
        child.send(Call(sink=probe, method="server/discover"))
        if era == "modern":
            return _pinned(await _answer(child, probe, start_timeout))
        peer = await _proven(child, probe, probe_timeout)
        if peer is not None:
            return peer
    child.modern = False
    question = Question()
    params = msgspec.json.encode(initialize_params(capabilities or {}))
    child.send(Call(sink=question, method="initialize", params=params))
    try:
        peer = introduced(await _answer(child, question, start_timeout))
    except UpstreamFault:
        late = None if probe is None or child.over.done() else await _proven(child, probe, 0)
        if late is None:
            raise
        child.modern = True
        return late
    child.tell("notifications/initialized", {})
    return peer


async def _answer(child: Child, question: Question, seconds: float) -> UpstreamAnswer:
    await asyncio.wait([question.line, child.over], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if question.line.done():
        line = question.line.result()
        return answer_of(read_message(line), size=len(line), era="")
    if child.over.done():
        raise UpstreamFault.unavailable(child.over.result(), effect=Effect.NONE)
    raise UpstreamFault.timeout(f"no answer within {seconds:g} s of its start", effect=Effect.NONE)


async def _proven(child: Child, probe: Question, seconds: float) -> Peer | None:
    """The modern server behind the answer to `server/discover`, or None where nothing proves one."""
    try:
        return judge(await _answer(child, probe, seconds))
    except UpstreamFault:
        if child.over.done():
            raise
        return None


def _pinned(answer: UpstreamAnswer) -> Peer:
    peer = judge(answer)
    if peer is None:
        raise UpstreamFault.protocol(
            "it is pinned to the modern era and does not speak it", effect=Effect.NONE
        )
    return peer
