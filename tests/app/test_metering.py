"""What is measured on the way of a call, and what a worker says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from airlock.api.policy import World
from airlock.app import metering
from airlock.app.metering import Metering
from airlock.audit.writer import Writer
from airlock.core import metrics
from airlock.core.errors import Fault, PolicyFault, Refused, Stage
from airlock.core.standing import Standing
from airlock.model.call import Admitted, Allowed, Inbound, Reached, Reply
from airlock.model.entry import Event, Receipt
from tests.gateway.parts import HandClock, allowed, authenticated, identified, inbound, redacted, routed

REPLY = Reply(body=b"{}")
REFUSED = Refused(Stage.AUTHORIZE, 40301, "policy_denied", "No.")
APPROVAL = Refused(Stage.AUTHORIZE, 40303, "approval_required", "Later.")


def value(sample: str) -> float:
    """The value of a sample in this process; 0 where there is none."""
    for line in metrics.exposition().decode().splitlines():
        if line.startswith(f"{sample} "):
            return float(line.rpartition(" ")[2])
    return 0.0


def grown(sample: str, work: Callable[[], object]) -> float:
    """By how much a sample grows."""
    before = value(sample)
    work()
    return value(sample) - before


def passing(clock: HandClock, seconds: float, *, error: Exception | None = None) -> Callable[[str], str]:
    """A stage that takes so long."""

    def stage(word: str) -> str:
        clock.seconds += seconds
        if error is not None:
            raise error
        return word

    return stage


def test_a_stage_is_measured_and_does_what_it_did() -> None:
    clock = HandClock()
    stage = metering.timed(metrics.REDACTION, clock, passing(clock, 0.25))
    said: list[str] = []
    assert grown("airlock_redaction_duration_seconds_sum", lambda: said.append(stage("same"))) == 0.25
    assert said == ["same"]


def test_a_stage_that_refuses_is_measured() -> None:
    clock = HandClock()
    stage = metering.timed(metrics.AUTH, clock, passing(clock, 0.5, error=REFUSED))

    def refused() -> None:
        with pytest.raises(Refused):
            stage("x")

    assert grown("airlock_auth_duration_seconds_sum", refused) == 0.5


@pytest.mark.parametrize("error", [None, REFUSED])
def test_a_wait_is_measured(error: Exception | None) -> None:
    clock = HandClock()
    stage = passing(clock, 2.0, error=error)

    async def waiting(word: str) -> str:
        return stage(word)

    measured = metering.timed_answers(metrics.UPSTREAM, clock, waiting)

    async def scenario() -> None:
        if error is None:
            assert await measured("same") == "same"
        else:
            with pytest.raises(Refused):
                await measured("same")

    assert grown('airlock_upstream_duration_seconds_bucket{le="1.0"}', lambda: asyncio.run(scenario())) == 0
    assert grown('airlock_upstream_duration_seconds_bucket{le="3.0"}', lambda: asyncio.run(scenario())) == 1


class SlowLog:
    """A log whose disk takes a while."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock

    def healthy(self) -> str:
        return "as ever"

    async def seal(self, event: Event) -> Receipt:
        self._clock.seconds += 0.125
        return cast("Receipt", event)


def test_the_wait_for_a_row_is_measured() -> None:
    clock = HandClock()
    log = metering.TimedLog(SlowLog(clock), clock)
    event = Event(event_type="system", action="config_change")
    said: list[object] = []
    work = lambda: said.append(asyncio.run(log.seal(event)))  # noqa: E731 - one line for one step
    assert grown("airlock_audit_duration_seconds_sum", work) == 0.125
    assert said == [event]
    assert log.healthy() == "as ever"


DECIDED: dict[str, Callable[[], Allowed]] = {
    "allow": lambda: allowed(reason="ok"),
    "would_deny": lambda: allowed(reason="observed"),
}
RAISED = {"deny": REFUSED, "require_approval": APPROVAL, "error": PolicyFault("policy_error", "broken")}


@pytest.mark.parametrize("word", DECIDED)
def test_a_call_that_passes_is_counted_by_what_policy_said(word: str) -> None:
    clock, said = HandClock(), DECIDED[word]()
    stage = metering.decided(lambda _: said, clock)
    sample = f'airlock_policy_decisions_total{{decision="{word}"}}'
    assert grown(sample, lambda: stage(Admitted(routed=routed()))) == 1


@pytest.mark.parametrize("word", RAISED)
def test_a_call_that_policy_stops_is_counted_by_what_it_said(word: str) -> None:
    def stage(_: Admitted) -> Allowed:
        raise RAISED[word]

    def work() -> None:
        with pytest.raises((Refused, Fault)):
            metering.decided(stage, HandClock())(Admitted(routed=routed()))

    assert grown(f'airlock_policy_decisions_total{{decision="{word}"}}', work) == 1


ENDS: list[tuple[str, Callable[[], Reached], str]] = [
    ("nothing was read", lambda: inbound({}), "none"),
    ("the token counted", authenticated, "none"),
    ("a list", lambda: identified("tools/list", {}), "tools/list"),
    ("the caller's own word", lambda: identified("tools/caII", {}), "unknown"),
    ("routed", routed, "tools/call"),
    ("sent", redacted, "tools/call"),
]


@pytest.mark.parametrize(("reached", "method"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_a_message_is_counted_by_its_method(reached: Callable[[], Reached], method: str) -> None:
    clock, at = HandClock(), reached()
    end = metering.measure(clock)
    sample = f'airlock_requests_total{{method="{method}",status="200"}}'
    assert grown(sample, lambda: end(at, REPLY, None)) == 1
    assert grown("airlock_request_duration_seconds_count", lambda: end(at, REPLY, None)) == 1


def test_how_long_somebody_listens_is_no_duration_of_an_answer() -> None:
    end, at = metering.measure(HandClock()), identified("subscriptions/listen", {})
    assert grown("airlock_request_duration_seconds_count", lambda: end(at, REPLY, None)) == 0


def test_a_client_that_went_away_is_counted_as_such() -> None:
    end = metering.measure(HandClock())
    sample = 'airlock_requests_total{method="tools/call",status="499"}'
    assert grown(sample, lambda: end(redacted(), None, None)) == 1


@pytest.mark.parametrize(("failure", "failed"), [(None, 0), (REFUSED, 0), (RAISED["error"], 1)])
def test_only_a_fault_is_a_failure(failure: Any, failed: int) -> None:
    end = metering.measure(HandClock())
    assert grown("airlock_requests_failed_total", lambda: end(routed(), REPLY, failure)) == failed


def test_what_is_refused_at_the_edge_is_counted() -> None:
    late = Reply(body=b"", status=408)
    explain = metering.refused(lambda _reached, _failure: late)
    sample = 'airlock_requests_total{method="none",status="408"}'
    assert grown(sample, lambda: explain(None, REFUSED)) == 1
    assert explain(None, REFUSED) is late


def test_the_end_of_a_session_is_counted() -> None:
    async def end(_: Inbound) -> Reply:
        return Reply(body=b"", status=204)

    work = lambda: asyncio.run(metering.counted(end)(inbound({})))  # type: ignore[arg-type]  # noqa: E731
    assert grown('airlock_requests_total{method="none",status="204"}', work) == 1


class Books:
    """What a writer says of itself."""

    def __init__(self) -> None:
        self.tally = self
        self.written = 5
        self.last_event: float | None = None
        self.queue_depth = 2
        self.free: int | None = None


def meter(books: Books, world: World, clock: HandClock) -> Metering:
    return Metering(writer=cast("Writer", books), world=world, active=lambda: "a", clock=clock)


def test_what_the_log_wrote_is_said_once() -> None:
    books, clock = Books(), HandClock()
    metered = meter(books, World(), clock)
    assert grown("airlock_audit_written_total", metered.look) == 5
    books.written, books.last_event, books.free = 7, clock.wall() - 3, 1000
    assert grown("airlock_audit_written_total", metered.look) == 2
    assert value("airlock_audit_queue_depth") == 2
    assert value("airlock_audit_last_event_age_seconds") == 3
    assert value("airlock_audit_storage_free_bytes") == 1000


def test_the_whole_is_every_worker_that_runs() -> None:
    world = World()
    metered = meter(Books(), world, HandClock())
    assert metered.look() == Standing(revisions=frozenset({"a"}), reloads={"accepted": 0, "refused": 0})
    world.replicas = [{"active_sha256": "a"}, None, {"active_sha256": "b"}]
    world.reloads = {"accepted": 2, "refused": 1}
    assert metered.look() == Standing(revisions=frozenset({"a", "b"}), reloads={"accepted": 2, "refused": 1})


def test_a_worker_says_what_it_counted_while_it_runs_and_when_it_ends() -> None:
    books = Books()

    async def scenario() -> None:
        task = asyncio.create_task(meter(books, World(), HandClock()).run())
        await asyncio.sleep(0)
        books.written = 9
        task.cancel()
        await asyncio.wait([task])

    assert grown("airlock_audit_written_total", lambda: asyncio.run(scenario())) == 9
    assert value("airlock_up") == 1
