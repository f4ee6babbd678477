"""Steps that may loosen: each proposes once, and waits for people."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from airlock.app import performing_proposals
from airlock.incident import proposals
from airlock.incident.approval import Person
from airlock.model.proposal import Proposal
from airlock.store import proposals as kept
from airlock.store.database import Store
from tests.app.play_parts import NOW, Engine, begin, opened, playbook, record
from tests.policy.revised import Files, text

BACK = 'action {"id": "back"}\npolicy.rollback(to="previous")'
OPEN = 'action {"id": "open"}\nfailmode.set(mode="open", tools="read-only", ttl="10m")'
ANN = Person(issuer="i", subject="ann", approver=True, auth_time=int(NOW))
BO = Person(issuer="i", subject="bo", approver=True, auth_time=int(NOW))


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def engine(store: Store, tmp_path: Path) -> Engine:
    return Engine(store, tmp_path)


def waiting(store: Store) -> Proposal:
    (found,) = kept.listing(store)
    return found


def decided(store: Store, monkeypatch: pytest.MonkeyPatch, *, agree: bool) -> None:
    """Let people decide as soon as the step looks whether they did."""
    real = kept.get

    def get(where: Store, id: str) -> Proposal | None:
        proposal = real(where, id)
        if proposal is not None and proposal.state in ("PROPOSED", "DRY_RUN"):
            if agree:
                for who in (ANN, BO):
                    proposals.approve(where, id, proposal.digest, who, now=NOW)
            else:
                proposals.reject(where, id, BO, "it is right as it is", now=NOW)
        return real(where, id)

    monkeypatch.setattr(performing_proposals.kept, "get", get)


def test_a_step_goes_back_once_people_agreed(
    store: Store, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path)
    good = files.load(text("echo")).bundle
    files.load(text("fail"))
    decided(store, monkeypatch, agree=True)
    run = begin(store, playbook(BACK), incident=record(store))
    assert engine.carry(run.id, die="after").journal["back"].state == "started"
    done = engine.carry(run.id).journal["back"]
    assert (done.state, "was carried out by i|bo" in done.output) == ("succeeded", True), done
    assert waiting(store).by.type == "playbook"
    assert [each.kind for each in files.changes(store)] == ["reload", "reload", "rollback"]
    assert files.load().bundle.revision == good.revision


def test_a_step_fails_where_people_decline_or_nothing_decided_before(
    store: Store, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, incident = Files(tmp_path), record(store)
    decided(store, monkeypatch, agree=False)
    files.load(text("echo"))
    alone = engine.carry(begin(store, playbook(BACK), incident=incident).id).journal["back"]
    assert (alone.state, kept.listing(store)) == ("failed", [])
    files.load(text("fail"))
    declined = engine.carry(begin(store, playbook(BACK), incident=incident).id).journal["back"]
    assert (declined.state, "rejected: it is right" in declined.detail) == ("failed", True), declined


def test_failing_open_is_only_proposed_where_policy_fails(store: Store, engine: Engine) -> None:
    run = begin(store, playbook(OPEN), incident=record(store))
    found = engine.carry(run.id).journal["open"]
    assert (found.state, "MCP-024" in found.detail) == ("failed", True), found
