"""The way of a call: whatever happens on it, nothing is sent before it is allowed and recorded, nothing is
answered before it is recorded, and every call is recorded once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airlock.core.errors import (
    AuditFault,
    Effect,
    Fault,
    PolicyFault,
    Refused,
    Rejected,
    Stage,
    Unauthenticated,
    UpstreamFault,
)
from airlock.gateway.pipeline import Pipeline, Record
from airlock.model.call import Reached, Redacted, Reply
from airlock.model.decision import Decision
from airlock.model.entry import Event
from airlock.model.upstream import Notify, UpstreamAnswer
from tests.gateway.parts import House, call_message, no, registered

BEFORE = ("authenticate", "read", "resolve", "admit", "authorize", "redact_request", "intend")
AFTER = ("forward", "redact_response")


class Panic(BaseException):
    """What an engine in another language raises: no `Exception`."""


FAILURES: dict[str, Callable[[], BaseException]] = {
    "refused": lambda: Refused(Stage.AUTHORIZE, 40301, "policy_denied", "No."),
    "contained": lambda: Refused(Stage.ADMIT, 40302, "contained", "No.", scope={"kind": "principal"}),
    "rejected": lambda: Rejected(400, -32602, "invalid_params", "No."),
    "unauthenticated": lambda: Unauthenticated(401, "token_missing", "No."),
    "fault": lambda: Fault(Stage.REDACT, 50001, "obligation_failed", "No."),
    "upstream": lambda: UpstreamFault.protocol("garbage"),
    "unreached": lambda: UpstreamFault.unavailable("down", effect=Effect.NONE),
    "policy": lambda: PolicyFault("policy_error", "the engine failed"),
    "audit": lambda: AuditFault("no disk", effect=Effect.POSSIBLE),
    "value": lambda: ValueError("a secret value"),
    "lookup": lambda: KeyError("a secret key"),
    "late": TimeoutError,
    "recursion": RecursionError,
    "panic": lambda: Panic("the engine is gone"),
    "cancelled": asyncio.CancelledError,
}


class Failing(msgspec.Struct, frozen=True):
    """The record of a house whose `intend` fails after, or before, the real one."""

    real: Record
    error: Callable[[], BaseException]
    late: bool

    async def intend(self, call: Redacted) -> None:
        if self.late:
            await self.real.intend(call)
        raise self.error()

    async def seal(self, call: Redacted, reply: Reply) -> None:
        await self.real.seal(call, reply)

    async def refuse(self, reached: Reached, failure: Refused | Fault) -> None:
        await self.real.refuse(reached, failure)


def failing(pipeline: Pipeline, stage: str, error: Callable[[], BaseException], *, late: bool) -> Pipeline:
    """The pipeline with one stage that raises: at once, or after it has done its work."""
    if stage == "intend":
        return msgspec.structs.replace(pipeline, record=Failing(pipeline.record, error, late))
    if stage == "forward":
        real = pipeline.forward

        async def forward(call: Redacted, notify: Notify) -> UpstreamAnswer:
            if late:
                await real(call, notify)
            raise error()

        return msgspec.structs.replace(pipeline, forward=forward)
    work: Callable[..., Any] = getattr(pipeline, stage)

    def broken(*reached: Any) -> Any:
        if late:
            work(*reached)
        raise error()

    return msgspec.structs.replace(pipeline, **{stage: broken})


async def settled(house: House, work: asyncio.Task[Reply]) -> None:
    """Until the call has ended and everything that was handed to the log is durable."""
    await asyncio.wait([work])
    for _ in range(20):
        await asyncio.sleep(0)


def check_order(house: House) -> None:
    """What holds for every transcript of one call to a tool that needs an intent."""
    seen = house.transcript
    if "upstream" in seen:
        assert "durable intent" in seen[: seen.index("upstream")]
    if "answered" in seen:
        assert any(
            line.startswith(("durable single", "durable outcome")) for line in seen[: seen.index("answered")]
        )
    assert len(house.log.deciding()) <= 1
    assert len(house.log.intents()) <= 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("issuer")


slowly = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@slowly
@given(
    stage=st.sampled_from(BEFORE + AFTER),
    failure=st.sampled_from(sorted(FAILURES)),
    late=st.booleans(),
)
def test_whatever_a_stage_raises_nothing_is_sent_before_allowed_and_one_row_decides(
    folder: Path, stage: str, failure: str, late: bool
) -> None:
    async def scenario() -> None:
        house = House(folder)
        house.pipeline = failing(house.pipeline, stage, FAILURES[failure], late=late)
        work = asyncio.get_running_loop().create_task(house.govern(house.inbound(call_message())))
        await settled(house, work)
        check_order(house)
        if stage in BEFORE:
            assert not house.upstream.requests
        assert len(house.log.deciding()) == 1
        assert house.log.deciding()[0].decision in ("deny", "error")
        if failure == "cancelled":
            assert work.cancelled()
        else:
            assert "answered" in house.transcript
            assert b'"result":{"content":[{"type":"text","text":"done"}]' not in work.result().body

    asyncio.run(scenario())


@slowly
@given(turns=st.integers(min_value=1, max_value=25))
def test_a_call_that_is_cancelled_anywhere_leaves_one_deciding_row(folder: Path, turns: int) -> None:
    async def scenario() -> None:
        house = House(folder)
        work = asyncio.get_running_loop().create_task(house.govern(house.inbound(call_message())))
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        await settled(house, work)
        check_order(house)
        assert len(house.log.deciding()) == 1
        assert work.cancelled() is ("answered" not in house.transcript)

    asyncio.run(scenario())


@slowly
@given(
    stage=st.sampled_from(("none", *BEFORE, *AFTER)),
    phases=st.sets(st.sampled_from(("single", "intent", "outcome")), min_size=1),
)
def test_where_the_log_cannot_write_the_caller_hears_that_and_nothing_else(
    folder: Path, stage: str, phases: set[str]
) -> None:
    async def scenario() -> None:
        house = House(folder)
        house.log.broken = lambda event: event.phase in phases
        if stage != "none":
            house.pipeline = failing(house.pipeline, stage, FAILURES["refused"], late=False)
        work = asyncio.get_running_loop().create_task(house.govern(house.inbound(call_message())))
        await settled(house, work)
        assert len(house.log.deciding()) <= 1
        if "intent" in phases:
            assert not house.upstream.requests
        if not house.log.deciding():
            assert b"50303" in work.result().body

    asyncio.run(scenario())


@pytest.mark.parametrize("stage", ["intend", "outcome", "single"])
def test_nothing_goes_on_before_its_record_is_durable(tmp_path: Path, stage: str) -> None:
    async def scenario() -> None:
        house = House(tmp_path)
        house.log.held = asyncio.Event()
        if stage == "single":
            house.engine.answer = no
        if stage == "outcome":  # only the intent may pass
            held, house.log.held = house.log.held, None

            def respond(*_: object) -> UpstreamAnswer:
                house.log.held = held
                return UpstreamAnswer(result={"content": []}, size=1, era="2026-07-28")

            house.upstream.respond = respond
        work = asyncio.get_running_loop().create_task(house.govern(house.inbound(call_message())))
        for _ in range(50):
            await asyncio.sleep(0)
        assert house.transcript == (["durable intent", "upstream"] if stage == "outcome" else [])
        assert house.log.held is not None
        house.log.held.set()
        await work
        assert house.transcript[-2].startswith("durable")
        assert house.transcript[-1] == "answered"

    asyncio.run(scenario())


def test_the_transcript_of_an_allowed_call(tmp_path: Path) -> None:
    house = House(tmp_path)
    reply = asyncio.run(house.govern(house.inbound(call_message())))
    assert house.transcript == ["durable intent", "upstream", "durable outcome allow", "answered"]
    assert b'"text":"done"' in reply.body


def test_a_read_only_tool_of_low_sensitivity_needs_no_intent(tmp_path: Path) -> None:
    house = House(tmp_path, registered(sensitivity="low", read_only=True))
    asyncio.run(house.govern(house.inbound(call_message())))
    assert house.transcript == ["upstream", "durable outcome allow", "answered"]


def test_a_list_asks_no_upstream(tmp_path: Path) -> None:
    house = House(tmp_path)
    reply = asyncio.run(house.govern(house.inbound({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})))
    assert house.transcript == ["answered"]
    assert b"docs__echo" in reply.body


def test_a_defect_is_told_as_ours_and_its_message_stays_out_of_the_log(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.pipeline = failing(house.pipeline, "admit", FAILURES["lookup"], late=False)
    reply = asyncio.run(house.govern(house.inbound(call_message())))
    told = msgspec.json.decode(reply.body)
    assert told["error"]["code"] == -32603
    assert told["error"]["data"]["reason"] == "internal_error"
    assert house.log.deciding()[0].reason == "internal_error"
    assert house.lines.lines[-1]["detail"].startswith("KeyError at test_pipeline.py:")
    assert "a secret key" not in str(house.lines.lines) + str(house.log.events)


def test_a_failure_before_authentication_has_its_row_too(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.pipeline = failing(house.pipeline, "authenticate", FAILURES["value"], late=False)
    asyncio.run(house.govern(house.inbound(call_message())))
    assert [(event.action, event.decision, event.reason) for event in house.log.events] == [
        ("token_validate", "error", "internal_error")
    ]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_the_end_of_the_process_is_not_explained_away(tmp_path: Path, error: type[BaseException]) -> None:
    house = House(tmp_path)
    house.pipeline = failing(house.pipeline, "admit", error, late=False)
    with pytest.raises(error):
        house.govern(house.inbound(call_message())).send(None)


def test_a_cancelled_call_ends_as_cancelled_where_even_that_cannot_be_recorded(tmp_path: Path) -> None:
    async def scenario() -> None:
        house = House(tmp_path)
        house.pipeline = failing(house.pipeline, "forward", FAILURES["cancelled"], late=True)
        house.log.broken = lambda event: event.phase == "outcome"
        with pytest.raises(asyncio.CancelledError):
            await house.govern(house.inbound(call_message()))

    asyncio.run(scenario())


def test_a_cancellation_is_recorded_as_the_client_that_left(tmp_path: Path) -> None:
    async def scenario() -> Event:
        house = House(tmp_path)
        house.pipeline = failing(house.pipeline, "forward", FAILURES["cancelled"], late=True)
        with pytest.raises(asyncio.CancelledError):
            await house.govern(house.inbound(call_message()))
        return house.log.deciding()[0]

    row = asyncio.run(scenario())
    assert (row.phase, row.decision, row.reason) == ("outcome", "error", "client_disconnected")
    assert row.metadata["effect"] == "possible"


UNKNOWN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nothing": lambda _: None,
    "true": lambda _: True,
    "a truthy word": lambda _: Decision(allow="true", reason="x"),  # pyright: ignore[reportArgumentType] - on purpose
    "one": lambda _: Decision(allow=1, reason="x"),  # pyright: ignore[reportArgumentType] - on purpose
    "a dict": lambda _: {"allow": True},
    "a false": lambda _: Decision(allow=False, reason="no"),
}


def raising(error: BaseException) -> Callable[[dict[str, Any]], Any]:
    def answer(_: dict[str, Any]) -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        *(pytest.param(answer, id=name) for name, answer in UNKNOWN.items()),
        pytest.param(raising(PolicyFault("policy_error", "x")), id="fault"),
        pytest.param(raising(RuntimeError("x")), id="error"),
        pytest.param(raising(Panic("x")), id="panic"),
        pytest.param(raising(TimeoutError()), id="late"),
    ],
)
def test_unknown_means_no(tmp_path: Path, answer: Callable[[dict[str, Any]], Any]) -> None:
    house = House(tmp_path)
    house.engine.answer = answer
    reply = asyncio.run(house.govern(house.inbound(call_message())))
    assert not house.upstream.requests
    assert b'"effect":"none"' in reply.body or b"Unknown tool" in reply.body
    assert house.log.deciding()[0].decision in ("deny", "error")


def measured(house: House) -> list[tuple[str, bool, str]]:
    """How far each measured message came, whether there is a reply, and why it failed."""
    return [
        (type(reached).__name__, reply is not None, failure.reason if failure else "")
        for reached, reply, failure in house.measured
    ]


def test_an_answered_call_is_measured(tmp_path: Path) -> None:
    house = House(tmp_path)
    reply = asyncio.run(house.govern(house.inbound(call_message())))
    assert measured(house) == [("Redacted", True, "")]
    assert house.measured[0][1] is reply


def test_a_refused_call_is_measured_with_the_reason(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.engine.answer = no
    asyncio.run(house.govern(house.inbound(call_message())))
    assert measured(house) == [("Admitted", True, "policy_denied")]


def test_a_call_whose_client_went_away_is_measured_without_a_reply(tmp_path: Path) -> None:
    house = House(tmp_path)
    pipeline = failing(house.pipeline, "forward", asyncio.CancelledError, late=False)

    async def scenario() -> None:
        with pytest.raises(asyncio.CancelledError):
            await pipeline.govern(house.inbound(call_message()), lambda _method, _params: None)

    asyncio.run(scenario())
    assert measured(house) == [("Redacted", False, "")]
