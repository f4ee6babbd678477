"""Runs of playbooks: written down before each effect, carried on after a crash, never done twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from airlock.core.errors import Fault, Stage
from airlock.incident.playbooks import progress
from airlock.model.lease import Unfit
from airlock.model.playbook import Run
from airlock.store import bundles, incidents, leases, messages, runs
from airlock.store.database import Store
from tests.app.play_parts import INCIDENT, NOW, Engine, answer, begin, opened, playbook, record

SUSPEND = 'action {"id": "hold", "ttl": "30m"}\nsubject.suspend(subject="${subject}", tenant="acme")'
SNAPSHOT = 'action {"id": "keep"}\nevidence.snapshot(scope="gateway", window="1h")'
ESCALATE = 'action {"id": "call"}\nescalate(level="L2", reason="it goes on")'
NOTIFY = 'action {"id": "tell"}\nnotify.send(template="team")'
WEBHOOK = 'action {"id": "ask"}\nwebhook.call(target="hook", body={"replicas": 3})'
MANUAL = 'bash {"id": "look"}\nls'


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def engine(store: Store, tmp_path: Path) -> Engine:
    return Engine(store, tmp_path)


def effects(store: Store, engine: Engine) -> dict[str, int]:
    """How often each thing was really done."""
    told = [each.event for each in incidents.timeline(store, INCIDENT)]
    return {
        "hold": len(leases.listing(store, now=NOW, include_ended=True)),
        "keep": len(bundles.of(store, INCIDENT)),
        "call": sum(event.kind == "escalated" and event.actor.type == "playbook" for event in told),
        "tell": len(messages.listing(store, incident=INCIDENT)),
        "ask": len(engine.webhook.calls),
    }


def test_a_run_goes_through_by_itself_where_its_classes_allow(store: Store, engine: Engine) -> None:
    incident = record(store)
    text = playbook(SNAPSHOT, SUSPEND, ESCALATE, NOTIFY, pre=["hold"])
    run = begin(store, text, incident=incident, given={"subject": "bob"})
    stored = engine.carry(run.id)
    assert (stored.run.state, stored.run.current) == ("succeeded", "end")
    assert {entry.state for entry in stored.journal.values()} == {"succeeded"}
    (lease,) = leases.listing(store, now=NOW)
    assert (lease.action, lease.selector.subject, lease.incident) == ("subject.suspend", "bob", INCIDENT)
    assert (lease.origin, lease.expires_at) == ("playbook", NOW + 1800)
    assert stored.journal["hold"].lease == lease.id
    assert stored.journal["hold"].before != stored.journal["hold"].after
    assert engine.looks == 1
    assert effects(store, engine) == {"hold": 1, "keep": 1, "call": 1, "tell": 1, "ask": 0}


def test_every_step_is_in_the_log_before_and_after_its_effect(store: Store, engine: Engine) -> None:
    run = begin(store, playbook(SUSPEND, pre=["hold"]), given={"subject": "bob"})
    engine.carry(run.id)
    engine.carry(run.id)
    assert engine.steps("hold") == ["step_started", "step_succeeded"]
    started = next(event for event in engine.rows if event.reason == "step_started")
    assert started.metadata["key"] and started.metadata["dry_run_digest"] and started.metadata["before"]
    assert started.personal.arguments is not None and b"bob" in started.personal.arguments
    assert "bob" not in str(started.metadata)


def test_nothing_happens_while_the_log_does_not_take_the_row(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(store, playbook(SUSPEND, pre=["hold"]), given={"subject": "bob"})
    monkeypatch.setattr("airlock.app.running.SEALED", -1.0)
    engine.records = False
    assert engine.carry(run.id).journal["hold"].state == "started"
    assert leases.listing(store, now=NOW) == []


def test_evidence_is_kept_while_the_log_takes_no_row(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be proven may be just that; the row is in the log once that takes it."""
    run = begin(
        store, playbook(SNAPSHOT, SUSPEND, pre=["hold"]), incident=record(store), given={"subject": "bob"}
    )
    monkeypatch.setattr("airlock.app.running.EVIDENCE", -1.0)
    monkeypatch.setattr("airlock.app.running.SEALED", -1.0)
    engine.records = False
    stored = engine.carry(run.id)
    assert (stored.journal["keep"].state, stored.journal["hold"].state) == ("succeeded", "started")
    assert (effects(store, engine)["keep"], effects(store, engine)["hold"]) == (1, 0)
    assert engine.steps("keep") == []
    engine.records = True
    assert engine.carry(run.id).run.state == "succeeded"
    assert engine.steps("keep") == ["step_started", "step_succeeded"]


@pytest.mark.parametrize("die", ["before", "after"])
@pytest.mark.parametrize("fence", [SUSPEND, SNAPSHOT, ESCALATE, NOTIFY, WEBHOOK], ids=lambda text: text[8:20])
def test_a_crash_around_any_effect_does_it_once_and_goes_on(
    store: Store, engine: Engine, fence: str, die: str
) -> None:
    incident = record(store)
    step = fence.split('"')[3]
    run = begin(store, playbook(fence, pre=[step]), incident=incident, given={"subject": "bob"})
    if step == "ask":
        engine.carry(run.id)
        answer(store, run.id, step, "go")
    assert engine.carry(run.id, die=die).journal[step].state == "started"
    again = engine.carry(run.id)
    if step == "ask":
        assert again.journal[step].state == "unknown"
        assert effects(store, engine)[step] == (1 if die == "after" else 0)
        assert answer(store, run.id, step, "done").run.state == "succeeded"
        return
    assert again.journal[step].state == "succeeded"
    assert again.run.state == "succeeded"
    assert effects(store, engine)[step] == 1


def test_a_call_of_a_webhook_says_which_it_is(store: Store, engine: Engine) -> None:
    run = begin(store, playbook(WEBHOOK))
    assert engine.carry(run.id).run.state == "waiting"
    answer(store, run.id, "ask", "go")
    stored = engine.carry(run.id)
    assert stored.run.state == "succeeded"
    ((name, document, key),) = engine.webhook.calls
    assert name == "hook" and key == stored.journal["ask"].key
    assert isinstance(document, dict) and document["body"] == {"replicas": 3}


def test_a_webhook_that_says_no_fails_and_an_unknown_one_is_refused(store: Store, engine: Engine) -> None:
    engine.webhook.status = 500
    first = begin(store, playbook(WEBHOOK))
    other = begin(store, playbook(WEBHOOK.replace('"hook"', '"elsewhere"')))
    for run in (first, other):
        engine.carry(run.id)
        answer(store, run.id, "ask", "go")
        engine.carry(run.id)
        stored = engine.carry(run.id)
        assert (stored.run.state, stored.journal["ask"].state) == ("failed", "failed")
    assert [name for name, *_ in engine.webhook.calls] == ["hook"]


def test_what_takes_too_long_is_unknown_and_waits_for_a_person(store: Store, engine: Engine) -> None:
    engine.collects = False
    slow = SNAPSHOT.replace('{"id": "keep"}', '{"id": "keep", "timeout": "1s"}')
    run = begin(store, playbook(slow, MANUAL), incident=record(store))
    stored = engine.carry(run.id)
    assert (stored.run.state, stored.journal["keep"].state) == ("waiting", "unknown")
    assert "longer than 1 s" in stored.journal["keep"].detail
    engine.collects = True
    for _ in range(20):  # a busy machine may take longer once more
        if stored.journal["keep"].state == "unknown":
            answer(store, run.id, "keep", "retry", reason="the disk has room again")
            stored = engine.carry(run.id)
    assert stored.journal["keep"].state == "succeeded"
    assert stored.run.current == "look"


def test_a_lease_that_would_lock_everybody_out_fails(store: Store, engine: Engine) -> None:
    fence = 'action {"id": "hold"}\nip.block(cidr="${source_ip}")'
    run = begin(store, playbook(fence, pre=["hold"]), given={"source_ip": "127.0.0.1"})
    stored = engine.carry(run.id)
    assert stored.run.state == "failed"
    assert "loopback" in stored.journal["hold"].detail
    assert leases.listing(store, now=NOW) == []


def test_what_is_no_lease_at_all_is_refused_before_anybody_is_asked(store: Store, engine: Engine) -> None:
    fence = 'action {"id": "hold"}\nip.block(cidr="${source_ip}")'
    run = begin(store, playbook(fence), given={"source_ip": "not an address"})
    stored = engine.carry(run.id)
    assert (stored.run.state, stored.journal["hold"].state) == ("failed", "failed")
    assert stored.journal["hold"].people == 0


def test_the_same_step_for_the_same_incident_is_done_once_in_two_runs(store: Store, engine: Engine) -> None:
    incident = record(store)
    for _ in range(2):
        run = begin(store, playbook(SUSPEND, pre=["hold"]), incident=incident, given={"subject": "bob"})
        assert engine.carry(run.id).run.state == "succeeded"
    assert len(leases.listing(store, now=NOW)) == 1


def test_a_step_that_breaks_stops_its_run_alone(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(engine, "write", broken)
    run = begin(store, playbook(NOTIFY), incident=record(store))
    stored = engine.carry(run.id)
    assert (stored.run.state, stored.journal["tell"].state) == ("waiting", "unknown")
    assert stored.journal["tell"].detail == "it broke: ZeroDivisionError"


def test_a_step_about_an_incident_needs_one(store: Store, engine: Engine) -> None:
    for fence in (SNAPSHOT, ESCALATE, NOTIFY):
        run = begin(store, playbook(fence))
        stored = engine.carry(run.id)
        assert stored.run.state == "failed"
        assert "about an incident" in next(iter(stored.journal.values())).detail


def test_a_notice_for_outsiders_waits_for_those_who_approve_it(store: Store, engine: Engine) -> None:
    fence = 'action {"id": "tell"}\nnotify.send(template="customer")'
    run = begin(store, playbook(fence), incident=record(store))
    stored = engine.carry(run.id)
    assert "waits for communications_lead" in stored.journal["tell"].output
    (message,) = messages.listing(store, incident=INCIDENT)
    assert message.state == "waiting"


def test_without_a_log_to_replay_a_lease_needs_somebody(store: Store, engine: Engine) -> None:
    (engine.folder / "audit.db").unlink()
    run = begin(store, playbook(SUSPEND, pre=["hold"]), given={"subject": "bob"})
    waiting = engine.carry(run.id).journal["hold"]
    assert (waiting.state, waiting.needs, waiting.people) == ("waiting", "C", 1)


def test_a_pause_is_kept(store: Store, engine: Engine) -> None:
    fence = SUSPEND.replace('"ttl"', '"delay": "5m", "ttl"')
    run = begin(store, playbook(fence, pre=["hold"]), given={"subject": "bob"})
    stored = engine.carry(run.id)
    assert (stored.run.due_at, stored.journal) == (NOW + 300, {})
    assert engine.carry(run.id).journal == {}
    engine.clock.seconds += 300
    assert engine.carry(run.id).run.state == "succeeded"


def test_the_timeline_tells_the_run(store: Store, engine: Engine) -> None:
    run = begin(store, playbook(SUSPEND, pre=["hold"]), incident=record(store), given={"subject": "bob"})
    engine.carry(run.id)
    told = [each.event.summary for each in incidents.timeline(store, INCIDENT)]
    assert told == [
        "Playbook play begins, unattended",
        "Playbook play, hold (subject.suspend): done",
        "Playbook play is over: succeeded",
    ]


def test_the_loop_carries_every_run_on_and_outlives_a_store_that_fails(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(store, playbook(SUSPEND, pre=["hold"]), given={"subject": "bob"})
    broken = Fault(
        Stage.ADMIT, 50302, "control_unavailable", "The control data cannot be used.", detail="full"
    )
    real: dict[str, Callable[..., Any]] = {"active": runs.active, "get": runs.get}
    failing = {"active", "get"}

    def once(name: str) -> Callable[..., Any]:
        def asked(*given: object, **named: object) -> Any:
            if name in failing and asyncio_thread():
                failing.discard(name)
                raise broken
            return real[name](*given, **named)

        return asked

    for name in real:
        monkeypatch.setattr(runs, name, once(name))
    assert engine.live(run.id).run.state == "succeeded"
    assert failing == set()


def test_a_run_that_breaks_keeps_no_other_from_going_on(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = begin(store, playbook(SUSPEND, pre=["hold"]), given={"subject": "bob"})
    good = begin(store, playbook(SUSPEND, pre=["hold"]), given={"subject": "eve"})
    usual = progress.next_move

    def broken(run: Run, *rest: Any) -> Any:
        if run.id == bad.id:
            raise KeyError("an action that is not there any more")
        return usual(run, *rest)

    monkeypatch.setattr(progress, "next_move", broken)
    assert engine.live(good.id).run.state == "succeeded"
    found = runs.get(store, bad.id)
    assert found is not None
    assert found.run.state == "running"


def asyncio_thread() -> bool:
    """Whether it is the engine that asks, and not the test."""
    return threading.current_thread() is not threading.main_thread()


def test_a_person_who_says_nothing_leaves_nobody_knowing(store: Store, engine: Engine) -> None:
    run = begin(store, playbook(MANUAL))
    assert engine.carry(run.id).run.state == "waiting"
    engine.clock.seconds += 24 * 3600
    stored = engine.carry(run.id)
    assert (stored.run.state, stored.journal["look"].state) == ("waiting", "unknown")
    again = answer(store, run.id, "look", "retry", reason="asked once more")
    assert again.journal["look"].state == "waiting"
    with pytest.raises(Unfit) as caught:
        answer(store, run.id, "look", "retry", reason="and again")
    assert caught.value.reason == "decision_unfit"


def test_a_verification_that_is_not_green_fails_and_stands_on_the_timeline(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AIRLOCK_URL", "TEST_TOKEN", "ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    fence = 'action {"id": "check"}\nverify.run(suite="e2e")'
    run = begin(store, playbook(fence), incident=record(store))
    stored = engine.carry(run.id)
    assert (stored.run.state, stored.journal["check"].detail) == ("failed", "it ended with 2")
    (told,) = [
        each.event for each in incidents.timeline(store, INCIDENT) if each.event.kind == "verification_run"
    ]
    assert (told.details["check"], told.details["passed"]) == ("e2e", False)


def test_a_verification_that_takes_too_long_is_stopped(
    store: Store, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    slow.chmod(0o700)
    monkeypatch.setattr("airlock.app.performing_outside.sys.executable", str(slow))
    fence = 'action {"id": "check", "timeout": "3s"}\nverify.run(suite="e2e")'
    run = begin(store, playbook(fence))
    assert engine.carry(run.id).journal["check"].state == "unknown"
    begun = tmp_path / "pid"
    assert not begun.exists() or not Path(f"/proc/{begun.read_text().strip()}").exists()


def test_evidence_that_cannot_be_collected_fails(
    store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(store, playbook(SNAPSHOT), incident=record(store))
    monkeypatch.setattr(engine, "problem", "the disk is full")
    stored = engine.carry(run.id)
    assert (stored.run.state, stored.journal["keep"].detail) == ("failed", "the disk is full")


def test_a_restart_waits_for_evidence_that_somebody_skipped(store: Store, engine: Engine) -> None:
    keep = 'bash {"id": "keep"}\nairlock evidence collect --incident X'
    run = begin(store, playbook(keep, 'bash {"id": "again"}\nkubectl rollout restart deploy/x'))
    stored = answer(store, run.id, "keep", "skip", reason="no disk")
    assert (stored.run.state, stored.journal["again"].state) == ("failed", "failed")
    assert "evidence comes first" in stored.journal["again"].detail


def test_a_condition_that_does_not_hold_skips_its_step(store: Store, engine: Engine) -> None:
    first = SUSPEND.replace('"ttl"', '"when": "severity == \'P0\'", "ttl"')
    after = 'text {"id": "then", "when": "steps.hold == \'skipped\'"}\nlook'
    run = begin(store, playbook(first, after, pre=["hold"]), given={"subject": "bob"})
    stored = engine.carry(run.id)
    assert (stored.journal["hold"].state, stored.run.current) == ("skipped", "then")
    assert leases.listing(store, now=NOW) == []
