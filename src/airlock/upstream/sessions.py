"""Sessions at one legacy server: opened once per caller and set of capabilities, kept, never shared, closed.

A caller's requests run in its own session; a second caller never sees it. Servers without session ids are
kept the same way: what is remembered is that the handshake was done. Sessions that lie idle, and the oldest
idle ones over the bound, are handed out by `retire` to be ended at the server.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.answering import refuse

if TYPE_CHECKING:
    from airlock.core.clock import Clock
    from airlock.model.upstream import Notify
    from airlock.upstream.answering import Answering, Tell
    from airlock.upstream.dialogue import Peer
    from airlock.upstream.standing import Standing

SESSIONS = 512
"""Sessions kept at one server."""
IDLE = 600.0
"""Seconds without a call after which a session is ended."""

Key = tuple[str, bytes]

_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def key_of(principal_key: str, capabilities: dict[str, Any], session: str = "") -> Key:
    """Whose session it is (of a legacy client: in which session of its own), and with which capabilities it
    was opened."""
    owner = f"{principal_key}\0{session}" if session else principal_key
    return owner, hashlib.sha256(_encode_sorted(capabilities)).digest() if capabilities else b""


class Session:
    """A finished handshake. `lines` are the headers of every later request in it."""

    __slots__ = ("asking", "busy", "id", "level", "lines", "peer", "standing", "subscribed", "used_at")

    def __init__(self, *, peer: Peer, session_id: bytes) -> None:
        self.peer = peer
        self.id = session_id
        self.asking: list[Answering] = []
        """Calls that run in it, and whose clients can be asked."""
        self.busy = 0
        """Requests that run in it."""
        self.level = ""
        """Of log messages, as last set; empty: never."""
        self.standing: Standing | None = None
        self.subscribed: set[str] = set()
        """Resources of which the gateway itself wants to hear in it."""
        self.used_at = 0.0
        self.lines = b"MCP-Protocol-Version: %b\r\n" % peer.version.encode("ascii")
        if session_id:
            self.lines += b"Mcp-Session-Id: %b\r\n" % session_id

    async def asked(self, tell: Tell, message: dict[str, Any]) -> None:
        """A request of the server that came outside of answers: it belongs to the only request that runs;
        where there are several, nobody can tell to which."""
        if self.asking and self.busy == 1:
            await self.asking[0].asked_outside(message)
        else:
            await refuse(tell, message)

    def heard(self, notify: Notify, method: str, params: dict[str, Any]) -> None:
        """A notification that came outside of answers: it may take such a request back."""
        if not any(answering.withdrawn(method, params) for answering in self.asking):
            notify(method, params)

    @property
    def listens(self) -> bool:
        """Whether anybody wants to hear what belongs to no request."""
        return self.standing is not None and self.standing.wanted

    def fall(self) -> None:
        """Listen no more."""
        if self.standing is not None:
            self.standing.close()
            self.standing = None


Open = Callable[[], Awaitable[Session]]


class Sessions:
    """See the module. One event loop; two first calls of one caller do one handshake."""

    def __init__(self, *, clock: Clock, most: int = SESSIONS) -> None:
        self._clock = clock
        self._most = most
        self._kept: OrderedDict[Key, Session] = OrderedDict()
        self._opening: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._retired: list[Session] = []

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Session | None:
        """The caller's session, if it has one."""
        return self._kept.get(key)

    async def enter(self, key: Key, open_session: Open, deadline: float) -> Session:
        """The caller's session, opened if need be; `leave` must follow. Raises `UpstreamFault`, no effect."""
        session = self._kept.get(key) or await self._opened(key, open_session, deadline)
        session.busy += 1
        session.used_at = self._clock.monotonic()
        self._kept.move_to_end(key)
        return session

    def leave(self, session: Session) -> None:
        session.busy -= 1
        session.used_at = self._clock.monotonic()

    def drop(self, key: Key, session: Session) -> None:
        """Forget a session that the server does not know any more, unless it was replaced already."""
        session.fall()
        if self._kept.get(key) is session:
            del self._kept[key]

    def of(self, session: str, *, take: bool = False) -> list[Session]:
        """Those that were opened for a session of a legacy client; taken out if said so."""
        keys = [key for key in self._kept if key[0].endswith(f"\0{session}")]
        found = [self._kept.pop(key) if take else self._kept[key] for key in keys]
        for opened in found if take else []:
            opened.fall()
        return found

    def retire(self, *, everything: bool = False) -> list[Session]:
        """Take out what is idle for too long, or all; the caller ends these sessions at the server."""
        oldest = self._clock.monotonic() - IDLE
        for key, session in list(self._kept.items()):
            idle = not session.busy and not session.listens and session.used_at < oldest
            if everything or idle:
                session.fall()
                del self._kept[key]
                self._retired.append(session)
        retired, self._retired = self._retired, []
        return [session for session in retired if session.id]

    async def _opened(self, key: Key, open_session: Open, deadline: float) -> Session:
        lock = self._opening.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())), lock:
                if key not in self._kept:
                    self._kept[key] = await open_session()
                    self._make_room(newest=key)
                return self._kept[key]
        except TimeoutError as error:
            raise UpstreamFault.timeout("no session before the deadline", effect=Effect.NONE) from error
        except UpstreamFault as fault:
            fault.effect = Effect.NONE  # the request itself was not sent
            raise

    def _make_room(self, *, newest: Key) -> None:
        for key in list(self._kept):
            if len(self._kept) <= self._most:
                break
            if not self._kept[key].busy and key != newest:
                self._kept[key].fall()
                self._retired.append(self._kept.pop(key))
        del self._retired[: -self._most]
