"""Stage 3, first part: nobody and nothing that is contained gets through.

The same questions are asked at every point of the way: at admission, before the call is sent, for every
message of a stream, and before the reply. A refusal says who or what is contained and until when, and
nothing about others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused, Stage
from airlock.gateway.serving import Serving
from airlock.model.call import Authenticated, Identified, Routed
from airlock.model.containment import Index
from airlock.model.lease import Lease
from airlock.model.principal import Principal
from airlock.model.server import Item

Visible = Callable[[Identified, Item], bool]

SENSITIVE = frozenset({"medium", "high", "critical"})
"""Tools that are not served by a worker that may have missed a lease."""


LOST = "Airlock has lost its control data."


KEPT = 64
"""Lists of which is remembered what leases leave of them: many callers have the same."""

_Freed = tuple[tuple[Item, ...], Index, float, tuple[Item, ...]]
"""A list, the leases and until when they all hold, and what they leave of it."""


class Contain:
    """The checks at admission. With no lease, each is two attribute tests."""

    def __init__(self, *, clock: Clock, serving: Serving) -> None:
        self._clock = clock
        self._serving = serving
        self._freed: deque[_Freed] = deque(maxlen=KEPT)

    @property
    def lapsed(self) -> bool:
        """Whether this worker may have missed what the control data say."""
        return self._serving.lapsed

    def caller(self, identified: Identified) -> None:
        """Raise `Refused` where the caller is contained, whatever it asks for."""
        self.who(identified.caller)

    def who(self, caller: Authenticated) -> None:
        """The same before the message is known."""
        if self._serving.dark:
            raise _blind(LOST)
        index = caller.snapshot.leases.index
        if index is None:
            return
        refused = of_caller(index, caller.principal, caller.inbound.source_ip, self._clock.wall())
        if refused is not None:
            raise refused

    def call(self, routed: Routed) -> None:
        """Raise `Refused` where the server or the tool is contained; `Fault` where that cannot be known."""
        unsure = self.unsure(routed)
        if unsure is not None:
            raise unsure
        index = routed.identified.caller.snapshot.leases.index
        if index is None:
            return
        tenant = routed.identified.caller.principal.tenant
        refused = of_tool(index, routed.item, tenant, self._clock.wall())
        if refused is not None:
            raise refused

    def unsure(self, routed: Routed) -> Fault | None:
        """Why nobody can say whether this call is contained: this worker may have missed a lease, and those
        who gave it no longer wait for its word. None while it can be said."""
        if self._serving.dark:
            return _blind(LOST)
        if self._serving.lapsed and routed.item.sensitivity in SENSITIVE:
            return _blind("Airlock cannot read its control data, so it serves no sensitive tool.")
        return None

    def visible(self, visible: Visible) -> Visible:
        """`visible` without what is contained: that is in no list."""

        def seen(identified: Identified, item: Item) -> bool:
            index = identified.caller.snapshot.leases.index
            if index is not None and _holds(index, item, self._clock.wall()):
                return False
            return visible(identified, item)

        return seen

    def free(self, identified: Identified, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """The items without what is contained; themselves where nothing is."""
        index = identified.caller.snapshot.leases.index
        if index is None or not (index.servers or index.tools):
            return items
        now = self._clock.wall()
        for whole, under, until, found in self._freed:
            if whole is items and under is index and now < until:
                return found
        found = tuple(item for item in items if not _holds(index, item, now))
        self._freed.append((items, index, index.until(now), found))
        return found


def _holds(index: Index, item: Item, now: float) -> bool:
    return index.server(item.server, now) is not None or index.tool(item, now) is not None


def of_address(index: Index, source_ip: str, now: float) -> Refused | None:
    """Why nothing is served to this address, which learns no more than that; None while it is."""
    lease = index.address(source_ip, now)
    if lease is None:
        return None
    text = "Requests from this address are blocked."
    return Refused(Stage.ADMIT, 40302, "contained", text, scope={"kind": "address"}, lease=lease.id)


def of_caller(index: Index, principal: Principal, source_ip: str, now: float) -> Refused | None:
    """Why this caller is served nothing; None while it is. `now` in Unix seconds."""
    refused = of_address(index, source_ip, now)
    if refused is not None:
        return refused
    lease = index.tenant(principal.tenant, now)
    if lease is not None:
        return refused_by(lease, "This tenant is isolated.", {"kind": "tenant"}, principal.tenant)
    lease = index.subject(principal, now)
    if lease is not None:
        return refused_by(lease, "This identity is suspended.", {"kind": "principal"}, principal.tenant)
    return None


def of_tool(index: Index, item: Item, tenant: str, now: float) -> Refused | None:
    """Why this is not used by anybody; None while it may be."""
    lease = index.server(item.server, now)
    if lease is not None:
        scope = {"kind": "server", "server": item.server}
        text = f"The server {item.server} is out of service."
        return refused_by(lease, text, scope, tenant, shared=True)
    lease = index.tool(item, now)
    if lease is not None:
        text = f"The {item.scope['kind']} {item.own} is in quarantine."
        return refused_by(lease, text, item.scope, tenant, shared=True)
    return None


def of_credential(index: Index, principal: Principal, sid: str, now: float) -> Refused | None:
    """Why a running call may not go on with its token or in its session; None while it may."""
    lease = index.token(principal.token_id, now)
    if lease is not None:
        return refused_by(lease, "The credential of this call was revoked.", {"kind": "principal"}, "")
    lease = index.session(sid, now) if sid else None
    if lease is not None:
        return refused_by(lease, "The session of this call was terminated.", {"kind": "session"}, "")
    return None


def refused_by(
    lease: Lease, text: str, scope: dict[str, str], tenant: str, *, shared: bool = False
) -> Refused:
    """The refusal by a lease. The incident is told only to callers of the tenant that the lease is about.
    `shared`: what names no tenant is about every tenant that can see it."""
    ours = bool(tenant) and (lease.selector.tenant or (tenant if shared else "")) == tenant
    return Refused(
        Stage.ADMIT, 40302, "contained", text,
        scope=scope,
        expires_at=lease.expires_at,
        lease=lease.id,
        incident=lease.incident if ours else "",
    )  # fmt: skip


def _blind(text: str) -> Fault:
    return Fault(Stage.ADMIT, 50302, "control_unavailable", text, detail="serving lease", retry_after=5)
