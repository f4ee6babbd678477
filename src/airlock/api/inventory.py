"""`/admin/routes`: every door of this process, so that whoever tries them all needs no list of their own."""

from __future__ import annotations

import msgspec

from airlock.api.entries import Entry
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One door, and the credential that it declares: `none`, `bearer` or `admin`."""

    method: str
    path: str
    auth: str


class Inventory(msgspec.Struct, frozen=True):
    """Every door, in the order of the table."""

    routes: tuple[Listed, ...]


class InventoryApi:
    """Answers from the table that requests are routed by."""

    def __init__(self, doors: tuple[Listed, ...]) -> None:
        self._doors = Inventory(routes=doors)

    async def routes(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Method, path and credential of every door, in the order of the table."""
        return json_response(200, self._doors)


def entry(api: InventoryApi) -> Entry:
    """The address of the inventory."""
    return Entry(
        method="GET",
        path="/admin/routes",
        permission="gateway.read",
        summary="List every door of this process.",
        handler=api.routes,
        gives=Inventory,
    )
