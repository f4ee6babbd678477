"""A caller's own logins at servers, and the end of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from airlock.api.connections import ConnectionsApi, entries
from airlock.api.entries import Entry
from airlock.api.openapi import OpenApi
from airlock.gateway.tickets import Tickets
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.link import Link, Who
from airlock.model.principal import Principal
from tests.api.doors import ADMIN, door, request, told
from tests.gateway.parts import PUBLIC, HandClock, principal, sealer

ALICE = principal("alice", auth="login")
TICKETS = Tickets(sealer=sealer(), public_url=PUBLIC, clock=HandClock())


class Links:
    """Logins of Alice."""

    def __init__(self, *held: Link) -> None:
        self.held = held
        self.ended: list[tuple[str, str]] = []

    async def status(self, who: Who) -> tuple[Link, ...]:
        return self.held if who == Who.of(ALICE) else ()

    async def forget(self, *, who: Who, server: str = "") -> int:
        self.ended.append((who.owner, server))
        return len([link for link in await self.status(who) if link.server == server])

    async def forget_subject(self, subject: str) -> int:
        self.ended.append((subject, ""))
        return 2


LINK = Link(server="tickets", issuer="https://i.example", scopes=("a",), connected=True, updated_at=60.0)


def table(links: Links) -> dict[str, Entry]:
    api = ConnectionsApi(
        links=links, tickets=TICKETS, servers=lambda tenant: ("mail", "tickets") if tenant == "acme" else ()
    )
    return {f"{entry.method} {entry.path}": entry for entry in entries(api)}


def ask(links: Links, entry: str, asked: HttpRequest, who: Principal = ALICE) -> HttpResponse:
    async def answered() -> HttpResponse:
        return await door(who).guard(table(links)[entry])(asked)

    return asyncio.run(answered())


def listed(links: Links, who: Principal = ALICE) -> list[dict[str, Any]]:
    answer = ask(links, "GET /api/v1/connections", request(), who)
    assert answer.status == 200
    return json.loads(answer.body)["connections"]


def test_a_caller_sees_where_it_is_logged_in_and_gets_links_of_its_own() -> None:
    mail, tickets = listed(Links(LINK))
    assert (mail["server"], mail["state"]) == ("mail", "login_needed")
    assert set(mail) == {"server", "state", "connect_url"}
    assert {**tickets, "connect_url": ""} == {
        "server": "tickets",
        "state": "connected",
        "issuer": "https://i.example",
        "scopes": ["a"],
        "updated_at": "1970-01-01T00:01:00Z",
        "connect_url": "",
    }
    ticket = TICKETS.read(mail["connect_url"].partition("ticket=")[2])
    assert (ticket.server, ticket.who, ticket.auth) == ("mail", Who.of(ALICE), "login")
    assert [each["state"] for each in listed(Links(LINK), principal("bob"))] == ["login_needed"] * 2
    assert listed(Links(LINK), principal("carol", tenant="other")) == []
    lost = msgspec.structs.replace(LINK, connected=False)
    assert listed(Links(lost))[1]["state"] == "login_needed"


def test_a_caller_ends_its_own_login() -> None:
    links = Links(LINK)
    at = request("DELETE", params={"server": "tickets"})
    assert ask(links, "DELETE /api/v1/connections/{server}", at).status == 200
    assert links.ended == [(ALICE.key, "tickets")]
    none = request("DELETE", params={"server": "mail"})
    assert told(ask(links, "DELETE /api/v1/connections/{server}", none)) == (404, "not_found")


@pytest.mark.parametrize("who", [ALICE, principal("bob"), principal("eve", roles=("admin",), auth="login")])
def test_only_an_operator_ends_those_of_others(who: Principal) -> None:
    links = Links(LINK)
    asked = request("POST", body={"subject": "alice"})
    assert told(ask(links, "POST /api/v1/connections/-/revoke", asked, who)) == (403, "admin_role_required")
    assert links.ended == []


def test_an_operator_ends_all_logins_of_a_person() -> None:
    links = Links(LINK)
    answer = ask(
        links, "POST /api/v1/connections/-/revoke", request("POST", body={"subject": "alice"}), ADMIN
    )
    assert json.loads(answer.body) == {"ended": 2}
    assert links.ended == [("alice", "")]
    for subject in ("", "https://i.example|"):
        wrong = request("POST", body={"subject": subject})
        assert told(ask(links, "POST /api/v1/connections/-/revoke", wrong, ADMIN)) == (422, "invalid_params")


def test_the_document_says_that_every_caller_may() -> None:
    api = OpenApi(public_url=PUBLIC)
    api.over(tuple(table(Links()).values()))
    operation = json.loads(asyncio.run(api.document(request(), ADMIN)).body)["paths"]["/api/v1/connections"][
        "get"
    ]
    assert operation["description"] == "For every caller: it is about what is theirs."
    assert operation["x-permission"] is None
