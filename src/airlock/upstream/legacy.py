"""Requests to a legacy server (2025-11-25 and older): in a session of the caller, opened by a handshake.

A session is opened at the first request and kept. When the server does not know it any more (404, which
proves that the request did not run) it is opened once more and the request is replayed once. A request that
is given up is cancelled by a notification of its own, since closing its stream would not.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Set
from functools import partial
from typing import TYPE_CHECKING, Any

from airlock.core.errors import Effect, UpstreamFault
from airlock.mcp.eras import LATEST_LEGACY
from airlock.model.upstream import UpstreamRequest
from airlock.upstream import dialogue
from airlock.upstream.answering import Answering, refuse
from airlock.upstream.sessions import Key, Session, Sessions, key_of
from airlock.upstream.standing import Standing
from airlock.upstream.wire import CANCEL, Outgoing, Reply, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import FilteringBoundLogger

    from airlock.core.clock import Clock
    from airlock.model.upstream import Ask, Notify
    from airlock.upstream.exchange import Exchange

Asked = Callable[[dict[str, Any]], Awaitable[None]]
"""Answers a request of the server."""

Told = Callable[[str, str, dict[str, Any]], None]
"""Hears (session of a legacy client or empty, method, params) of what belongs to no request."""

SUBSCRIBE, UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"

FOLLOW = 30.0
"""Seconds within which the server is asked to tell of what is wanted."""

UPDATED = "notifications/resources/updated"
CHANGED = frozenset(f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources"))
UNRELATED = CHANGED | {UPDATED}
"""Notifications that belong to no request."""


def unheard(session: str, method: str, params: dict[str, Any]) -> None:
    """Nobody hears what belongs to no request."""
    del session, method, params


_SESSION_ID = re.compile(rb"[\x21-\x7e]{0,1024}")
"""Visible ASCII (MCP 2025-11-25, session management), of a length that fits in a header."""

_GATEWAY: Key = ("", b"")
"""The session in which the gateway itself reads what the server offers."""


class Legacy:
    """One server of this era."""

    def __init__(
        self,
        *,
        wire: Wire,
        ids: Iterator[int],
        clock: Clock,
        logger: FilteringBoundLogger,
        told: Told = unheard,
    ) -> None:
        self._told = told
        self._clock = clock
        self._wanted: Set[str] = frozenset[str]()
        self._following: asyncio.Task[None] | None = None
        self.sessions = Sessions(clock=clock)
        self._wire = wire
        self._ids = ids
        self._log = logger

    async def ask(self, request: UpstreamRequest, notify: Notify | None, ask: Ask | None = None) -> Reply:
        whose = request.session or request.log_level
        key = key_of(request.principal_key, request.client_capabilities, whose)
        opening = partial(self._open, request.client_capabilities, request.deadline)
        for _ in range(2):
            session = await self.sessions.enter(key, opening, request.deadline)
            try:
                if ask is not None and session.standing is None:
                    await self._stand(session, request.session).begun()
                await self._level(session, request)
                reply = await self._asked(session, request, notify, ask)
            finally:
                self.sessions.leave(session)
            lost = reply.status == 404 and session.id
            if lost or not reply.addressed:
                self.sessions.drop(key, session)
            if not lost:
                if request.method == SUBSCRIBE and reply.status == 200:
                    self._stand(session, request.session).wanted = True
                return reply
        gone = UpstreamFault.unavailable(
            "it does not know the session that it just opened", effect=Effect.NONE
        )
        return Reply(status=404, fault=gone)

    async def introduce(self, deadline: float) -> dialogue.Peer:
        """What the server said of itself in the gateway's session; from here on its changes are heard."""
        opening = partial(self._open, {}, deadline)
        session = await self.sessions.enter(_GATEWAY, opening, deadline)
        self.sessions.leave(session)
        if dialogue.changes(session.peer):
            self._stand(session, "").wanted = True
        self._follow(session)
        return session.peer

    def watch(self, uris: Set[str]) -> None:
        """Hear in the gateway's own session when one of these resources changes, and of no others."""
        self._wanted = uris
        self._follow(self.sessions.get(_GATEWAY))

    async def tell_session(self, session: str, method: str) -> None:
        """A notification to what this server holds for a session of a legacy client."""
        for opened in self.sessions.of(session):
            await self._tell(opened, {"jsonrpc": "2.0", "method": method})

    async def unsubscribe(self, session: str, uri: str) -> None:
        """Nobody in a session of a legacy client wants to hear of this resource any more."""
        for opened in self.sessions.of(session):
            message = {"method": UNSUBSCRIBE, "params": {"uri": uri}}
            await self._tell(opened, {"jsonrpc": "2.0", "id": next(self._ids), **message})

    async def end_session(self, session: str) -> None:
        """End what this server holds for a session of a legacy client."""
        for opened in self.sessions.of(session, take=True):
            await self._ended(opened)

    def forget_introduction(self) -> None:
        """Have a server without sessions introduce itself anew; one with sessions does when it loses them."""
        session = self.sessions.get(_GATEWAY)
        if session is not None and not session.id:
            self.sessions.drop(_GATEWAY, session)

    async def end(self, *, everything: bool = False) -> None:
        """End idle sessions, or all, at the server; one that cannot be told forgets them by itself."""
        if everything and self._following is not None:
            self._following.cancel()
        for session in self.sessions.retire(everything=everything):
            await self._ended(session)

    async def _ended(self, session: Session) -> None:
        try:
            await self._wire.end_session(session.lines)
        except UpstreamFault as fault:
            self._log.debug("upstream_session_not_ended", detail=fault.detail)

    async def _asked(
        self, session: Session, request: UpstreamRequest, notify: Notify | None, ask: Ask | None
    ) -> Reply:
        tell, notify = partial(self._tell, session), self._hearing(request.session, notify)
        if ask is None:
            return await self._wire.ask(self._outgoing(session, request, notify, partial(refuse, tell)))
        try:
            async with asyncio.TaskGroup() as group:
                answering = Answering(ask=ask, tell=tell, group=group)
                notify = answering.hearing(notify)
                outgoing = self._outgoing(session, request, notify, answering.asked, answering.sent)
                session.asking.append(answering)
                try:
                    return await self._wire.ask(outgoing)
                finally:
                    session.asking.remove(answering)
                    answering.close()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    def _hearing(self, client: str, notify: Notify | None) -> Notify:
        """Tells apart what belongs to a request and what does not, whatever stream it comes on."""

        def heard(method: str, params: dict[str, Any]) -> None:
            if method in UNRELATED:
                self._told(client, method, params)
            elif notify is not None:
                notify(method, params)

        return heard

    def _stand(self, session: Session, client: str) -> Standing:
        """Listen to what the server says outside of answers. A request there belongs to the only call that
        runs in the session."""
        if session.standing is None:
            session.standing = Standing(
                wire=self._wire,
                lines=session.lines,
                notify=partial(session.heard, self._hearing(client, None)),
                asked=partial(session.asked, partial(self._tell, session)),
                logger=self._log,
            )
        return session.standing

    def _follow(self, session: Session | None) -> None:
        """Have the server tell of what is wanted, unless it does, or is being asked already."""
        subscribed: Set[str] = session.subscribed if session is not None else set[str]()
        if subscribed != self._wanted and (self._following is None or self._following.done()):
            self._following = asyncio.get_running_loop().create_task(self._followed())

    async def _followed(self) -> None:
        """What fails here is tried again when the server is read the next time."""
        deadline = self._clock.monotonic() + FOLLOW
        try:
            session = await self.sessions.enter(_GATEWAY, partial(self._open, {}, deadline), deadline)
            try:
                self._stand(session, "").wanted = True
                while self._wanted != session.subscribed:
                    await self._follow_one(session, deadline)
            finally:
                self.sessions.leave(session)
        except UpstreamFault as fault:
            self._log.debug("upstream_not_told", detail=fault.detail)

    async def _follow_one(self, session: Session, deadline: float) -> None:
        missing = self._wanted - session.subscribed
        uri = min(missing or session.subscribed - self._wanted)
        method = SUBSCRIBE if missing else UNSUBSCRIBE
        request = UpstreamRequest(method=method, params={"uri": uri}, deadline=deadline)
        tell = partial(self._tell, session)
        reply = await self._wire.ask(self._outgoing(session, request, None, partial(refuse, tell)))
        if reply.status == 404:
            self.sessions.drop(_GATEWAY, session)
        reply.taken()
        session.subscribed ^= {uri}

    async def _level(self, session: Session, request: UpstreamRequest) -> None:
        """Have the server log from the level that the caller wants, where it says that it logs."""
        level = request.log_level
        if not level or level == session.level or "logging" not in (session.peer.capabilities or {}):
            return
        params = {"level": level}
        wanted = UpstreamRequest(method="logging/setLevel", params=params, deadline=request.deadline)
        tell = partial(self._tell, session)
        await self._wire.ask(self._outgoing(session, wanted, None, partial(refuse, tell)))
        session.level = level

    def _outgoing(
        self,
        session: Session,
        request: UpstreamRequest,
        notify: Notify | None,
        asked: Asked,
        sent: Callable[[Exchange], None] | None = None,
    ) -> Outgoing:
        number = next(self._ids)
        return Outgoing(
            id=number,
            method=request.method,
            lines=session.lines,
            params=request.params,
            era=session.peer.version,
            deadline=request.deadline,
            notify=notify,
            asked=asked,
            sent=sent,
            resumable=True,
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

    async def _cancel(self, session: Session, number: int) -> None:
        params = {"requestId": number, "reason": "The caller gave up."}
        await self._tell(session, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    async def _tell(self, session: Session, message: dict[str, Any]) -> None:
        try:
            await self._wire.tell(session.lines, message, patience=CANCEL)
        except UpstreamFault as fault:
            self._log.debug("upstream_not_told", detail=fault.detail)
