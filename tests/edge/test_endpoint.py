"""From an HTTP request to the message that is governed: what the transport demands of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Fault, Refused, Rejected
from airlock.edge.endpoint import BODY_TIME, Endpoint
from airlock.edge.problems import Problems
from airlock.gateway.kept import Streams
from airlock.gateway.listening import Opened
from airlock.model.call import Inbound, Reached, Redacted, Reply
from airlock.model.upstream import Notify
from tests.edge.parts import Peer, now, travel
from tests.gateway.parts import PUBLIC, HandClock, Lines

MOST = 100
JSON = ("content-type", "application/json")
MODERN = ("mcp-protocol-version", "2026-07-28")


def reveal(reached: Reached, failure: Refused | Fault) -> None:
    """Nothing is hidden."""


class Desk:
    """An endpoint in front of nothing: what came through, and what it is answered."""

    def __init__(self, *, seconds: float = 0, closed: str = "") -> None:
        self.introduced: list[Inbound] = []
        self.governed: list[Inbound] = []
        self.ended: list[Inbound] = []
        self.cancelled: list[float] = []
        self._seconds = seconds
        self.lines = Lines()
        clock = HandClock()
        problems = Problems(public_url=PUBLIC, conceal=reveal, clock=clock, log=self.lines)
        self.endpoint = Endpoint(
            govern=self._govern,
            end_session=self._end,
            explain=problems.explain,
            why_closed=lambda: closed,
            introduce=self._introduce,
            known=lambda inbound: inbound.headers.get("authorization") != "Bearer stranger",
            listening=self._listen,
            streams=Streams(slot=0, clock=clock, undelivered=self._undelivered),
            clock=clock,
            max_body=MOST,
        )

    async def _listen(self, inbound: Inbound) -> Opened:
        raise Rejected(405, -32600, "method_not_allowed", inbound.route)

    async def _undelivered(self, call: Redacted) -> None:
        raise AssertionError(call)

    async def _introduce(self, inbound: Inbound) -> None:
        self.introduced.append(inbound)

    async def _govern(self, inbound: Inbound, notify: Notify) -> Reply:
        self.governed.append(inbound)
        notify("notifications/progress", {})
        try:
            await asyncio.sleep(self._seconds)
        except asyncio.CancelledError:
            self.cancelled.append(now())
            raise
        return Reply(body=b'{"id":1}')

    async def _end(self, inbound: Inbound) -> Reply:
        self.ended.append(inbound)
        return Reply(body=b"", status=204)


def post(desk: Desk, *fields: tuple[str, str], body: bytes | None = b"{}", **request: Any) -> Peer:
    return travel(posted(desk, Peer(body, headers=fields, **request)))


async def posted(desk: Desk, peer: Peer) -> Peer:
    await desk.endpoint.post(peer, ())
    return peer


def test_a_request_becomes_an_inbound_message() -> None:
    desk = Desk()
    post(desk, JSON, ("x-a", "b"), path="/mcp/docs", body=b'{"a":1}')
    (inbound,) = desk.governed
    assert (inbound.route, inbound.server, inbound.body) == ("/mcp/docs", "docs", b'{"a":1}')
    assert (inbound.source_ip, inbound.source_port, inbound.received) == ("192.0.2.7", 4711, 1000.0)
    assert inbound.headers.get("x-a") == "b"


def test_the_gateway_itself_is_no_server() -> None:
    desk = Desk()
    post(desk, JSON)
    assert (desk.governed[0].route, desk.governed[0].server) == ("/mcp", "")


def test_every_request_has_an_id_of_its_own() -> None:
    desk = Desk()
    post(desk, JSON)
    post(desk, JSON)
    assert len({inbound.request_id for inbound in desk.governed}) == 2


def test_a_peer_without_an_address_is_served() -> None:
    desk = Desk()
    post(desk, JSON, client=None)
    assert (desk.governed[0].source_ip, desk.governed[0].source_port) == ("", 0)


REFUSED: Mapping[str, tuple[tuple[tuple[str, str], ...], dict[str, Any], int]] = {
    "no content type": ((), {}, 415),
    "form": ((("content-type", "application/x-www-form-urlencoded"),), {}, 415),
    "text": ((("content-type", "text/plain"),), {}, 415),
    "latin": ((("content-type", "application/json; charset=latin-1"),), {}, 415),
    "packed": ((JSON, ("content-encoding", "gzip")), {}, 415),
    "html only": ((JSON, ("accept", "text/html")), {}, 406),
    "no json at all": ((JSON, ("accept", "application/json;q=0")), {}, 406),
    "token in the query": ((JSON,), {"query": b"a=1&access_token=x"}, 400),
    "an escaped token in the query": ((JSON,), {"query": b"access%5Ftoken=x"}, 400),
    "an empty token in the query": ((JSON,), {"query": b"access_token"}, 400),
    "doubled header": ((JSON, ("mcp-name", "a"), ("mcp-name", "a")), {}, 400),
    "doubled credential": ((JSON, ("authorization", "Bearer a"), ("authorization", "Bearer b")), {}, 400),
    "two lengths": ((JSON, ("content-length", "2"), ("content-length", "3")), {}, 400),
    "ambiguous length": ((JSON, ("content-length", "2"), ("transfer-encoding", "chunked")), {}, 400),
    "long value": ((JSON, ("x-a", "a" * 8193)), {}, 431),
    "long headers": ((JSON, *((f"x-{n}", "a" * 4000) for n in range(9))), {}, 431),
    "announced too large": ((JSON, ("content-length", str(MOST + 1))), {}, 413),
    "too large": ((JSON,), {"body": b"x" * (MOST + 1)}, 413),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_transport_does_not_allow_is_refused(case: str) -> None:
    fields, request, status = REFUSED[case]
    peer = post(Desk(), *fields, **request)
    assert (peer.status, peer.json["error"]["code"]) == (status, -32600)


@pytest.mark.parametrize("case", REFUSED)
def test_what_transport_does_not_allow_is_not_governed(case: str) -> None:
    fields, request, _ = REFUSED[case]
    desk = Desk()
    post(desk, *fields, **request)
    assert desk.governed == []


@pytest.mark.parametrize("kind", ["application/json", 'Application/JSON; Charset="utf-8"'])
def test_json_in_utf_8_is_taken(kind: str) -> None:
    assert post(Desk(), ("content-type", kind)).status == 200


def test_the_announced_length_of_a_body_that_fits_is_fine() -> None:
    assert post(Desk(), JSON, ("content-length", str(MOST)), body=b"x" * MOST).status == 200


@pytest.mark.parametrize(
    ("token", "size", "read"),
    [
        ("stranger", 100_000, b""),
        ("friend", 100_000, b"{}"),
        ("stranger", 50_000, b"{}"),
        ("stranger", None, b""),
    ],
)
def test_a_stranger_makes_nobody_hold_a_large_body(token: str, size: int | None, read: bytes) -> None:
    desk = Desk()
    desk.endpoint = msgspec.structs.replace(desk.endpoint, max_body=1024 * 1024)
    length = () if size is None else (("content-length", str(size)),)
    post(desk, JSON, ("authorization", f"Bearer {token}"), *length)
    assert desk.governed[0].body == read


@pytest.mark.parametrize("size", ["-1", "1e3", "9" * 30, "x"])
def test_an_announced_length_that_is_no_number_counts_as_none(size: str) -> None:
    assert post(Desk(), JSON, ("content-length", size)).status == 200


def test_a_token_in_the_query_is_not_repeated() -> None:
    desk = Desk()
    peer = post(desk, JSON, query=b"access_token=very-secret")
    assert b"very-secret" not in peer.body + repr(desk.lines.lines).encode()


def test_a_body_in_pieces_is_put_together() -> None:
    desk, peer = Desk(), Peer(None, headers=(JSON,))
    for piece in (b"one ", b"two "):
        peer.upload(piece, more=True)
    peer.upload(b"three")
    travel(posted(desk, peer))
    assert desk.governed[0].body == b"one two three"


def test_a_body_that_grows_too_large_is_refused_at_once() -> None:
    peer = Peer(None, headers=(JSON,))
    for _ in range(3):
        peer.upload(b"x" * 60, more=True)
    assert travel(posted(Desk(), peer)).status == 413


def test_a_body_that_does_not_arrive_is_given_up_in_time() -> None:
    peer = post(Desk(), JSON, body=None)
    assert (peer.status, peer.begun, peer.headers["connection"]) == (408, BODY_TIME, "close")


def test_a_body_that_trickles_is_given_up_in_time() -> None:
    async def scenario() -> Peer:
        peer = Peer(None, headers=(JSON,))
        for second in range(100):
            asyncio.get_running_loop().call_later(second, lambda: peer.upload(b"x", more=True))
        return await posted(Desk(), peer)

    peer = travel(scenario())
    assert (peer.status, peer.begun) == (408, BODY_TIME)


@pytest.mark.parametrize("begun", [False, True])
def test_a_body_that_breaks_off_is_not_governed(begun: bool) -> None:
    desk, peer = Desk(), Peer(None, headers=(JSON,))
    if begun:
        peer.upload(b"{", more=True)
    peer.leave()
    travel(posted(desk, peer))
    assert ([line["reason"] for line in desk.lines.lines], desk.governed) == (["body_incomplete"], [])


ANY = "application/json, text/event-stream"
SESSION = ("mcp-session-id", "s")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ((MODERN,), "text/event-stream"),
        ((MODERN, ("accept", "*/*")), "text/event-stream"),
        ((MODERN, ("accept", ANY)), "text/event-stream"),
        ((MODERN, ("accept", "text/*")), "text/event-stream"),
        ((MODERN, ("accept", "application/json")), "application/json"),
        ((MODERN, ("accept", "application/*, text/event-stream;q=0")), "application/json"),
        ((SESSION, ("accept", "*/*")), "text/event-stream"),
        ((("accept", ANY),), "text/event-stream"),
        ((("accept", "text/event-stream"),), "text/event-stream"),
        ((("accept", "*/*"),), "application/json"),
        ((), "application/json"),
        ((("mcp-protocol-version", "2025-11-25"), ("accept", "*/*")), "application/json"),
    ],
)
def test_a_slow_call_is_answered_in_the_form_that_the_client_takes(
    fields: tuple[tuple[str, str], ...], kind: str
) -> None:
    assert post(Desk(seconds=1), JSON, *fields).headers["content-type"] == kind


@pytest.mark.parametrize(("version", "cancelled"), [(MODERN, [2.0]), (("x-a", "b"), [])])
def test_only_a_modern_client_cancels_by_leaving(version: tuple[str, str], cancelled: list[float]) -> None:
    async def scenario() -> list[float]:
        desk, peer = Desk(seconds=5), Peer(b"{}", headers=(JSON, version))
        asyncio.get_running_loop().call_later(2, peer.leave)
        await posted(desk, peer)
        return desk.cancelled

    assert travel(scenario()) == cancelled


def delete(desk: Desk, *fields: tuple[str, str]) -> Peer:
    peer = Peer(method="DELETE", headers=fields)
    travel(desk.endpoint.delete(peer, (("x-a", "b"),)))
    return peer


def test_a_session_is_ended_by_whoever_decides_that() -> None:
    desk = Desk()
    peer = delete(desk, ("mcp-session-id", "s"))
    assert (peer.status, peer.headers["x-a"]) == (204, "b")
    assert [inbound.headers.get("mcp-session-id") for inbound in desk.ended] == ["s"]


def test_the_end_of_two_sessions_at_once_is_refused() -> None:
    assert delete(Desk(), ("mcp-session-id", "s"), ("mcp-session-id", "t")).status == 400


@pytest.mark.parametrize("ask", [post, delete])
def test_a_gateway_that_is_not_ready_says_why_and_when_to_come_back(ask: Callable[..., Peer]) -> None:
    peer = ask(Desk(closed="policy: none"), JSON)
    assert (peer.status, peer.headers["retry-after"]) == (503, "5")
    assert "policy: none" in peer.json["error"]["message"]


def test_a_gateway_that_is_not_ready_governs_nothing() -> None:
    desk = Desk(closed="policy: none")
    post(desk, JSON)
    delete(desk)
    assert desk.governed + desk.ended == []


def test_a_refusal_carries_the_headers_of_every_answer() -> None:
    async def scenario() -> Peer:
        peer = Peer(b"{}")
        await Desk().endpoint.post(peer, (("vary", "origin"),))
        return peer

    assert travel(scenario()).headers["vary"] == "origin"
