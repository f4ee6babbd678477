"""Requests to a legacy server (2025-11-25 and older): in a session of the caller, opened by a handshake.

A session is opened at the first request and kept. When the server does not know it any more (404, which
proves that the request did not run) it is opened once more and the request is replayed once. A request that
is given up is cancelled by a notification of its own, since closing its stream would not.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from airlock.core.errors import Effect, UpstreamFault
from airlock.mcp.eras import LATEST_LEGACY
from airlock.upstream import dialogue
from airlock.upstream.sessions import Key, Session, Sessions, key_of
from airlock.upstream.wire import CANCEL, Outgoing, Reply, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import FilteringBoundLogger

    from airlock.core.clock import Clock
    from airlock.model.upstream import Notify, UpstreamRequest

_SESSION_ID = re.compile(rb"[\x21-\x7e]{0,1024}")
"""Visible ASCII (MCP 2025-11-25, session management), of a length that fits in a header."""

_GATEWAY: Key = ("", b"")
"""The session in which the gateway itself reads what the server offers."""


class Legacy:
    """One server of this era."""

    def __init__(self, *, wire: Wire, ids: Iterator[int], clock: Clock, logger: FilteringBoundLogger) -> None:
        self.sessions = Sessions(clock=clock)
        self._wire = wire
        self._ids = ids
        self._log = logger

    async def ask(self, request: UpstreamRequest, notify: Notify | None) -> Reply:
        key = key_of(request.principal_key, request.client_capabilities)
        opening = partial(self._open, request.client_capabilities, request.deadline)
        for _ in range(2):
            session = await self.sessions.enter(key, opening, request.deadline)
            try:
                reply = await self._wire.ask(self._outgoing(session, request, notify))
            finally:
                self.sessions.leave(session)
            lost = reply.status == 404 and session.id
            if lost or not reply.addressed:
                self.sessions.drop(key, session)
            if not lost:
                return reply
        gone = UpstreamFault.unavailable(
            "it does not know the session that it just opened", effect=Effect.NONE
        )
        return Reply(status=404, fault=gone)

    async def introduce(self, deadline: float) -> dialogue.Peer:
        """What the server said of itself in the gateway's session."""
        opening = partial(self._open, {}, deadline)
        session = await self.sessions.enter(_GATEWAY, opening, deadline)
        self.sessions.leave(session)
        return session.peer

    def forget_introduction(self) -> None:
        """Have a server without sessions introduce itself anew; one with sessions does when it loses them."""
        session = self.sessions.get(_GATEWAY)
        if session is not None and not session.id:
            self.sessions.drop(_GATEWAY, session)

    async def end(self, *, everything: bool = False) -> None:
        """End idle sessions, or all, at the server; one that cannot be told forgets them by itself."""
        for session in self.sessions.retire(everything=everything):
            try:
                await self._wire.end_session(session.lines)
            except UpstreamFault as fault:
                self._log.debug("upstream_session_not_ended", detail=fault.detail)

    def _outgoing(self, session: Session, request: UpstreamRequest, notify: Notify | None) -> Outgoing:
        number = next(self._ids)
        return Outgoing(
            id=number,
            method=request.method,
            lines=session.lines,
            params=request.params,
            era=session.peer.version,
            deadline=request.deadline,
            notify=notify,
            asked=partial(self._refuse, session),
            abandoned=partial(self._cancel, session, number),
        )

    async def _open(self, capabilities: dict[str, Any], deadline: float) -> Session:
        reply = await self._wire.ask(
            Outgoing(
                id=next(self._ids),
                method="initialize",
                lines=b"",
                params=dialogue.initialize_params(capabilities),
                era=LATEST_LEGACY,
                deadline=deadline,
            )
        )
        peer = dialogue.introduced(reply.taken())
        if not _SESSION_ID.fullmatch(reply.session_id):
            raise UpstreamFault.protocol("a session id that is not visible ASCII")
        session = Session(peer=peer, session_id=reply.session_id)
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        status = await self._wire.deliver(session.lines, ready, deadline)
        if status >= 300:
            raise UpstreamFault.protocol(f"notifications/initialized was answered with HTTP {status}")
        return session

    async def _refuse(self, session: Session, message: dict[str, Any]) -> None:
        """Answer a request of the server: a ping with a pong, everything else with "no such method"."""
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] == "ping":
            answer["result"] = {}
        else:
            answer["error"] = {"code": -32601, "message": "Method not found"}
        await self._tell(session, answer)

    async def _cancel(self, session: Session, number: int) -> None:
        params = {"requestId": number, "reason": "The caller gave up."}
        await self._tell(session, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    async def _tell(self, session: Session, message: dict[str, Any]) -> None:
        try:
            await self._wire.tell(session.lines, message, patience=CANCEL)
        except UpstreamFault as fault:
            self._log.debug("upstream_not_told", detail=fault.detail)
