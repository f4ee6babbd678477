"""`/admin/security/block` and `/admin/security/blocks`: addresses that nobody may come from.

A block is a lease like any other, one for each network; its id is the lease's.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

import msgspec

from airlock.api import lease_shown, leasing
from airlock.api.entries import Entry, document, invalid
from airlock.api.lease_shown import Enforced
from airlock.api.leasing import NO_REASON, Leasing, Wanted, Why, fit
from airlock.core.clock import Clock, rfc3339
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import Lease, Selector, read_selector
from airlock.model.principal import Principal

MOST = 100
"""Networks of one request: each is a lease of its own, and all must be in force before the answer."""


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /admin/security/block` takes. Addresses or networks; without a duration, an hour."""

    ip_addresses: Annotated[list[str], msgspec.Meta(min_length=1)]
    duration: str = ""
    reason: str = ""
    incident: str = ""


class Blocked(TypedDict):
    """A network and the lease that blocks it."""

    id: str
    cidr: str
    expires_at: str | None
    lease_id: str


class Added(Enforced):
    """What was blocked."""

    blocks: list[Blocked]


class Standing(Blocked):
    """A block in force."""

    remaining_seconds: int | None
    reason: str
    actor: str
    incident: str


class Blocks(msgspec.Struct, frozen=True):
    """Every block in force."""

    blocks: list[Standing]


class Removed(Blocked, Enforced):
    """A block that was released."""

    state: str


class BlocksApi:
    """Blocks of addresses, for administrators."""

    def __init__(self, *, leasing: Leasing, clock: Clock) -> None:
        self._leasing = leasing
        self._clock = clock

    async def add(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Block every address that is named, or none where one of them is refused."""
        asked = document(request, Block)
        if len(asked.ip_addresses) > MOST:
            raise invalid("invalid_params", f"One request blocks {MOST} addresses at most: use networks.")
        ttl = leasing.seconds(asked.duration)
        key = request.header("idempotency-key") or ""
        selectors = [fit(lambda text=text: _selector(text)) for text in asked.ip_addresses]
        outcome = await self._leasing.give(
            request,
            admin,
            [
                Wanted(
                    action="ip.block",
                    selector=selector,
                    ttl=ttl,
                    reason=asked.reason or NO_REASON,
                    incident=leasing.incident(asked.incident),
                    key=f"{key} {selector.cidr}" if key else "",
                )
                for selector in dict.fromkeys(selectors)
            ],
        )
        blocks = [_block(lease) for lease in outcome.leases]
        return json_response(outcome.status, {"blocks": blocks, **outcome.told})

    async def list(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Every block in force, with the seconds that are left."""
        now = self._clock.wall()
        found = await self._leasing.listing(include_ended=False, action="ip.block")
        blocks = [
            {
                **_block(lease),
                "remaining_seconds": lease_shown.remaining(lease, now),
                "reason": lease.reason,
                "actor": lease.actor,
                "incident": lease.incident,
            }
            for lease in found
        ]
        return json_response(200, {"blocks": blocks})

    async def remove(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Release one block; what other leases demand still holds."""
        lease = await self._leasing.find(request.params["id"])
        if lease.action != "ip.block":
            raise leasing.unknown()
        outcome = await self._leasing.take_back(admin, lease.id, leasing.why(request))
        (ended,) = outcome.leases
        return json_response(outcome.status, {**_block(ended), "state": ended.state, **outcome.told})


def entries(api: BlocksApi) -> tuple[Entry, ...]:
    """The addresses of blocks."""
    return (
        Entry(
            method="POST",
            path="/admin/security/block",
            permission="leases.write",
            summary="Block addresses.",
            handler=api.add,
            takes=Block,
            gives=Added,
            statuses=(200, 207),
            keys="handler",
        ),
        Entry(
            method="GET",
            path="/admin/security/blocks",
            permission="incidents.read",
            summary="List blocks in force.",
            handler=api.list,
            gives=Blocks,
        ),
        Entry(
            method="DELETE",
            path="/admin/security/blocks/{id}",
            permission="leases.write",
            summary="Release a block.",
            handler=api.remove,
            takes=Why,
            optional=True,
            gives=Removed,
            statuses=(200, 207),
        ),
    )


def _selector(text: str) -> Selector:
    return read_selector("ip.block", {"cidr": text})


def _block(lease: Lease) -> dict[str, object]:
    end = None if lease.expires_at is None else rfc3339(lease.expires_at)
    return {"id": lease.id, "cidr": lease.selector.cidr, "expires_at": end, "lease_id": lease.id}
