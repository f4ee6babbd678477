"""Going back to a policy: what is asked for in full, who must agree, and what keeps it from being done."""

from __future__ import annotations

import base64
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.audit.past import Asked
from airlock.core import sealed
from airlock.incident import approval, proposals, rejudge, rollback
from airlock.incident.approval import Person
from airlock.model.incident import Actor
from airlock.model.lease import Selector, Unfit
from airlock.model.proposal import Order, Prediction
from airlock.policy import input as questions
from airlock.policy.facts import Facts
from airlock.policy.sample import SAMPLE
from airlock.store import leases
from airlock.store.database import Store
from tests.app.play_parts import opened
from tests.policy.revised import Files, text

NOW = 1_800_000_000.0
BY = Actor(type="human", id="i|ann")
ANN = Person(issuer="i", subject="ann", approver=True, auth_time=int(NOW))
BO = Person(issuer="i", subject="bo", approver=True, auth_time=int(NOW))


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def files(store: Store, tmp_path: Path) -> Files:
    return Files(tmp_path)


def asked(to: str = "previous") -> Order:
    return Order(action=rollback.ACTION, selector={"to": to}, reason="too much passes")


def seen(**more: Any) -> Prediction:
    found: dict[str, Any] = {
        "since": 0.0, "until": 1.0, "requests": 10, "flipped": 0, "sessions": 0, "users": 0, "tenants": (),
        "tools": (), "share": 0.0, "unknown": 0, "unknown_share": 0.0, "of_incident": 0, "sample": (),
    }  # fmt: skip
    return Prediction(**(found | more))


def test_an_order_names_both_revisions_in_full(store: Store, files: Files) -> None:
    good, bad = files.load(text("echo")).bundle.revision, files.load(text("fail")).bundle.revision
    for to in ("previous", good, good[:8]):
        fit = proposals.completed(store, files.data, asked(to))
        assert fit.selector == {"from": bad, "to": good}
    for to, reason in (
        (bad[:12], "revision_in_force"),
        ("f" * 64, "revision_unknown"),
        ("abc", "selector_invalid"),
        ("../../etc", "selector_invalid"),
    ):
        with pytest.raises(Unfit, check=lambda unfit, reason=reason: unfit.reason == reason):
            proposals.completed(store, files.data, asked(to))


def test_a_policy_that_was_only_refused_is_nothing_to_go_back_to(store: Store, files: Files) -> None:
    files.load(text("echo"))
    never = files.write(text("everything"))
    files.history.refused(never, "a test of it fails", by="mallory")
    files.load(text("fail"))
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "revision_unknown"):
        proposals.completed(store, files.data, asked(never.revision))


def test_a_shorter_time_asks_no_fewer_calls(
    store: Store, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasts: list[float] = []

    def predict(*_: object, since: float, until: float, incident: object) -> Prediction:
        lasts.append(until - since)
        return seen()

    monkeypatch.setattr(proposals.rejudge, "predict", predict)
    for minutes in (1, 600):
        proposals.predict(store, files.data / "audit.db", asked(), now=NOW, minutes=minutes)
    assert lasts == [3600.0, 36000.0]


def test_fewer_obligations_let_more_pass(store: Store, files: Files) -> None:
    sealed.load_or_create_keys(files.data)

    def loaded(duties: str) -> str:
        said = f'decision := {{"allow": true, "reason": "ok", "obligations": {duties}}}'
        return files.load(f"package airlock\n\nimport rego.v1\n\n{said}\n").bundle.revision

    strict = loaded('{"redact": ["email"], "max_result_bytes": 10, "audit": "intent"}')
    judges = rejudge.Judges(files.data)
    made = call(files, "echo", strict)
    for lax in (
        "{}",
        '{"redact": ["email"], "max_result_bytes": 11, "audit": "intent"}',
        '{"redact": ["phone"], "max_result_bytes": 10, "audit": "intent"}',
        '{"redact": ["email"], "max_result_bytes": 10}',
    ):
        other = loaded(lax)
        assert judges.flip(made, strict, other) == "opened", lax
    assert judges.flip(made, other, strict) == "same"


def test_without_a_policy_before_there_is_nothing_to_go_back_to(store: Store, files: Files) -> None:
    files.load(text("echo"))
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "revision_unknown"):
        proposals.completed(store, files.data, asked())


def test_an_order_has_no_duration(store: Store) -> None:
    for wrong in (asked(), msgspec.structs.replace(asked(), selector={"from": "a", "to": "b"}, ttl=60.0)):
        with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "selector_invalid"):
            approval.checked(wrong)


@pytest.mark.parametrize(
    ("prediction", "needs"),
    [
        (seen(flipped=3), "C"),
        (seen(flipped=3, opened=1), "D"),
        (seen(unknown=1, unknown_share=0.1), "D"),
        (seen(requests=0), "D"),
        (seen(truncated=True), "D"),
        (None, "D"),
    ],
)
def test_the_replay_says_how_many_must_agree(prediction: Prediction | None, needs: str) -> None:
    judged = approval.judge(asked(), prediction)
    assert judged.needs == needs and judged.why


def test_what_people_agreed_to_is_the_last_change(store: Store, files: Files) -> None:
    good, bad = files.load(text("echo")).bundle, files.load(text("fail")).bundle
    fit = proposals.completed(store, files.data, asked())
    made = proposals.propose(store, fit, by=BY, now=NOW)
    assert made.needs == "D"
    assert proposals.approve(store, made.id, made.digest, ANN, now=NOW).proposal.state == "PROPOSED"
    done = proposals.approve(store, made.id, made.digest, BO, now=NOW).proposal
    assert (done.state, done.lease) == ("ACTIVE", good.revision)
    last = files.changes(store)[-1]
    assert (last.kind, last.before, last.revision) == ("rollback", bad.revision, good.revision)
    assert (last.by, last.against) == ("i|ann and i|bo", None)


def test_an_approval_is_of_the_policy_that_decided_then(store: Store, files: Files) -> None:
    files.load(text("echo"))
    files.load(text("fail"))
    made = proposals.propose(
        store, proposals.completed(store, files.data, asked()), by=BY, now=NOW, prediction=seen()
    )
    files.load(text("add"))
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "approval_void"):
        proposals.approve(store, made.id, made.digest, ANN, now=NOW)
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == "approval_void"):
        proposals.propose(store, made.order, by=BY, now=NOW)


@pytest.mark.parametrize(
    ("action", "reason"), [("policy.freeze", "policy_frozen"), ("admin.freeze", "admin_frozen")]
)
def test_a_freeze_keeps_policy_as_it_is(store: Store, files: Files, action: Any, reason: str) -> None:
    files.load(text("echo"))
    files.load(text("fail"))
    fit = proposals.completed(store, files.data, asked())
    made = proposals.propose(store, fit, by=BY, now=NOW, prediction=seen())
    leases.activate(
        store,
        action=action,
        selector=Selector(),
        ttl=600.0,
        reason="hold",
        actor="i|ann",
        origin="api",
        now=NOW,
    )
    with pytest.raises(Unfit, check=lambda unfit: unfit.reason == reason):
        proposals.approve(store, made.id, made.digest, ANN, now=NOW)
    assert files.changes(store)[-1].kind == "reload"


def call(files: Files, tool: str, revision: str, *, cut: Any = None, kept: bool = True) -> Asked:
    """A recorded call of a tool: all of the question, or what `cut` leaves of it."""
    target = msgspec.structs.replace(SAMPLE.target, name=tool)
    question = questions.encode(msgspec.structs.replace(SAMPLE, target=target))
    sealer = sealed.load_keys(files.data)
    assert sealer is not None
    text = sealer.seal("inputs", cut(question) if cut else question)
    inputs = base64.b64encode(text.encode()).decode() if kept else ""
    return Asked(
        id=f"{tool}-{revision}-{cut is None}", timestamp="", request="", phase="single", tenant="acme",
        server="one", tool=tool, issuer="i", subject="bob", session="", revision=revision, inputs=inputs,
    )  # fmt: skip


def test_recorded_calls_say_what_flips_and_what_nobody_can_tell(store: Store, files: Files) -> None:
    sealed.load_or_create_keys(files.data)
    good = files.load(text("echo", "add")).bundle.revision
    more = files.load(text("echo", reads='input.subject.id != "root"')).bundle.revision
    bad = files.load(text("echo", "fail")).bundle.revision
    judges = rejudge.Judges(files.data)
    name = Facts([("target", "name")])
    calls = {tool: call(files, tool, bad, cut=name) for tool in ("echo", "add", "fail", "none")}
    found = {tool: judges.flip(each, bad, good) for tool, each in calls.items()}
    assert found == {"echo": "same", "add": "opened", "fail": "closed", "none": "same"}
    assert judges.flip(calls["echo"], bad, more) == "untold"
    assert judges.flip(call(files, "echo", bad), bad, more) == "same"
    assert judges.flip(call(files, "echo", "f" * 64), bad, good) == "untold"
    assert judges.flip(call(files, "echo", bad, kept=False), bad, good) == "untold"
    assert judges.flip(calls["echo"], bad, "f" * 64) == "untold"
    broken = calls["echo"]._replace(inputs="AAAA")
    assert judges.flip(broken, bad, good) == "untold"
