"""Leases as rows of the store, and back."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row

from airlock.model.lease import Lease, Selector
from airlock.store.schema import leases

_selector = msgspec.json.Decoder(Selector).decode


def row_of(lease: Lease) -> dict[str, Any]:
    """The values of a lease's row."""
    row = {field: getattr(lease, field) for field in lease.__struct_fields__}
    return row | {"selector": msgspec.json.encode(lease.selector).decode()}


def plain(row: Row[Any]) -> Lease:
    """The lease as it was last written."""
    values: dict[str, Any] = dict(zip(leases.c.keys(), row, strict=True))
    values["selector"] = _selector(row.selector)
    return Lease(**values)


def standing(row: Row[Any], now: float) -> Lease:
    """The lease as it stands now: its time may be over although nobody has noted it."""
    lease = plain(row)
    if lease.state == "active" and not lease.holds(now):
        over = lease.expires_at
        return msgspec.structs.replace(lease, state="expired", ended_at=over, end_reason="its time was over")
    return lease
