"""Which doors there are."""

from __future__ import annotations

from airlock.api.inventory import InventoryApi, Listed
from airlock.app.management import listed
from airlock.edge.routes import Route
from tests.api.doors import ask, door, request, told
from tests.gateway.parts import principal

ASKED = request("GET", "/admin/routes")
API = InventoryApi((Listed(method="GET", path="/live", auth="none"),))


def test_an_administrator_reads_every_door_and_its_credential() -> None:
    listed = {"method": "GET", "path": "/live", "auth": "none"}
    assert told(ask(API.routes, ASKED)) == (200, {"routes": [listed]})


def test_nobody_else_does() -> None:
    assert told(ask(API.routes, ASKED, door(principal()))) == (403, "admin_role_required")


def test_the_inventory_is_a_door_itself() -> None:
    route = listed(door(), (Route(method="GET", path="/live", auth="none"),))
    assert (route.method, route.path, route.auth) == ("GET", "/admin/routes", "admin")
