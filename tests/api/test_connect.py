"""The pages of a login at a server: opened, agreed, gone and come back, by the right person and browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from html import unescape
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from airlock.api.connect import PATIENCE, ConnectApi, SignedIn
from airlock.api.ledger import Ledger
from airlock.api.pages import redirect
from airlock.core.errors import Fault, LinkRefused, Refused, Stage
from airlock.gateway.tickets import CONNECT, LIFETIME, Tickets
from airlock.identity.refusals import missing
from airlock.model.entry import Event
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.link import Link, Who
from airlock.model.principal import Principal
from tests.gateway.parts import HandClock, principal, sealer

GATEWAY = "https://gate.example"
THERE = "https://login.tickets.example/authorize?state=s&code_challenge=c"
FORM = ("content-type", "application/x-www-form-urlencoded")

T = TypeVar("T")


class World:
    """The pages, with logins that succeed, and callers by their tokens."""

    def __init__(self, *, gateway: str = GATEWAY, provider: bool = False) -> None:
        self.clock = HandClock()
        self.began: list[tuple[str, Who, str]] = []
        self.finished: list[tuple[Mapping[str, str], str]] = []
        self.strangers: list[str] = []
        self.failure: Refused | Fault | None = None
        self.there = THERE
        self.link = Link(server="tickets", issuer="i", scopes=("a", "<b>"), connected=True, updated_at=1.0)
        self.callers = {"alices": principal("alice"), "mallorys": principal("mallory")}
        self.tickets = Tickets(sealer=sealer(), public_url=gateway, clock=self.clock)
        self.signed_in = SignedIn(sealer=sealer(), clock=self.clock)
        self.sent: list[tuple[str, str]] = []
        self.api = ConnectApi(
            public_url=gateway,
            links=self,
            tickets=self.tickets,
            identify=self.identify,
            issuers=lambda server: ("https://login.tickets.example",) if server == "tickets" else (),
            document={"client_id": "x"},
            sign_in=self.sign_in if provider else None,
            signed_in=self.signed_in,
            sealer=sealer(),
            ledger=Ledger(seal=self.seal, stranger=self.stranger, clock=self.clock, log=self),
            clock=self.clock,
        )

    async def begin(self, *, server: str, who: Who, browser: str) -> str:
        if self.failure is not None:
            raise self.failure
        self.began.append((server, who, browser))
        return self.there

    async def finish(self, given: Mapping[str, str], *, browser: str) -> Link:
        if self.failure is not None:
            raise self.failure
        self.finished.append((given, browser))
        return self.link

    async def identify(self, request: HttpRequest) -> Principal:
        found = self.callers.get((request.authorization or "").removeprefix("Bearer "))
        if found is None:
            raise missing()
        return found

    async def sign_in(self, there: str, browser: str) -> HttpResponse:
        self.sent.append((there, browser))
        return redirect("https://idp.example/auth")

    async def seal(self, event: Event) -> None:
        raise AssertionError("no row of its own")

    async def stranger(self, request: HttpRequest, failure: Refused | Fault) -> None:
        self.strangers.append(failure.reason)

    def info(self, event: str, **fields: object) -> None:
        assert "alices" not in repr(fields)

    warning = error = info

    def link_of(self, who: Principal | None = None, server: str = "tickets") -> str:
        return urlsplit(self.tickets.url(who or principal("alice"), server)).query

    def opened(self, query: str, *cookies: str) -> HttpResponse:
        return run(self.api.ask(asked(query=query, cookies=cookies)))

    def agreed(self, shown: HttpResponse, *cookies: str, origin: str = GATEWAY, **given: str) -> HttpResponse:
        fields = {"flow": flow(shown), **given}
        held = cookies or (cookie(shown),)
        request = asked("POST", cookies=held, body=urlencode(fields).encode(), origin=origin)
        return run(self.api.agree(request))


def run(work: Awaitable[T]) -> T:
    async def done() -> T:
        return await work

    return asyncio.run(done())


def asked(
    method: str = "GET",
    *,
    query: str = "",
    cookies: tuple[str, ...] = (),
    body: bytes = b"",
    origin: str = "",
) -> HttpRequest:
    headers = [FORM] if body else []
    headers += [("cookie", "; ".join(cookies))] if cookies else []
    headers += [("origin", origin)] if origin else []
    return HttpRequest(
        method=method,
        path=CONNECT,
        params={},
        query=query,
        headers=tuple(headers),
        authorization=None,
        source_ip="192.0.2.7",
        body=body,
    )


def cookie(response: HttpResponse) -> str:
    return next(value for name, value in response.headers if name == "set-cookie").partition(";")[0]


def flow(response: HttpResponse) -> str:
    found = re.search(r'name="flow" value="([^"]*)"', response.body.decode())
    assert found is not None, response.body
    return unescape(found[1])


def said(response: HttpResponse) -> tuple[int, str]:
    """Status and the reason on the page."""
    return response.status, response.body.decode().partition("Reason: ")[2].partition("<")[0]


def test_the_way_of_a_person() -> None:
    world = World()
    shown = world.opened(world.link_of())
    text = shown.body.decode()
    assert (shown.status, "tickets" in text, "login.tickets.example" in text, "alice" in text) == (
        200, True, True, True
    )  # fmt: skip
    assert dict(shown.headers)["x-frame-options"] == "DENY"
    assert "set-cookie" in dict(shown.headers)
    assert "__Host-airlock-link" not in repr(shown.headers)
    onward = world.agreed(shown, token="alices")
    assert onward.status == 200
    assert "login.tickets.example" in onward.body.decode()
    assert f'href="{THERE.replace("&", "&amp;")}"' in onward.body.decode()
    assert "refresh" not in onward.body.decode()
    ((server, who, browser),) = world.began
    assert (server, who) == ("tickets", Who.of(principal("alice")))
    kept = cookie(onward)
    assert kept == f"__Host-airlock-link={browser}"
    (attributes,) = [value for name, value in onward.headers if name == "set-cookie"]
    assert attributes.endswith("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure")
    done = run(world.api.callback(asked(query="code=c&state=s&iss=i", cookies=(kept,))))
    assert world.finished == [({"code": "c", "state": "s", "iss": "i"}, browser)]
    assert done.status == 200
    assert "You can close this tab" in done.body.decode()
    assert "&lt;b&gt;" in done.body.decode()


def test_two_tabs_of_a_browser_share_its_cookies() -> None:
    world = World()
    first = world.opened(world.link_of())
    second = world.opened(world.link_of(), cookie(first))
    assert cookie(second) == cookie(first)
    one = world.agreed(first, token="alices")
    world.agreed(second, cookie(first), cookie(one), token="Bearer alices")
    assert world.began[0][2] == world.began[1][2]


def test_a_link_is_of_no_use_to_anybody_else() -> None:
    """Who sends his own link to somebody else does not get the account of that person, nor the other way."""
    world = World()
    for owner, token in (("mallory", "alices"), ("alice", "mallorys")):
        shown = world.opened(world.link_of(principal(owner)))
        assert said(world.agreed(shown, token=token)) == (400, "link_person_mismatch")
    shown = world.opened(world.link_of(principal("alice", tenant="other")))
    assert said(world.agreed(shown, token="alices")) == (400, "link_person_mismatch")
    for token in ("", "unknown"):
        assert world.agreed(world.opened(world.link_of()), token=token).status == 401
    assert world.began == []
    assert world.strangers[:2] == ["link_person_mismatch"] * 2


def test_a_page_counts_in_its_own_browser_and_from_its_own_site() -> None:
    world = World()
    shown = world.opened(world.link_of())
    other = cookie(world.opened(world.link_of()))
    for answer in (
        world.agreed(shown, other, token="alices"),
        world.agreed(shown, "__Host-airlock-connect=x", token="alices"),
        world.agreed(shown, token="alices", origin="https://evil.example"),
        world.agreed(shown, token="alices", flow="made up"),
        world.agreed(shown, token="alices", flow="ü"),
    ):
        assert said(answer) == (400, "link_browser_mismatch")
    assert world.began == []
    assert said(world.agreed(shown, token="alices", origin="")) == (200, "")


def test_links_and_pages_end() -> None:
    world = World()
    query = world.link_of()
    shown = world.opened(query)
    world.clock.seconds += LIFETIME
    assert said(world.opened(query)) == (400, "link_ticket_expired")
    assert world.agreed(shown, token="alices").status == 200
    world.clock.seconds += PATIENCE
    assert said(world.agreed(shown, token="alices")) == (400, "link_ticket_expired")
    assert said(world.opened("ticket=x")) == (400, "link_ticket_invalid")
    assert said(world.opened("ticket=x&ticket=y")) == (400, "login_request_invalid")


def test_what_a_server_calls_itself_is_no_markup() -> None:
    world = World()
    world.there = 'https://"><script>alert(1)</script>/'
    world.link = msgspec.structs.replace(world.link, server="<i>")
    shown = world.opened(world.link_of(principal("<b>"), server="<script>"))
    world.callers["b"] = principal("<b>")
    for answer in (shown, world.agreed(shown, token="b"), run(world.api.callback(asked()))):
        assert answer.status == 200
        assert not re.search(r"<script|<i>|<b>", answer.body.decode())
        assert "default-src 'none'" in dict(answer.headers)["content-security-policy"]
    assert "the next page shows it" in shown.body.decode()


def test_a_login_that_fails_is_a_page_without_what_others_wrote() -> None:
    world = World()
    shown = world.opened(world.link_of())
    world.failure = LinkRefused(
        "link_denied", "The authorization server did not let you in.", detail="<evil>"
    )
    back = run(world.api.callback(asked(query="error=access_denied&error_description=%3Cevil%3E&state=s")))
    assert said(back) == (400, "link_denied")
    assert "evil" not in back.body.decode()
    assert said(world.agreed(shown, token="alices")) == (400, "link_denied")
    world.failure = Fault(Stage.FORWARD, 50301, "upstream_unavailable", "It cannot be reached.", detail="x")
    assert said(world.agreed(shown, token="alices")) == (503, "upstream_unavailable")


LOGGED_IN: dict[str, Any] = {"auth": "login"}


def test_whose_client_logged_in_here_signs_in_and_is_the_same_person() -> None:
    world = World(provider=True)
    alice = principal("alice", **LOGGED_IN)
    query = world.link_of(alice)
    away = world.opened(query)
    assert (away.status, dict(away.headers)["location"]) == (303, "https://idp.example/auth")
    ((there, browser),) = world.sent
    assert there == f"{GATEWAY}{CONNECT}?{query}"
    kept = f"__Host-airlock-connect={browser}"
    assert cookie(away) == kept

    def came_back(owner: str, sealed_for: str = browser) -> str:
        return f"{query}&{urlencode({'person': world.signed_in.seal(owner, sealed_for)})}"

    shown = world.opened(came_back(alice.key), kept)
    assert "password" not in shown.body.decode()
    assert world.agreed(shown, kept).status == 200
    assert [who.owner for _, who, _ in world.began] == [alice.key]
    other = principal("mallory", **LOGGED_IN).key
    assert said(world.opened(came_back(other), kept)) == (400, "link_person_mismatch")
    assert said(world.opened(came_back(alice.key, "another"), kept)) == (400, "link_browser_mismatch")
    assert said(world.opened(f"{query}&person=x", kept)) == (400, "link_browser_mismatch")
    assert said(world.opened(f"{query}&error=access_denied", kept)) == (400, "link_denied")
    late = came_back(alice.key)
    world.clock.seconds += PATIENCE
    query = world.link_of(alice)
    assert said(world.opened(f"{query}&{late.partition('&')[2]}", kept)) == (400, "link_browser_mismatch")


def test_a_caller_with_a_token_of_another_kind_shows_that() -> None:
    world = World(provider=True)
    assert "password" in world.opened(world.link_of()).body.decode()
    assert world.sent == []


def test_on_loopback_the_cookies_need_no_tls() -> None:
    world = World(gateway="http://localhost:8080")
    shown = world.opened(world.link_of())
    assert cookie(shown).startswith("airlock-connect=")
    assert "Secure" not in dict(shown.headers)["set-cookie"]


def test_the_document_is_served() -> None:
    answer = run(World().api.document(asked()))
    assert (answer.status, answer.body) == (200, b'{"client_id":"x"}')


def test_a_link_stays_an_address_of_the_gateway() -> None:
    parts = urlsplit(World().tickets.url(principal(), "tickets"))
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "gate.example", CONNECT)
    assert set(parse_qs(parts.query)) == {"ticket"}
