"""A bundle holds what was asked for, nothing secret, and survives whatever interrupts it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from sqlalchemy import delete

from airlock.audit.catchup import catch_up
from airlock.core.clock import SYSTEM
from airlock.core.errors import AuditFault
from airlock.incident.evidence import bag as bags
from airlock.incident.evidence import custody, report, verify_bundle
from airlock.incident.evidence.bag import Bag
from airlock.model.evidence import Bundle, CustodyEvent
from airlock.model.lease import Unfit
from airlock.store import bundles, outbox, replicas
from airlock.store.changes import INCIDENTS
from airlock.store.schema import bundles as bundle_rows
from tests.incident.evidence.parts import INCIDENT, House, failures, kinds, results, server, statement


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def names(bag: Path) -> set[str]:
    return {path.relative_to(bag / "data").as_posix() for path in (bag / "data").rglob("*") if path.is_file()}


def left(house: House) -> list[str]:
    """Reasons of the rows about evidence that wait for the log."""
    with house.store.read() as connection:
        rows = connection.exec_driver_sql("SELECT event FROM audit_outbox ORDER BY n").all()
    found = [json.loads(row[0]) for row in rows]
    return [each["reason"] for each in found if each["event_type"] == "evidence"]


def test_a_bundle_holds_everything(house: House) -> None:
    house.open_incident()
    rendered = house.data / "incidents" / INCIDENT
    (rendered / "comms").mkdir(parents=True)
    (rendered / f"incident-{INCIDENT}.md").write_text("# Incident Report")
    (rendered / "comms" / "1-update.md").write_text("update")
    (rendered / "custody.jsonl").write_text("not a rendered file")
    bundle = house.collect()
    bag = house.path(bundle)
    found = names(bag)
    assert {
        "audit/chains.json", "audit/range.jsonl", "forensic/integrity.txt", "logs/coverage.json",
        f"logs/incident-logs-{INCIDENT}.txt", "state/config.yaml", "state/leases.json", "state/tools.json",
        f"state/system-state-{INCIDENT}.yaml", f"state/pod-details-{INCIDENT}.txt", "queries/denials.csv",
        "state/policy/starter.rego", "queries/counts.json", "record/incident.json", "record/timeline.json",
        "record/alerts.json", f"incident-{INCIDENT}.md", "comms/1-update.md", "custody.jsonl",
        "certification-draft.md",
    } <= found  # fmt: skip
    assert {name.split("/")[1].partition("-2")[0] for name in found if name.startswith("forensic/")} == {
        "forensic-backup",
        "integrity.txt",
        "journal",
    }
    assert (bundle.state, bundle.verified_exit, bundle.whole, bundle.files) == (
        "complete",
        0,
        True,
        len(found),
    )
    assert '"event":"lifecycle"' in (bag / f"data/logs/incident-logs-{INCIDENT}.txt").read_text()
    assert "evidence_collected" in kinds(house.store)
    assert left(house) == ["evidence_hold", "evidence_marker", "evidence_complete"]


def test_the_copy_opens_and_ends_where_the_log_did(house: House) -> None:
    bag = house.path(house.collect())
    (copied,) = (bag / "data/forensic").glob("*.db")
    query = (
        "SELECT COUNT(*), MAX(seq), (SELECT hash FROM audit_log ORDER BY seq DESC LIMIT 1) FROM audit_events"
    )
    found: list[tuple[int, int, str]] = []
    for path in (copied, house.data / "audit.db"):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            found.append(db.execute(query).fetchone())
    assert found[0] == found[1]
    (chain,) = json.loads((bag / "data/audit/chains.json").read_text())
    assert (chain["seq"], chain["hash"]) == found[0][1:]


def test_nothing_secret_is_in_it(tmp_path: Path) -> None:
    house = House(tmp_path, servers=[server(tmp_path)])
    house.open_incident()
    (house.data / "incidents" / INCIDENT).mkdir(parents=True)
    seeded = "ghp_" + "c4n4ry" * 6
    (house.data / "incidents" / INCIDENT / f"incident-{INCIDENT}.md").write_text(
        f"found {seeded} in a result"
    )
    (house.data / "admin.token").write_text("canary-admin-token")
    bag = house.path(house.collect())
    house.close()
    for path in sorted(path for path in bag.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert b"canary-" not in content, path
        assert seeded.encode() not in content, path
    shown = yaml.safe_load((bag / "data/state/config.yaml").read_text())
    assert shown["configuration"]["servers"][0]["env"]["API"].startswith("hmac-sha256:")
    assert shown["variables"]["UPSTREAM_TOKEN"].startswith("hmac-sha256:")
    replaced = json.loads((bag / "data/replaced.json").read_text())
    assert replaced[f"data/incident-{INCIDENT}.md"] == {"github_token": 1}


def test_a_quick_bundle_is_completed_into_the_same_bag(house: House) -> None:
    quick = house.collect(quick=True)
    assert quick.state == "quick"
    assert not {"queries/counts.json", "forensic/integrity.txt", "audit/range.jsonl"} & names(
        house.path(quick)
    )
    assert results(verify_bundle.verify(house.path(quick)))["range"] == "NOT CHECKED"
    assert any("quick snapshot" in each for each in quick.not_proven)
    custody.note(
        house.path(quick), report.Signer.of(house.data), event="viewed", who="eve", now=house.clock.wall()
    )  # fmt: skip
    whole = house.collect()
    assert (whole.id, whole.state, whole.verified_exit) == (quick.id, "complete", 0)
    assert {"queries/counts.json", "forensic/integrity.txt"} <= names(house.path(whole))
    assert not any("quick snapshot" in each for each in whole.not_proven)
    lines = [custody.told(line) for line in custody.read(house.path(whole))]
    assert [(line.event, line.who) for line in lines] == [
        ("acquired", "alice"), ("viewed", "eve"), ("completed", "alice"),
    ]  # fmt: skip
    assert not custody.beside(house.path(whole)).exists()
    assert house.collect().id == f"{quick.id}.2"


def test_a_sealed_bundle_has_the_newest_documents_and_keeps_the_older_ones(house: House) -> None:
    house.open_incident()
    rendered = house.data / "incidents" / INCIDENT / f"incident-{INCIDENT}.md"
    rendered.parent.mkdir(parents=True)
    rendered.write_text("first")
    bundle = house.collect()
    rendered.write_text("last")
    assert not bundles.sealed(house.store, INCIDENT)
    sealed = house.seal(bundle)
    bag = house.path(sealed)
    assert (sealed.state, sealed.verified_exit, sealed.collected_at) == ("sealed", 0, bundle.collected_at)
    assert (bag / f"data/incident-{INCIDENT}.md").read_text() == "last"
    assert (bag / f"data/earlier/1/incident-{INCIDENT}.md").read_text() == "first"
    assert custody.told(custody.read(bag)[-1]).digest_before == bundle.digest
    assert statement(bag)["predicate"]["state"] == "sealed"
    assert bundles.sealed(house.store, INCIDENT)
    with pytest.raises(Unfit, match="is sealed"):
        house.seal(sealed)


def test_a_bag_that_was_changed_is_not_completed_and_not_sealed(house: House) -> None:
    bundle = house.collect()
    (house.path(bundle) / "data/state/leases.json").write_text("[]")
    with pytest.raises(Unfit, match=r"is not what was closed: bag: data/state/leases\.json: changed"):
        house.seal(bundle)
    after = bundles.get(house.store, bundle.id)
    assert after is not None
    assert (after.state, after.wanted) == ("complete", "")
    assert "leases.json" in after.problem
    assert left(house)[-1] == "evidence_failed"


def test_one_tenant_is_shown_nothing_of_another(house: House) -> None:
    bundle = house.collect(tenant="acme")
    bag = house.path(bundle)
    assert bundle.verified_exit == 0
    assert names(bag) == {"audit/chains.json", "audit/range.jsonl", "certification-draft.md", "custody.jsonl"}
    rows = [json.loads(line) for line in (bag / "data/audit/range.jsonl").read_text().splitlines()]
    shown = [json.loads(row["entry"]) for row in rows if "entry" in row]
    assert [entry["tenant_seq"] for entry in shown] == [1, 2, 3]
    assert {entry["tenant"] for entry in shown} == {"acme"}
    assert len(rows) > len(shown)
    steps = verify_bundle.verify(bag, house.key)
    assert results(steps)["copy"] == "NOT CHECKED"
    for path in bag.rglob("*"):
        assert not path.is_file() or b"globex" not in path.read_bytes()


def test_a_log_that_was_tampered_with_is_evidence_of_that(house: House) -> None:
    catch_up(house.data, clock=SYSTEM, pause=lambda _: None)
    with closing(sqlite3.connect(house.data / "audit.db")) as db, db:
        db.execute("DROP TRIGGER audit_log_no_update")
        db.execute("UPDATE audit_log SET entry = CAST(replace(entry, 'deny', 'none') AS BLOB) WHERE seq = 5")
    bundle = house.collect()
    assert (bundle.verified_exit, bundle.whole) == (1, True)
    assert any("contradicted itself" in each for each in bundle.not_proven)
    assert set(failures(house.path(bundle), house.key)) == {"range", "copy"}
    assert "V-HASH" in (house.path(bundle) / "data/forensic/integrity.txt").read_text()
    assert house.seal(bundle).whole
    assert bundles.sealed(house.store, INCIDENT)


def test_without_a_record_the_evidence_is_collected_all_the_same(house: House) -> None:
    bundle = house.collect()
    assert any("nobody opened it" in each for each in bundle.not_proven)


def test_a_failure_leaves_a_reason_and_no_draft(house: House) -> None:
    shutil.rmtree(house.data / "journal")
    (house.data / "audit.db").unlink(missing_ok=True)
    with pytest.raises(Unfit, match="could not be made"):
        house.collect()
    (bundle,) = bundles.of(house.store, INCIDENT)
    assert (bundle.state, bundle.wanted) == ("failed", "")
    assert bundle.problem
    assert not [path for path in (house.data / "evidence").iterdir() if "draft" in path.name]


def test_what_ended_before_its_row_was_written_is_found(house: House) -> None:
    bundle = house.collect()
    requested = Bundle(id=bundle.id, incident=INCIDENT, created_at=1.0, asked=bundle.asked, wanted="complete")
    bundles.done(house.store, requested, [], now=1.0)
    again = house.make(bundle.id)
    assert (again.digest, again.state, again.wanted) == (bundle.digest, "complete", "")
    assert house.make(bundle.id) == again


def test_a_folder_of_an_earlier_request_is_not_taken_for_this_one(house: House) -> None:
    """The control data were put back: nobody may be told that this is the evidence of today."""
    kept = house.path(house.collect())
    with house.store.change(INCIDENTS) as change:
        change.connection.execute(delete(bundle_rows))
    house.clock.seconds += 86_400
    before = (kept / verify_bundle.TAGS).read_bytes()
    with pytest.raises(Unfit, match="of an earlier request"):
        house.collect()
    assert bundles.of(house.store, INCIDENT)[0].state == "failed"
    assert (kept / verify_bundle.TAGS).read_bytes() == before


def test_a_draft_that_a_crash_left_is_removed(house: House) -> None:
    stale = house.data / "evidence" / f".draft-evidence-{INCIDENT}-x"
    stale.mkdir(parents=True)
    (stale / "part").write_text("x")
    house.collect()
    assert not stale.exists()


def test_a_crash_while_one_bag_takes_the_place_of_another_loses_neither(house: House) -> None:
    bundle = house.collect()
    bag = house.path(bundle)
    bag.rename(bag.with_name(f".{bag.name}.before"))
    assert house.seal(bundle).verified_exit == 0
    bags.recover(bag)
    assert failures(bag, house.key) == {}


def test_lines_that_a_new_bag_took_in_do_not_stay_beside_it(house: House) -> None:
    bundle = house.collect(quick=True)
    bag = house.path(bundle)
    custody.note(bag, report.Signer.of(house.data), event="viewed", who="eve", now=1.0)
    stale = custody.beside(bag).read_bytes()
    house.collect()
    custody.beside(bag).write_bytes(stale)
    custody.recover(bag)
    assert failures(bag, house.key) == {}


def test_who_had_it_is_told_everywhere(house: House) -> None:
    house.open_incident()
    bundle = house.collect()
    hands: tuple[tuple[CustodyEvent, str], ...] = (("viewed", ""), ("transferred", "counsel"))
    for kind, to in hands:
        report.had(
            house.store, house.data, bundle, kind, who="carol", role="legal_liaison", reason="asked for",
            to=to, now=house.clock.wall(),
        )  # fmt: skip
    assert kinds(house.store)[-2:] == ["evidence_accessed", "evidence_transferred"]
    assert left(house)[-2:] == ["evidence_viewed", "evidence_transferred"]
    assert failures(house.path(bundle), house.key) == {}
    log = custody.beside(house.path(bundle))
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[1:]))
    assert "does not follow" in failures(house.path(bundle), house.key)["custody"][0]


def test_a_view_without_a_record_is_in_the_log(house: House) -> None:
    bundle = house.collect()
    report.had(
        house.store, house.data, bundle, "viewed", who="carol", role="", reason="", to="",
        now=house.clock.wall(),
    )  # fmt: skip
    assert left(house)[-1] == "evidence_viewed"


def test_the_marker_is_waited_for_while_a_worker_lives(house: House) -> None:
    bundle = bundles.request(house.store, INCIDENT, house.collect().asked, quick=True, now=2.0)
    replicas.seen(house.store, replica="one", epoch=0, now=house.clock.wall())
    paused: list[float] = []

    def write(seconds: float) -> None:
        paused.append(seconds)
        outbox.record(house.store, lambda events: [("chain", number) for number, _ in enumerate(events, 1)])

    assert report.begin(house.store, bundle, house.clock, write) == []
    assert len(paused) == 1

    def pass_time(seconds: float) -> None:
        house.clock.seconds += 1.0
        replicas.seen(house.store, replica="one", epoch=0, now=house.clock.wall())

    assert "marker" in report.begin(house.store, bundle, house.clock, pass_time)[0]


def test_a_bag_takes_no_name_that_leads_out(tmp_path: Path) -> None:
    bag = Bag(tmp_path)
    for name in ("../x", "/x", "data/../../x"):
        with pytest.raises(ValueError, match="no relative path"):
            bag.add_bytes(name, b"")
    bag.add_bytes("data/a b%\n.txt", b"x")
    assert list(bag.payload) == ["data/a%20b%25%0A.txt"]
    with (
        (tmp_path / "data" / "a%20b%25%0A.txt").open("rb") as short,
        pytest.raises(OSError, match="too early"),
    ):
        bag.add("data/short", short, 2)


def test_a_quick_bundle_that_was_changed_stands_in_nobodys_way(house: House) -> None:
    quick = house.collect(quick=True)
    (house.path(quick) / "data/state/leases.json").write_text("[]")
    with pytest.raises(Unfit, match="is not what was closed"):
        house.collect()
    assert house.collect().id == f"{quick.id}.2"


def test_a_bundle_whose_folder_is_gone_was_not_viewed(house: House) -> None:
    bundle = house.collect(quick=True)
    (house.data / "keys").chmod(0o755)
    with pytest.raises(AuditFault, match="custody log"):
        report.had(house.store, house.data, bundle, "viewed", who="x", role="", reason="", to="", now=1.0)
    (house.data / "keys").chmod(0o700)
    shutil.rmtree(house.path(bundle))
    with pytest.raises(Unfit, match="not in its place"):
        report.had(house.store, house.data, bundle, "viewed", who="x", role="", reason="", to="", now=1.0)
    assert "evidence_viewed" not in left(house)


def test_room_is_left_for_the_log() -> None:
    assert report.lacking(100, free=400, total=1000) == 0
    assert report.lacking(100, free=399, total=1000) == 1
