"""Wiring: what lives in the sessions of legacy clients, in one worker and between workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.app.attending import Attending
from airlock.app.peers import Peers
from airlock.app.redaction import Redaction
from airlock.core.clock import Clock
from airlock.gateway.audience import Audience
from airlock.gateway.changes import Changes
from airlock.gateway.correspondence import Correspondence
from airlock.gateway.forward import Upstream
from airlock.gateway.kept import Streams
from airlock.gateway.listening import Listening
from airlock.gateway.live import Live
from airlock.gateway.questions import Questions
from airlock.gateway.record import Record
from airlock.gateway.relay import Relay
from airlock.gateway.sessions import Sessions
from airlock.gateway.subscriptions import Subscriptions
from airlock.model.call import Authenticated, Inbound
from airlock.upstream.http import HttpUpstream
from airlock.upstream.personal import Personal
from airlock.upstream.stdio import StdioUpstream


class LiveSessions(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one worker that hold something of a session."""

    streams: Streams
    questions: Questions
    subscriptions: Subscriptions
    correspondence: Correspondence
    listening: Listening
    relay: Relay
    attending: Attending


class _Servers:
    """What is told to the servers that hold something for a session."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    async def tell(self, session: str, method: str) -> None:
        for upstream in list(self._upstreams.values()):
            if isinstance(upstream, HttpUpstream | Personal):
                await upstream.tell_session(session, method)

    async def end(self, session: str) -> None:
        for upstream in list(self._upstreams.values()):
            if isinstance(upstream, HttpUpstream | Personal | StdioUpstream):
                await upstream.end_session(session)

    async def unsubscribe(self, session: str, server: str, uri: str) -> None:
        upstream = self._upstreams.get(server)
        if isinstance(upstream, HttpUpstream | Personal | StdioUpstream):
            await upstream.unsubscribe(session, uri)


def wire(
    *,
    slot: int,
    peers: Peers,
    live: Live,
    upstreams: Mapping[str, Upstream],
    record: Record,
    sessions: Sessions,
    secrets: Redaction,
    changes: Changes,
    audience: Audience,
    authenticate: Callable[[Inbound], Authenticated],
    clock: Clock,
    log: FilteringBoundLogger,
) -> LiveSessions:
    """Nothing runs: what other workers tell is heard through `peers`."""
    streams = Streams(slot=slot, clock=clock, undelivered=record.undelivered)
    questions = Questions(slot=slot, record=record)

    servers = _Servers(upstreams)
    subscriptions = Subscriptions(streams=streams, post=peers, cancel=servers.unsubscribe)

    attending = Attending(
        attendance=sessions.attendance, peers=peers, read=streams.read, clock=clock, log=log
    )

    async def over(body: dict[str, str]) -> None:
        sessions.attendance.gone(body["session"])
        streams.end_session(body["session"])
        subscriptions.over(body["session"])
        await servers.end(body["session"])

    async def alone(body: dict[str, object]) -> None:
        if body["slot"] != slot:
            streams.fall(str(body["session"]))

    correspondence = Correspondence(
        slot=slot, questions=questions, live=live, post=peers, tell_servers=servers.tell
    )
    listening = Listening(
        authenticate=authenticate,
        sessions=sessions,
        audience=audience,
        streams=streams,
        far=lambda worker, asked: peers.one(worker, "mcp_more", asked),
        alone=lambda session: peers.all("mcp_alone", {"session": session, "slot": slot}),
        changes=changes,
        record=record,
        clock=clock,
    )
    peers.hears |= correspondence.hears | subscriptions.hears | attending.hears
    peers.hears |= {"mcp_more": listening.more, "mcp_alone": alone, "mcp_over": over}
    return LiveSessions(
        streams=streams,
        questions=questions,
        subscriptions=subscriptions,
        correspondence=correspondence,
        listening=listening,
        relay=Relay(
            questions=questions,
            asked=secrets.response.asked,
            answers=secrets.request.answers,
            record=record,
        ),
        attending=attending,
    )
