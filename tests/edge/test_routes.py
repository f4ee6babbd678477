"""The one table of routes: what exists, for which methods, and nothing beside it."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.core.errors import AuditFault, Fault, Refused, Rejected
from airlock.edge.clients import Clients
from airlock.edge.doors import Doors
from airlock.edge.heads import HeaderList
from airlock.edge.problems import Problems
from airlock.edge.routes import Application, Route, compile_table
from airlock.edge.visit import Visit
from airlock.model.call import Reached
from airlock.model.http import HttpRequest, HttpResponse, json_response
from tests.edge.parts import Peer, travel
from tests.gateway.parts import PUBLIC, HandClock, Lines

PAGE = ("origin", "http://localhost:3000")


def reveal(reached: Reached, failure: Refused | Fault) -> None:
    """Nothing is hidden."""


class Building:
    """An application with a handler of each kind, which keep what they were asked."""

    def __init__(self) -> None:
        self.asked: list[HttpRequest] = []
        self.raw: list[str] = []
        self.away: list[tuple[str, str]] = []
        self.shut: Refused | None = None
        """Raised for every address, if set."""
        self.log_is_full = False
        self.lines = Lines()
        problems = Problems(public_url=PUBLIC, conceal=reveal, clock=HandClock(), log=Lines())
        self.application = Application(
            routes=(
                Route(method="GET", path="/live", auth="none", handler=self._hear),
                Route(method="GET", path="/a/{name}/b/{other}", auth="none", handler=self._hear),
                Route(method="GET", path="/a.b", auth="none", handler=self._hear),
                Route(method="POST", path="/mcp", auth="bearer", raw=self._carry),
                Route(method="DELETE", path="/mcp", auth="bearer", raw=self._carry),
                Route(method="GET", path="/broken", auth="none", handler=self._break),
                Route(method="GET", path="/nobody", auth="none"),
            ),
            doors=Doors(host="127.0.0.1", public_url=PUBLIC, hosts=(), origins=()),
            clients=Clients(),
            admit=self._admit,
            turned_away=self._turned_away,
            explain=problems.explain,
            log=self.lines,
        )

    def _admit(self, source_ip: str) -> None:
        if self.shut is not None:
            raise self.shut

    async def _turned_away(self, source_ip: str, failure: Refused) -> None:
        if self.log_is_full:
            raise AuditFault("no room")
        self.away.append((source_ip, failure.reason))

    async def _hear(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        return json_response(200, {"ok": True}, (("x-own", "1"),))

    async def _carry(self, visit: Visit, extra: HeaderList) -> None:
        self.raw.append(visit.method)
        visit.answer(202, (), b"")

    async def _break(self, request: HttpRequest) -> HttpResponse:
        raise KeyError("eyJhbGciOiJFZERTQSJ9.e30.c2ln")


def ask(method: str, path: str, *fields: tuple[str, str], of: Building | None = None, **more: Any) -> Peer:
    async def scenario() -> Peer:
        peer = Peer(method=method, path=path, headers=fields, **more)
        await (of or Building()).application(peer)
        return peer

    return travel(scenario())


def test_a_handler_is_asked_and_its_response_sent() -> None:
    peer = ask("GET", "/live")
    assert (peer.status, peer.json) == (200, {"ok": True})
    expected = {"content-type": "application/json", "content-length": "11", "x-own": "1"}
    assert expected.items() <= peer.headers.items()


def test_a_handler_learns_what_was_asked_and_by_whom() -> None:
    building = Building()
    ask("GET", "/live", ("authorization", "Bearer x"), of=building)
    (request,) = building.asked
    assert (request.method, request.path, request.params) == ("GET", "/live", {})
    assert (request.authorization, request.source_ip) == ("Bearer x", "192.0.2.7")


def test_an_address_that_may_not_come_in_is_recorded_and_nobody_hears_of_it() -> None:
    building = Building()
    building.shut = Rejected(429, 42901, "rate_limited", "Too much.", headers=(("retry-after", "7"),))
    peer = ask("POST", "/mcp", of=building)
    assert (peer.status, peer.headers["retry-after"], peer.json["error"]["code"]) == (429, "7", 42901)
    assert building.away == [("192.0.2.7", "rate_limited")]
    assert building.raw == []
    assert ask("GET", "/nowhere", of=building).status == 429


def test_who_watches_over_the_gateway_is_always_answered() -> None:
    building = Building()
    building.shut = Rejected(429, 42901, "rate_limited", "Too much.")
    assert ask("GET", "/live", of=building).status == 200
    assert building.away == []


def test_a_refusal_that_cannot_be_recorded_is_a_fault() -> None:
    building = Building()
    building.shut = Rejected(429, 42901, "rate_limited", "Too much.")
    building.log_is_full = True
    peer = ask("POST", "/mcp", of=building)
    assert peer.json["error"]["code"] == 50303


def test_the_parts_of_a_path_have_names() -> None:
    building = Building()
    ask("GET", "/a/one/b/two.three", of=building)
    assert building.asked[0].params == {"name": "one", "other": "two.three"}


@pytest.mark.parametrize(
    "credentials", [(), (("authorization", "Bearer a"), ("authorization", "Bearer b"))], ids=["none", "two"]
)
def test_none_or_two_credentials_are_no_credential(credentials: tuple[tuple[str, str], ...]) -> None:
    building = Building()
    ask("GET", "/live", *credentials, of=building)
    assert building.asked[0].authorization is None


def test_a_peer_without_an_address_is_served() -> None:
    building = Building()
    ask("GET", "/live", client=None, of=building)
    assert building.asked[0].source_ip == ""


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_mcp_is_handed_on_as_it_is(method: str) -> None:
    building = Building()
    assert ask(method, "/mcp", of=building).status == 202
    assert building.raw == [method]


@pytest.mark.parametrize(
    "path", ["/", "/liv", "/live2", "/mcp2", "/mcp/a", "/LIVE", "/axb", "/a//b", "/a/x/b", "/a/x/y/b/z"]
)
def test_what_is_not_in_the_table_does_not_exist(path: str) -> None:
    assert ask("GET", path).status == (400 if "//" in path else 404)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post"])
def test_another_method_is_told_which_ones_there_are(method: str) -> None:
    peer = ask(method, "/mcp")
    assert (peer.status, peer.headers["allow"]) == (405, "DELETE, POST")


@pytest.mark.parametrize("path", ["/mcp/../live", "//live", "/%6cive", "http://localhost/live"])
def test_a_path_with_two_readings_reaches_no_route(path: str) -> None:
    assert ask("GET", path).status == 400


@pytest.mark.parametrize("path", ["/live", "/mcp", "/nothing"])
def test_a_foreign_host_is_refused_on_every_path(path: str) -> None:
    assert ask("GET", path, host="evil.test").status == 421


@pytest.mark.parametrize("path", ["/live", "/mcp", "/nothing"])
def test_a_foreign_origin_is_refused_on_every_path(path: str) -> None:
    assert ask("GET", path, ("origin", "http://localhost.evil.test")).status == 403


def test_a_foreign_page_gets_no_cors_headers() -> None:
    peer = ask("OPTIONS", "/mcp", ("origin", "http://evil.test"))
    assert not any(name.startswith("access-control") for name in peer.headers)


def test_a_page_of_this_machine_may_ask_first() -> None:
    peer = ask("OPTIONS", "/mcp", PAGE)
    assert (peer.status, peer.body, peer.headers["access-control-allow-origin"]) == (204, b"", PAGE[1])
    assert "authorization" in peer.headers["access-control-allow-headers"]


def test_a_page_is_told_that_there_is_nothing() -> None:
    assert ask("OPTIONS", "/nothing", PAGE).status == 404


def test_the_answer_to_a_page_may_be_read_by_it() -> None:
    assert ask("GET", "/live", PAGE).headers["access-control-allow-origin"] == PAGE[1]


def test_a_refusal_is_a_json_rpc_error() -> None:
    assert ask("GET", "/nothing").json["error"]["code"] == -32600


def test_a_route_without_a_handler_answers_nothing() -> None:
    assert ask("GET", "/nobody").status == 0


def test_a_defect_is_left_to_the_server() -> None:
    with pytest.raises(KeyError):
        ask("GET", "/broken")


def test_a_defect_is_one_line_with_its_place_and_not_its_text() -> None:
    building = Building()
    with pytest.raises(KeyError):
        ask("GET", "/broken", of=building)
    (line,) = building.lines.lines
    assert line["event"] == "request_failed"
    assert line["detail"].startswith("KeyError at test_routes.py:")
    assert "eyJ" not in repr(line)


def test_a_doubled_route_is_refused() -> None:
    route = Route(method="GET", path="/a", auth="none")
    with pytest.raises(ValueError, match="two routes for GET /a"):
        compile_table((route, route))


def test_a_table_keeps_the_order_of_its_paths() -> None:
    paths = ("/b", "/a/{x}", "/b")
    methods = ("GET", "GET", "POST")
    routes = tuple(
        Route(method=method, path=path, auth="none") for method, path in zip(methods, paths, strict=True)
    )
    assert [sorted(methods) for _, methods in compile_table(routes)] == [["GET", "POST"], ["GET"]]
