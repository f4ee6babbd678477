"""Rows of bundles: which one a request is about, and what nobody may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from airlock.model.evidence import LONGEST_WINDOW, Asked, Bundle
from airlock.model.lease import Unfit
from airlock.store import bundles, outbox
from airlock.store.database import Store, open_store

INCIDENT = "INC-20261122-180000"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "sark.db")
    yield opened
    opened.close()


def ask(store: Store, *, quick: bool = False, tenant: str = "", now: float = 1.0) -> Bundle:
    return bundles.request(store, INCIDENT, Asked(who="alice", tenant=tenant), quick=quick, now=now)


def finish(store: Store, bundle: Bundle, **values: object) -> Bundle:
    after = msgspec.structs.replace(bundle, wanted="", **values)
    bundles.done(store, after, [], now=2.0)
    return after


def test_each_request_is_a_bundle_of_its_own(store: Store) -> None:
    found = [ask(store, now=at).id for at in (1.0, 2.0, 3.0)]
    assert found == [f"evidence-{INCIDENT}", f"evidence-{INCIDENT}.2", f"evidence-{INCIDENT}.3"]
    assert [each.id for each in bundles.wanted(store)] == found
    assert [each.id for each in bundles.of(store, INCIDENT)] == found


def test_a_whole_one_completes_the_quick_one_of_the_same_tenant(store: Store) -> None:
    quick = finish(store, ask(store, quick=True), state="quick")
    assert ask(store, quick=True, now=2.0).id != quick.id
    assert ask(store, tenant="acme", now=3.0).id != quick.id
    again = ask(store, now=4.0)
    assert (again.id, again.state, again.wanted) == (quick.id, "quick", "complete")
    assert ask(store, now=5.0).id != quick.id  # somebody works on it already


def test_a_sealed_one_is_left_alone(store: Store) -> None:
    bundle = ask(store)
    sealing = bundles.ask(store, bundle.id, "seal", who="bob", role="scribe", reason="closing")
    assert (sealing.wanted, sealing.asked.who) == ("seal", "bob")
    finish(store, sealing, state="sealed", whole=True)
    assert bundles.sealed(store, INCIDENT)
    with pytest.raises(Unfit, match="is sealed"):
        bundles.ask(store, bundle.id, "seal", who="bob", role="", reason="")


def test_one_that_was_changed_after_it_was_closed_is_not_sealed(store: Store) -> None:
    finish(store, ask(store), state="sealed", whole=False)
    assert not bundles.sealed(store, INCIDENT)


def test_one_that_does_not_exist(store: Store) -> None:
    assert bundles.get(store, "evidence-x") is None
    with pytest.raises(Unfit, match="There is no bundle"):
        bundles.ask(store, "evidence-x", "seal", who="bob", role="", reason="")
    with pytest.raises(Unfit, match="There is no bundle"):
        bundles.done(store, msgspec.structs.replace(ask(store), id="evidence-x"), [], now=1.0)


def test_rows_for_the_log_come_with_the_bundle(store: Store) -> None:
    from airlock.incident.evidence.report import event_of

    bundle = ask(store)
    bundles.done(store, bundle, [event_of(bundle, "evidence_complete")], now=2.0)
    assert outbox.record(store, lambda events: [("chain", n) for n, _ in enumerate(events, 1)]) == 1


@pytest.mark.parametrize(
    "name", ["", "INC-1", "../../keys", "INC-20261122-180000/..", "INC-20261122-180000\n"]
)
def test_what_is_no_incident_id_names_no_folder(store: Store, name: str) -> None:
    with pytest.raises(Unfit) as refused:
        bundles.request(store, name, Asked(who="x"), quick=False, now=1.0)
    assert refused.value.reason == "incident_id_invalid"


@pytest.mark.parametrize(
    "asked",
    [Asked(who="x", window=0.0), Asked(who="x", logs=-1.0), Asked(who="x", window=LONGEST_WINDOW + 1)],
)
def test_windows_have_bounds(store: Store, asked: Asked) -> None:
    with pytest.raises(Unfit) as refused:
        bundles.request(store, INCIDENT, asked, quick=False, now=1.0)
    assert refused.value.reason == "window_invalid"
