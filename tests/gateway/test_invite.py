"""What a caller gets who has to log in at a server first, and the links for it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from airlock.core.errors import LinkRefused, LoginNeeded, Refused, Rejected
from airlock.gateway.invite import KEY, MOST, Invite
from airlock.gateway.resolve import LOGIN_NEEDED, resolve
from airlock.gateway.tickets import CONNECT, LIFETIME, Tickets
from airlock.mcp import refusals
from airlock.model.call import Client, Redacted, Round
from airlock.model.upstream import UpstreamAnswer
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN,
    PUBLIC,
    HandClock,
    allowed,
    answered,
    authenticated,
    call_message,
    identified,
    principal,
    redact_response,
    redacted,
    registered,
    routed,
    sealer,
    snapshot,
)

URL: dict[str, Any] = {"elicitation": {"url": {}}}
ASKED: dict[str, Any] = {KEY: {"action": "accept"}}


def tickets(clock: HandClock | None = None) -> Tickets:
    return Tickets(sealer=sealer(), public_url=f"{PUBLIC}/", clock=clock or HandClock())


def client(*, modern: bool = True, **capabilities: Any) -> Client:
    return Client(version=MODERN if modern else "2025-11-25", modern=modern, capabilities=capabilities)


def call(of: Client, said: Round | None = None, **params: Any) -> Redacted:
    made = redacted(allowed(routed(identified(client=of))))
    admitted = msgspec.structs.replace(made.allowed.admitted, round=said)
    request = msgspec.structs.replace(made.request, params={**made.request.params, **params})
    return msgspec.structs.replace(
        made, allowed=msgspec.structs.replace(made.allowed, admitted=admitted), request=request
    )


class Server:
    """Wants a login, or answers."""

    def __init__(self, *, needed: bool = True, scopes: tuple[str, ...] = ()) -> None:
        self.needed = needed
        self.scopes = scopes
        self.got: list[dict[str, Any]] = []

    async def __call__(self, call: Redacted, notify: object) -> UpstreamAnswer:
        self.got.append(call.request.params)
        if self.needed:
            raise LoginNeeded("docs", scopes=self.scopes, detail="no entry")
        return answered({"content": []})


def asked(call: Redacted, server: Server) -> UpstreamAnswer:
    forwarded = Invite(tickets()).forwarding(server)

    async def sent() -> UpstreamAnswer:
        return await forwarded(call, lambda method, params: None)

    return asyncio.run(sent())


def link(url: str) -> str:
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{PUBLIC}{CONNECT}"
    return parse_qs(parts.query)["ticket"][0]


def test_a_modern_client_is_asked_to_open_a_link() -> None:
    of = call(client(**URL))
    reply = redact_response()(of, asked(of, Server()))
    told = json.loads(reply.body)["result"]
    assert told["resultType"] == "input_required"
    assert told["requestState"]
    question = told["inputRequests"][KEY]
    assert question["method"] == "elicitation/create"
    assert question["params"]["mode"] == "url"
    ticket = tickets().read(link(question["params"]["url"]))
    assert (ticket.server, ticket.who.owner) == ("docs", principal().key)
    assert reply.asks


def test_the_state_of_the_server_goes_on() -> None:
    of = call(client(**URL), Round(number=1, responses={}, inner="its own"))
    result = asked(of, Server()).result
    assert result is not None
    assert result["requestState"] == "its own"


def test_the_server_does_not_hear_of_a_question_that_it_did_not_ask() -> None:
    server = Server(needed=False)
    said = Round(number=1, responses=ASKED)
    asked(call(client(**URL), said, inputResponses=ASKED), server)
    both: dict[str, Any] = {**ASKED, "its": {"action": "accept"}}
    asked(call(client(**URL), Round(number=1, responses=both), inputResponses=both), server)
    asked(call(client(**URL), Round(number=1, responses=ASKED)), server)
    assert [params.get("inputResponses") for params in server.got] == [
        None, {"its": {"action": "accept"}}, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        Round(number=MOST, responses=ASKED),
        Round(number=1, responses={KEY: {"action": "decline"}}),
        Round(number=1, responses={KEY: 7}),
    ],
)
def test_whoever_says_no_or_never_logs_in_is_not_asked_again(said: Round) -> None:
    with pytest.raises(Refused) as refused:
        asked(call(client(**URL), said), Server())
    assert (refused.value.code, refused.value.reason) == (40305, "link_required")


def test_a_legacy_client_gets_the_error_of_its_specification() -> None:
    with pytest.raises(Rejected) as refused:
        asked(call(client(modern=False, **URL)), Server(scopes=("write",)))
    assert (refused.value.http, refused.value.code) == (200, -32042)
    assert refused.value.data is not None
    told: Any = refused.value.data["elicitations"]
    (elicitation,) = told
    assert set(elicitation) == {"mode", "elicitationId", "url", "message"}
    assert elicitation["mode"] == "url"
    assert "more permissions" in elicitation["message"]


@pytest.mark.parametrize("of", [client(), client(elicitation={}), LEGACY_CLIENT])
def test_everybody_else_reads_the_link(of: Client) -> None:
    with pytest.raises(Refused) as refused:
        asked(call(of), Server())
    assert not isinstance(refused.value, Rejected)
    assert f"{PUBLIC}{CONNECT}?ticket=" in refused.value.text
    told = refusals.refusal(refused.value, decision_id="d", now=0.0)
    assert refusals.form(refused.value, "tools/call") == "tool_error"
    data = refusals.refusal_data(told)
    assert (data["reason"], data["effect"], data["retryable"]) == ("link_required", "none", False)
    assert "link" in data["advice"]


def test_an_answer_passes() -> None:
    assert asked(call(client(**URL)), Server(needed=False)).result == {"content": []}


def test_of_a_server_at_which_nobody_logged_in_the_caller_gets_a_link() -> None:
    server = msgspec.structs.replace(registered(), catalog=None, state="down", reason=LOGIN_NEEDED)
    caller = authenticated(at=snapshot(server))
    resolving = Invite(tickets()).resolving(resolve)
    with pytest.raises(Refused) as refused:
        resolving(identified(caller=caller))
    assert refused.value.reason == "link_required"
    with pytest.raises(Rejected) as rejected:
        resolving(identified(caller=caller, client=client(modern=False, **URL)))
    assert rejected.value.code == -32042
    assert resolving(identified(params=call_message()["params"])).item.name == "echo"


def test_a_link_lasts_ten_minutes() -> None:
    clock = HandClock()
    text = link(tickets().url(principal(), "docs"))
    assert tickets(clock).read(text).auth == "local"
    clock.seconds += LIFETIME
    with pytest.raises(LinkRefused) as refused:
        tickets(clock).read(text)
    assert refused.value.reason == "link_ticket_expired"


@pytest.mark.parametrize(
    "text",
    ["", "x", "ü", sealer().seal("request-state", b"{}"), sealer().seal("connect ticket", b"{}")],
    ids=["empty", "short", "not ASCII", "another purpose", "no ticket"],
)
def test_what_is_no_link_of_ours(text: str) -> None:
    with pytest.raises(LinkRefused) as refused:
        tickets().read(text)
    assert refused.value.reason == "link_ticket_invalid"
