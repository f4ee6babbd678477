"""Leases that narrow calls without ending them: denied by an overlay, a fresher login, less that may leave.

1 before policy is asked, with the snapshot of the call
2 before the call is sent, with the leases of now
3 for the answer and for each message of a stream, with the leases of now (`strength`)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import Refused, Stage
from airlock.gateway.contain import refused_by
from airlock.identity.refusals import too_weak
from airlock.model.call import Redacted, Routed
from airlock.model.containment import Index
from airlock.model.lattice import LATTICE
from airlock.model.lease import Lease
from airlock.model.snapshot import Current

Restricted = Callable[[Redacted], Refused | None]
"""Why a call may not be sent as it is; None while it may."""


class Strength(msgspec.Struct, frozen=True, kw_only=True):
    """What leases demand of an answer, beside configuration and policy."""

    patterns: tuple[str, ...] = ()
    """Detectors that look at it as well."""
    mode: str = "mask"
    max_bytes: int | None = None
    lease: Lease | None = None
    """Behind the mode."""


UNCHANGED = Strength()


def unrestricted(call: Redacted) -> Refused | None:
    """Nothing speaks against any call."""
    return None


def as_configured(call: Redacted) -> Strength:
    """Leases demand nothing."""
    return UNCHANGED


class Restrict:
    """The checks of one worker. With no lease, each is an attribute test."""

    def __init__(self, *, current: Current, clock: Clock) -> None:
        self._current = current
        self._clock = clock

    def call(self, routed: Routed) -> None:
        """1. Raise `Refused` for a call that is denied, `Unauthenticated` for a login that is too old."""
        index = routed.identified.caller.snapshot.leases.index
        if index is None or not index.scoped:
            return
        refused = _ahead(index, routed, self._clock.wall())
        if refused is not None:
            raise refused

    def sending(self, call: Redacted) -> Refused | None:
        """2. Why this may not be sent by now; None while it may. Under the snapshot of its admission, 1 has
        said what it has to say."""
        snapshot, routed = self._current.get(), call.allowed.admitted.routed
        index = snapshot.leases.index
        if index is None or not index.scoped:
            return None
        now = self._clock.wall()
        ahead = None if snapshot is routed.identified.caller.snapshot else _ahead(index, routed, now)
        return ahead or _outward(index, call, now)

    def strength(self, call: Redacted) -> Strength:
        """3. What is demanded of what the server says now."""
        index = self._current.get().leases.index
        if index is None or not index.scoped:
            return UNCHANGED
        routed, now = call.allowed.admitted.routed, self._clock.wall()
        mode = _tightest(index, "redaction.mode", routed, now)
        patterns = _tightest(index, "redaction.patterns", routed, now)
        size = _tightest(index, "result.max_bytes", routed, now)
        return Strength(
            patterns=tuple(sorted(patterns[0])) if patterns else (),
            mode=mode[0] if mode else "mask",
            max_bytes=size[0] if size else None,
            lease=mode[1] if mode else None,
        )


def _tightest(index: Index, setting: str, routed: Routed, now: float) -> tuple[Any, Lease] | None:
    """What all leases together demand, and one that demands as much as any; None where none says a word."""
    found: tuple[Any, Lease] | None = None
    join = LATTICE[setting]
    for value, lease in index.over(setting, routed.identified.caller.principal, routed.item, now):
        if found is None:
            found = value, lease
        elif join(found[0], value) != found[0]:
            found = join(found[0], value), lease
    return found


def _ahead(index: Index, routed: Routed, now: float) -> Refused | None:
    principal = routed.identified.caller.principal
    denied = _tightest(index, "deny.overlay", routed, now)
    if denied is not None:
        text = f"A containment rule denies this call to {routed.item.name}."
        return refused_by(denied[1], text, routed.item.scope, principal.tenant)
    age = _tightest(index, "stepup.max_age", routed, now)
    if age is None or (principal.auth_time is not None and now - principal.auth_time <= age[0]):
        return None
    weak = too_weak((), int(age[0]))
    weak.lease = age[1].id
    return weak


def _outward(index: Index, call: Redacted, now: float) -> Refused | None:
    routed = call.allowed.admitted.routed
    tenant = routed.identified.caller.principal.tenant
    allow = _tightest(index, "egress.allow", routed, now)
    if allow is not None and routed.item.server not in allow[0]:
        text = f"Nothing may be sent to {routed.item.server} at the moment."
        return refused_by(allow[1], text, routed.item.scope, tenant)
    most = _tightest(index, "egress.max_bytes", routed, now)
    params = call.request.params
    if most is not None and len(msgspec.json.encode(params.get("arguments", params))) > most[0]:
        text = f"The arguments have more than the {most[0]} bytes that may leave at the moment."
        return refused_by(most[1], text, routed.item.scope, tenant)
    return None


def withheld(call: Redacted, lease: Lease) -> Refused:
    """The refusal of a call whose answer holds what a lease keeps back."""
    routed = call.allowed.admitted.routed
    text = "The result holds what may not leave at the moment, so it is kept back."
    refused = refused_by(lease, text, routed.item.scope, routed.identified.caller.principal.tenant)
    refused.stage = Stage.REDACT
    return refused
