"""Sessions of legacy clients: a sealed value that every worker can open and nobody can make or lend.

Possession proves nothing. The id holds who opened it, on which route and in which version; a request must
bring its own valid token, and the token's principal must be the one inside. Whatever does not fit is
"unknown".
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused, Rejected
from airlock.core.sealed import SealBroken, Sealer
from airlock.gateway.attendance import Attendance
from airlock.mcp import eras
from airlock.model.call import Authenticated, Inbound, Reached, Reply

ABSOLUTE_TTL = 12 * 3600
"""Seconds after which a session ends whatever happens (S-3)."""

SESSION_HEADER = "mcp-session-id"

_PURPOSE = "session"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a session id (S-1)."""

    sid: str
    principal: str
    tenant: str
    version: str
    route: str
    can: int = 0
    """What the client said it can do (`mcp.abilities`)."""
    exp: int
    """Unix seconds."""


_decode = msgspec.json.Decoder(Session).decode


def unknown_session(reason: str = "session_unknown") -> Rejected:
    """One answer for unknown, expired, ended and foreign sessions; the record tells them apart."""
    return Rejected(404, -32600, reason, "Unknown session: send `initialize` again.")


def anybody(caller: Authenticated) -> None:
    """Nobody is contained."""


class Sessions:
    """Opens and mints session ids. Any worker can do it: `attendance` knows what ended and what is in use."""

    def __init__(
        self,
        sealer: Sealer,
        permit: Callable[[Authenticated], None] = anybody,
        attendance: Attendance | None = None,
    ) -> None:
        """`permit` raises for a caller who is contained: that is said before a session is, because an
        unknown session asks its client to begin another one."""
        self._sealer = sealer
        self.attendance = Attendance() if attendance is None else attendance
        self.permit = permit

    def mint(self, caller: Authenticated, version: str, now: float, *, can: int = 0) -> tuple[str, str]:
        """A new session for this caller, whose client `can` do so much (`mcp.abilities`): its sealed id
        (visible ASCII) and the random part of it."""
        session = Session(
            sid=secrets.token_urlsafe(16),
            principal=caller.principal.key,
            tenant=caller.principal.tenant,
            version=version,
            route=caller.inbound.route,
            can=can,
            exp=int(now) + ABSOLUTE_TTL,
        )
        self.attendance.begin(session.sid, session.principal, now)
        return self._sealer.seal(_PURPOSE, msgspec.json.encode(session)), session.sid

    def open(self, text: str, caller: Authenticated, now: float) -> Session:
        """The session of this caller. Raises `Rejected` 404 for anything else."""
        try:
            return self._opened(text, caller, now)
        except Rejected:
            self.permit(caller)
            raise

    def still(self, session: Session, caller: Authenticated, now: float) -> bool:
        """Whether what was opened before is a session of this caller now; that is no use of it."""
        index = caller.snapshot.leases.index
        return (
            (session.principal, session.tenant) == (caller.principal.key, caller.principal.tenant)
            and session.exp > now
            and session.sid not in caller.snapshot.revocations.sessions
            and (index is None or index.session(session.sid, now) is None)
            and not self.attendance.ended(session.sid)
        )

    def _opened(self, text: str, caller: Authenticated, now: float) -> Session:
        try:
            session = _decode(self._sealer.open(_PURPOSE, text))
        except (SealBroken, msgspec.DecodeError) as broken:
            raise unknown_session() from broken
        if (session.principal, session.tenant) != (caller.principal.key, caller.principal.tenant):
            raise unknown_session("session_hijack_attempt")
        fits = (
            session.route == caller.inbound.route
            and session.exp > now
            and session.sid not in caller.snapshot.revocations.sessions
        )
        if not fits:
            raise unknown_session()
        index = caller.snapshot.leases.index
        if index is not None and index.session(session.sid, now) is not None:
            raise unknown_session("session_terminated")
        if not self.attendance.saw(session.sid, session.principal, now):
            raise unknown_session()
        return session


class End(Protocol):
    """Makes every worker refuse a session from now on; false if it had ended before. Durable on return."""

    def __call__(self, sid: str, expires_at: float) -> Awaitable[bool]: ...


class Record(Protocol):
    """The part of the audit envelope that ending a session needs."""

    async def refuse(self, reached: Reached, failure: Refused | Fault) -> None: ...
    async def session_ended(self, caller: Authenticated, sid: str) -> None: ...


class EndSession:
    """`DELETE` on an MCP route: a client closes its own session (S-4). Anything else has nothing there."""

    def __init__(
        self,
        *,
        authenticate: Callable[[Inbound], Authenticated],
        sessions: Sessions,
        end: End,
        record: Record,
        explain: Callable[[Reached | None, Refused | Fault], Reply],
        clock: Clock,
    ) -> None:
        self._authenticate = authenticate
        self._sessions = sessions
        self._end = end
        self._record = record
        self._explain = explain
        self._clock = clock

    async def __call__(self, inbound: Inbound) -> Reply:
        reached: Reached = inbound
        try:
            try:
                reached = caller = self._authenticate(inbound)
                self._sessions.permit(caller)
                session = self._sessions.open(named_session(inbound), caller, self._clock.wall())
                if not await self._end(session.sid, float(session.exp)):
                    raise unknown_session()
            except (Refused, Fault) as failure:
                await self._record.refuse(reached, failure)
                raise
            await self._record.session_ended(caller, session.sid)
            return Reply(body=b"", status=204)
        except (Refused, Fault) as failure:
            return self._explain(reached, failure)


def named_session(inbound: Inbound) -> str:
    """The session id of a request. Raises 405 without one, and in an era without sessions: there only POST
    exists (H-1)."""
    named, version = inbound.headers.get(SESSION_HEADER), inbound.headers.get("mcp-protocol-version")
    if named is None or (version is not None and version not in eras.LEGACY):
        text = f"Only POST is served here without a {SESSION_HEADER}."
        raise Rejected(405, -32600, "method_not_allowed", text, headers=(("allow", "POST"),))
    return named
