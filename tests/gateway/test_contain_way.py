"""A lease that lands while a call is under way counts at every later point of the way."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Fault, Refused, Unauthenticated
from airlock.gateway.contain import Contain
from airlock.gateway.forward import Forward
from airlock.gateway.lifetime import CONTAINED_MS
from airlock.gateway.live import Live, no_longer
from airlock.gateway.read import Read
from airlock.gateway.serving import Serving
from airlock.gateway.sessions import Sessions
from airlock.model.call import Authenticated, Redacted
from airlock.model.containment import Leases, compiled
from airlock.model.lease import Lease
from airlock.model.snapshot import Current
from airlock.model.upstream import KEEP_MS, Notify, UpstreamAnswer, UpstreamRequest
from tests.gateway.parts import (
    LEGACY_CLIENT,
    NOW,
    FakeUpstream,
    HandClock,
    House,
    allowed,
    answered,
    authenticated,
    call_message,
    identified,
    lifetime,
    noting,
    redacted,
    registered,
    routed,
    sealer,
    snapshot,
)
from tests.gateway.test_contain import CALLERS, OTHERS, TOOLS, lease, under

SID = "session-of-this-call"
DIGEST = hashlib.sha256(SID.encode()).hexdigest()
AT = snapshot()


def for_good(held: Lease) -> Lease:
    return msgspec.structs.replace(held, expires_at=None)


LEASES: dict[str, tuple[Lease, str]] = {
    **{name: (held, scope["kind"]) for name, (held, scope) in (CALLERS | TOOLS).items()},
    "token": (for_good(lease("token.revoke", token="token-of-alice")), "principal"),
    "session": (for_good(lease("session.terminate", session=DIGEST)), "session"),
}


def part(*leases: Lease) -> Leases:
    return compiled(leases, epoch=4)


def call(**params: Any) -> Redacted:
    """A call of alice in a session, admitted under a snapshot without leases."""
    told = call_message(**params)["params"]
    client = msgspec.structs.replace(LEGACY_CLIENT, session=SID)
    return redacted(allowed(routed(identified(params=told, caller=authenticated(at=AT), client=client))))


@pytest.mark.parametrize("name", LEASES)
def test_a_call_that_was_admitted_before_the_lease_may_not_go_on(name: str) -> None:
    held, kind = LEASES[name]
    refusal = no_longer(call(), msgspec.structs.replace(AT, leases=part(held)), NOW)
    assert refusal is not None
    assert ((refusal.scope or {}).get("kind"), refusal.lease) == (kind, held.id)


def test_leases_about_others_end_nothing() -> None:
    assert no_longer(call(), msgspec.structs.replace(AT, leases=part(*OTHERS)), NOW) is None


def test_a_call_outside_a_session_is_not_touched_by_the_end_of_one() -> None:
    now = msgspec.structs.replace(AT, leases=part(LEASES["session"][0]))
    assert no_longer(redacted(allowed(routed(identified(caller=authenticated(at=AT))))), now, NOW) is None


def test_a_lease_that_is_over_ends_nothing() -> None:
    now = msgspec.structs.replace(AT, leases=part(CALLERS["principal"][0]))
    assert no_longer(call(), now, NOW + 60) is None


class Way:
    """The forward stage, and a store that changes when a test says so."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.live = Live()
        self.current = Current(AT)
        self.upstream = FakeUpstream([])
        self.told: list[str] = []
        self.serving = Serving()
        self.contain = Contain(clock=self.clock, serving=self.serving)
        self.forward = Forward(
            current=self.current,
            upstreams={"docs": self.upstream},
            live=self.live,
            clock=self.clock,
            stale=noting([]),
            notices=lambda _: lambda params: params,
            unsure=self.contain.unsure,
        )

    def under(self, held: Lease) -> None:
        self.current.swap(leases=part(held))

    async def send(self, of: Redacted) -> UpstreamAnswer:
        return await self.forward(of, lambda method, params: self.told.append(method))


@pytest.mark.parametrize("name", LEASES)
def test_what_was_contained_after_admission_is_not_sent(name: str) -> None:
    way = Way()
    way.under(LEASES[name][0])
    with pytest.raises(Refused) as refused:
        asyncio.run(way.send(call()))
    assert (refused.value.reason, refused.value.effect) == ("contained", Effect.NONE)
    assert not way.upstream.requests


@pytest.mark.parametrize("name", LEASES)
def test_what_was_contained_while_it_ran_is_not_delivered(name: str) -> None:
    way = Way()

    def respond(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
        way.under(LEASES[name][0])
        return answered({})

    way.upstream.respond = respond
    with pytest.raises(Refused) as refused:
        asyncio.run(way.send(call()))
    assert (refused.value.reason, refused.value.effect) == ("contained_in_flight", Effect.POSSIBLE)


@pytest.mark.parametrize("name", LEASES)
def test_a_running_call_is_cut_when_the_leases_change(name: str) -> None:
    async def scenario() -> Refused:
        way = Way()
        asked = asyncio.Event()

        async def never(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
            asked.set()
            await asyncio.Event().wait()
            return answered({})

        way.upstream.respond = never
        work = asyncio.get_running_loop().create_task(way.send(call()))
        await asked.wait()
        way.under(LEASES[name][0])
        assert way.live.review(way.current.get(), NOW) == 1
        with pytest.raises(Refused) as refused:
            await work
        return refused.value

    refusal = asyncio.run(scenario())
    assert (refusal.reason, refusal.effect) == ("contained_in_flight", Effect.POSSIBLE)


def test_a_message_of_a_stream_is_not_passed_on_once_its_call_is_contained() -> None:
    way = Way()

    def respond(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
        assert notify is not None
        progress = {"progressToken": request.params["_meta"]["progressToken"], "progress": 1}
        notify("notifications/progress", progress)
        way.under(TOOLS["tool"][0])
        notify("notifications/progress", progress)
        return answered({})

    way.upstream.respond = respond
    with pytest.raises(Refused):
        asyncio.run(way.send(call(_meta={"progressToken": "mine"})))
    assert way.told == ["notifications/progress"]


def sensitive(way: Way, sensitivity: Any) -> Redacted:
    """A call of such a tool, whose client wants progress."""
    told = call_message(_meta={"progressToken": "mine"})["params"]
    at = way.current.swap(registry=snapshot(registered(sensitivity=sensitivity)).registry)
    caller = authenticated(at=at)
    return redacted(allowed(routed(identified(params=told, caller=caller))))


def lapsing(way: Way) -> Callable[[UpstreamRequest, Notify | None], UpstreamAnswer]:
    """A server that answers, after some progress, once the worker's right to serve has lapsed."""

    def respond(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
        assert notify is not None
        way.serving.lapsed = True
        notify("notifications/progress", {"progressToken": request.params["_meta"]["progressToken"]})
        return answered({})

    return respond


def test_a_result_of_a_worker_whose_word_counts_no_more_is_not_delivered() -> None:
    way = Way()
    way.upstream.respond = lapsing(way)
    with pytest.raises(Fault) as fault:
        asyncio.run(way.send(sensitive(way, "medium")))
    assert (fault.value.reason, fault.value.effect) == ("control_unavailable", Effect.POSSIBLE)
    assert way.told == []


def test_a_tool_that_is_not_sensitive_is_still_answered() -> None:
    way = Way()
    way.upstream.respond = lapsing(way)
    asyncio.run(way.send(sensitive(way, "low")))
    assert way.told == ["notifications/progress"]


def test_a_change_that_is_about_others_stops_nothing() -> None:
    way = Way()
    way.under(OTHERS[0])
    asyncio.run(way.send(call()))
    assert len(way.upstream.requests) == 1


@pytest.mark.parametrize(
    ("held", "ttl"),
    [
        ((), KEEP_MS),
        ((CALLERS["principal"][0],), KEEP_MS),
        ((TOOLS["tool"][0],), CONTAINED_MS),
        ((TOOLS["server"][0],), CONTAINED_MS),
    ],
)
def test_a_list_is_kept_for_less_long_while_something_is_held_back(held: tuple[Lease, ...], ttl: int) -> None:
    assert lifetime().of_list(identified(caller=caller(*held))) == ttl


def caller(*leases: Lease) -> Authenticated:
    return authenticated(at=under(*leases))


def contained_sessions() -> Sessions:
    return Sessions(sealer(), Contain(clock=HandClock(), serving=Serving()).who)


def test_a_terminated_session_is_unknown_and_the_record_says_why() -> None:
    sessions = contained_sessions()
    text, sid = sessions.mint(caller(), "2025-11-25", NOW)
    over = for_good(lease("session.terminate", session=hashlib.sha256(sid.encode()).hexdigest()))
    with pytest.raises(Refused) as refused:
        sessions.open(text, caller(over), NOW)
    assert (refused.value.reason, refused.value.text[:15]) == ("session_terminated", "Unknown session")
    opened = sessions.open(text, caller(LEASES["session"][0]), NOW)
    assert opened.sid == sid
    assert sessions.still(opened, caller(LEASES["session"][0]), NOW)
    assert not sessions.still(opened, caller(over), NOW)


@pytest.mark.parametrize("kind", CALLERS)
def test_a_contained_caller_is_not_asked_to_begin_another_session(kind: str) -> None:
    """S-4: containment is answered before the session id is looked at."""
    with pytest.raises(Refused) as refused:
        contained_sessions().open("no session", caller(CALLERS[kind][0]), NOW)
    assert refused.value.code == 40302


def test_its_refusal_carries_the_id_of_the_request() -> None:
    read = Read(sessions=contained_sessions(), clock=HandClock(), one_shot=True)
    message = {"jsonrpc": "2.0", "id": "mine", "method": "ping"}
    headers = {"mcp-session-id": "no session", "mcp-protocol-version": "2025-11-25"}
    with pytest.raises(Refused) as refused:
        read(authenticated(message, at=under(CALLERS["tenant"][0]), headers=headers))
    assert (refused.value.code, refused.value.request_id) == (40302, "mine")


def test_a_revoked_token_is_no_token(tmp_path: Path) -> None:
    house = House(tmp_path)
    token = house.token()
    inbound = house.inbound(call_message(), token=token)
    token_id = house.authenticate(inbound).principal.token_id
    house.current.swap(leases=part(for_good(lease("token.revoke", token=token_id))))
    with pytest.raises(Unauthenticated) as refused:
        house.authenticate(inbound)
    assert (refused.value.http, refused.value.reason) == (401, "token_revoked")
    house.authenticate(house.inbound(call_message(), token=house.token("bob")))


def unheard(method: str, params: dict[str, Any]) -> None:
    """Nobody listens to notifications."""


@pytest.mark.parametrize("listed", [True, False])
def test_a_refusal_is_recorded_with_its_lease_and_answered_with_its_end(tmp_path: Path, listed: bool) -> None:
    house = House(tmp_path)
    held, _ = CALLERS["principal"]
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"} if listed else call_message()
    contain = Contain(clock=house.clock, serving=Serving())
    pipeline = msgspec.structs.replace(house.pipeline, permit=contain.caller)
    house.current.swap(leases=part(held))
    reply = asyncio.run(pipeline.govern(house.inbound(message), unheard))
    assert reply.status == 403
    told = json.loads(reply.body)["error"]["data"]
    assert (told["scope"], told["retry_after"], told["effect"]) == ({"kind": "principal"}, 60, "none")
    (event,) = house.log.deciding()
    assert (event.decision, event.reason, event.severity) == ("deny", "contained", "MEDIUM")
    assert (event.metadata["lease_id"], event.lease_epoch) == (held.id, 4)


def test_the_incident_is_in_the_answer(tmp_path: Path) -> None:
    house = House(tmp_path)
    held = lease("subject.suspend", incident="INC-7", subject="alice", tenant="acme")
    contain = Contain(clock=house.clock, serving=Serving())
    pipeline = msgspec.structs.replace(house.pipeline, permit=contain.caller)
    house.current.swap(leases=part(held))
    reply = asyncio.run(pipeline.govern(house.inbound(call_message()), unheard))
    assert json.loads(reply.body)["error"]["data"]["incident_id"] == "INC-7"
