"""Sending, and cutting what is sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Refused, Stage, UpstreamFault
from airlock.gateway.forward import Forward
from airlock.gateway.live import Live, no_longer
from airlock.gateway.notices import NOTICE_MOST, NOTICES_MOST
from airlock.model.call import Redacted, Reply
from airlock.model.principal import Principal
from airlock.model.server import RegisteredServer, Registry
from airlock.model.snapshot import Current, Revocations, Snapshot
from airlock.model.upstream import Notify, UpstreamAnswer, UpstreamRequest
from tests.gateway.parts import (
    NOW,
    FakeUpstream,
    HandClock,
    allowed,
    answered,
    authenticated,
    call_message,
    definition,
    identified,
    noting,
    redact_response,
    redacted,
    registered,
    routed,
    snapshot,
)

AT = snapshot()
Respond = Callable[[UpstreamRequest, Notify | None], UpstreamAnswer]


def call(at: Snapshot = AT, **params: Any) -> Redacted:
    of = identified(params=call_message(**params)["params"], caller=authenticated(at=at))
    return redacted(allowed(routed(of)))


def revoked(**what: Any) -> Snapshot:
    return msgspec.structs.replace(AT, revocations=Revocations(**what))


class Way:
    """The forward stage with what stands around it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.live = Live()
        self.current = Current(AT)
        self.upstream = FakeUpstream([])
        self.upstreams: dict[str, Any] = {"docs": self.upstream}
        self.stale: list[str] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.forward = Forward(
            current=self.current,
            upstreams=self.upstreams,
            live=self.live,
            clock=self.clock,
            stale=noting(self.stale),
            notices=redact_response().notices,
            unsure=lambda _: None,
        )

    async def send(self, of: Redacted) -> UpstreamAnswer:
        return await self.forward(of, lambda method, params: self.told.append((method, params)))

    def hang(self) -> asyncio.Event:
        """The server never answers; the event says that it was asked."""
        asked = asyncio.Event()

        async def never(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
            asked.set()
            await asyncio.Event().wait()
            return answered({})

        self.upstream.respond = never
        return asked


def error_of(code: int) -> Respond:
    def respond(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
        return answered(error={"code": code, "message": "no"})

    return respond


def test_what_was_redacted_is_sent() -> None:
    way, of = Way(), call()
    asyncio.run(way.send(of))
    assert way.upstream.requests == [of.request]
    assert len(way.live) == 0


def test_a_server_that_was_removed_meanwhile_is_unavailable() -> None:
    way = Way()
    way.upstreams.clear()
    with pytest.raises(UpstreamFault) as fault:
        asyncio.run(way.send(call()))
    assert (fault.value.code, fault.value.effect) == (50301, Effect.NONE)


def test_the_whole_call_has_a_deadline() -> None:
    way = Way()
    way.hang()
    of = call()
    way.clock.seconds = of.request.deadline - 0.01
    with pytest.raises(UpstreamFault) as fault:
        asyncio.run(way.send(of))
    assert (fault.value.code, fault.value.effect) == (50401, Effect.POSSIBLE)


def test_a_server_that_calls_our_headers_wrong_is_read_again() -> None:
    way = Way()
    way.upstream.respond = error_of(-32020)
    answer = asyncio.run(way.send(call()))
    assert way.stale == ["docs"]
    assert len(way.upstream.requests) == 2, "the server did not run it: it is asked once more"
    assert answer.error is not None


@pytest.mark.parametrize(
    "now",
    [
        registered("docs", definition(description="Another.")),
        registered("docs", definition("other")),
        msgspec.structs.replace(registered(), catalog=None),
    ],
)
def test_a_call_of_another_definition_is_not_sent_again(now: RegisteredServer) -> None:
    way = Way()
    way.upstream.respond = error_of(-32020)
    way.current.swap(registry=Registry(servers={"docs": now}))
    asyncio.run(way.send(call()))
    assert len(way.upstream.requests) == 1


@pytest.mark.parametrize("code", [-32602, 7])
def test_other_errors_say_nothing_of_definitions(code: int) -> None:
    way = Way()
    way.upstream.respond = error_of(code)
    asyncio.run(way.send(call()))
    assert way.stale == []


def test_progress_comes_back_under_the_clients_token_and_nothing_else_does() -> None:
    way = Way()

    def respond(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
        assert notify is not None
        ours = request.params["_meta"]["progressToken"]
        notify("notifications/progress", {"progressToken": ours, "progress": 1})
        notify("notifications/progress", {"progressToken": "of somebody else", "progress": 2})
        notify("notifications/message", {"progressToken": ours})
        return answered({})

    way.upstream.respond = respond
    asyncio.run(way.send(call(_meta={"progressToken": "mine"})))
    assert way.told == [("notifications/progress", {"progressToken": "mine", "progress": 1})]


def test_who_asks_for_no_progress_gets_none() -> None:
    way = Way()
    seen: list[Notify | None] = []

    def respond(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
        seen.append(notify)
        return answered({})

    way.upstream.respond = respond
    asyncio.run(way.send(call()))
    assert seen == [None]


PRINCIPAL = call().allowed.admitted.routed.identified.caller.principal
CHANGES = {
    "server removed": msgspec.structs.replace(AT, registry=Registry(servers={})),
    "server changed": snapshot(registered(tenant="other")),
    "token revoked": revoked(token_ids=frozenset([PRINCIPAL.token_id])),
    "subject revoked": revoked(subjects=frozenset([(PRINCIPAL.tenant, PRINCIPAL.issuer, PRINCIPAL.subject)])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_while_the_intent_was_written_keeps_the_call_back(change: str) -> None:
    way = Way()
    of = call()
    way.current.swap(**{name: getattr(CHANGES[change], name) for name in ("registry", "revocations")})
    with pytest.raises(Refused) as error:
        asyncio.run(way.send(of))
    assert (error.value.code, error.value.effect) == (40302, Effect.NONE)
    assert not way.upstream.requests


@pytest.mark.parametrize(
    "at", [AT, revoked(token_ids=frozenset(["another"])), snapshot(registered(), registered("more"))]
)
def test_what_concerns_others_does_not(at: Snapshot) -> None:
    assert no_longer(call(), at, NOW) is None


def test_a_running_call_is_cut_and_its_effect_is_possible() -> None:
    async def scenario() -> Refused:
        way = Way()
        asked = way.hang()
        work = asyncio.get_running_loop().create_task(way.send(call()))
        await asked.wait()
        assert way.live.cut(lambda of: no_longer(of, CHANGES["token revoked"], NOW)) == 1
        assert way.live.cut(lambda of: no_longer(of, CHANGES["token revoked"], NOW)) == 0
        with pytest.raises(Refused) as error:
            await work
        assert work.cancelling() == 0
        assert len(way.live) == 0
        return error.value

    refusal = asyncio.run(scenario())
    assert (refusal.code, refusal.effect) == (40302, Effect.POSSIBLE)


def test_a_call_that_is_cut_as_it_ends_is_cut() -> None:
    async def scenario() -> None:
        live, of = Live(), call()
        refusal = Refused(Stage.FORWARD, 40302, "contained", "No.")
        with pytest.raises(Refused) as error, live.running(of):
            live.cut(lambda _: refusal)
            with contextlib.suppress(asyncio.CancelledError):  # as a transport does that finished anyway
                await asyncio.sleep(0)
        assert error.value is refusal

    asyncio.run(scenario())


def test_calls_that_are_not_meant_go_on() -> None:
    async def scenario() -> None:
        live = Live()
        with live.running(call()):
            assert len(live) == 1
            assert live.cut(lambda _: None) == 0
            await asyncio.sleep(0)

    asyncio.run(scenario())


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def scenario() -> None:
        way = Way()
        asked = way.hang()
        work = asyncio.get_running_loop().create_task(way.send(call()))
        await asked.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(scenario())


def test_a_call_runs_in_a_task() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[str] = loop.create_future()

        def outside() -> None:
            try:
                with Live().running(call()):
                    outcome.set_result("entered")
            except RuntimeError as error:
                outcome.set_result(str(error))

        loop.call_soon(outside)
        assert await outcome == "a call runs in a task"

    asyncio.run(scenario())


def progress_of(*messages: str) -> list[str]:
    """What of these messages of a server reaches the client."""
    way = Way()

    def respond(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
        assert notify is not None
        for message in messages:
            params = {"progressToken": request.params["_meta"]["progressToken"], "message": message}
            notify("notifications/progress", params)
        return answered({})

    way.upstream.respond = respond
    asyncio.run(way.send(call(_meta={"progressToken": "mine"})))
    return [params["message"] for _, params in way.told]


def test_a_notification_that_is_too_large_is_dropped() -> None:
    assert progress_of("a", "x" * NOTICE_MOST, "b") == ["a", "b"]


def test_the_notifications_of_a_call_have_a_bound() -> None:
    half = "x" * (NOTICE_MOST // 2)
    shown = progress_of(*[half] * (2 * NOTICES_MOST // len(half)))
    assert 0 < len(shown) * len(half) < NOTICES_MOST


def test_what_contains_a_call_while_its_answer_is_looked_through_keeps_the_reply_back() -> None:
    way, of = Way(), call()

    def look(_: Redacted, answer: UpstreamAnswer) -> Reply:
        way.current.swap(revocations=Revocations(token_ids=frozenset({of_principal(of).token_id})))
        return Reply(body=b"{}")

    with pytest.raises(Refused) as refused:
        way.forward.guarding(look)(of, answered({}))
    assert refused.value.reason == "contained_in_flight"


def test_a_reply_of_a_call_that_nothing_contains_leaves() -> None:
    reply = Reply(body=b"{}")
    assert Way().forward.guarding(lambda _call, _answer: reply)(call(), answered({})) is reply


def of_principal(of: Redacted) -> Principal:
    return of.allowed.admitted.routed.identified.caller.principal
