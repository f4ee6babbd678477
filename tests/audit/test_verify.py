"""What verification catches, row by row of the table of attacks, and what it openly cannot."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airlock.audit import database, verify
from airlock.audit.verify import NOT_PROVEN, Exit, Finding, Findings, Walk
from tests.audit.conftest import SKELETON

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.audit.conftest import Log

BROKEN_CHAINS = """
SELECT COUNT(*) as broken_chains
   FROM audit_events a1
   LEFT JOIN audit_events a2 ON a1.previous_hash = a2.hash
   WHERE a1.previous_hash IS NOT NULL AND a2.hash IS NULL;"""


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def change_column(log: Log) -> None:
    log.tamper("UPDATE audit_log SET decision = 'allow', reason = 'x' WHERE seq = 5")


def change_entry(log: Log) -> None:
    log.tamper("UPDATE audit_log SET entry = CAST(replace(entry, 'allow', 'deny!') AS BLOB) WHERE seq = 5")


def change_hash(log: Log) -> None:
    log.tamper("UPDATE audit_log SET hash = lower(hex(randomblob(32))) WHERE seq = 5")


def change_leaf(log: Log) -> None:
    log.tamper("UPDATE audit_log SET leaf_hash = randomblob(32) WHERE seq = 5")


def change_id(log: Log) -> None:
    log.tamper("UPDATE audit_log SET id = 'another' WHERE seq = 5")


def change_timestamp(log: Log) -> None:
    log.tamper("UPDATE audit_log SET timestamp = '2020-01-01 00:00:00.000000' WHERE seq = 5")


def change_link(log: Log) -> None:
    log.tamper("UPDATE audit_log SET previous_hash = lower(hex(randomblob(32))) WHERE seq = 5")


def unlink_row(log: Log) -> None:
    log.tamper("UPDATE audit_log SET previous_hash = NULL WHERE seq = 5")


def store_entry_as_text(log: Log) -> None:
    log.tamper("UPDATE audit_log SET entry = CAST(entry AS TEXT) WHERE seq = 5")


def put_text_in_seq(log: Log) -> None:
    log.tamper("UPDATE audit_log SET seq = 'ten' WHERE seq = 10")


def put_broken_text(log: Log) -> None:
    log.tamper("UPDATE audit_log SET reason = CAST(x'ff00fe' AS TEXT) WHERE seq = 5")


def delete_row(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal WHERE n = 5", "DELETE FROM audit_log WHERE seq = 5")


def cut_tail_but_not_head(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal WHERE n > 8", "DELETE FROM audit_log WHERE seq > 8")


def change_head_hash(log: Log) -> None:
    log.tamper("UPDATE audit_chains SET head_hash = lower(hex(randomblob(32)))")


def change_origin(log: Log) -> None:
    log.tamper("UPDATE audit_chains SET origin = 'another'")


def invent_predecessor(log: Log) -> None:
    log.tamper("UPDATE audit_chains SET predecessor = '{}'")


def drop_chain_line(log: Log) -> None:
    log.tamper("DELETE FROM audit_chains")


def drop_prefix(log: Log) -> None:
    log.tamper(
        "DELETE FROM audit_personal WHERE n < 4",
        "DELETE FROM audit_log WHERE seq < 4",
        "UPDATE audit_log SET previous_hash = NULL WHERE seq = 4",
    )


def fork_at_the_end(log: Log) -> None:
    """A row of its own, whole by itself, that follows a row in the middle."""
    with closing(database.open_reader(log.path)) as db:
        fifth = next(row for row in database.walk(db, log.uid) if row[2] == 5)
    members = decoded(fifth[8])
    members |= {"seq": 11, "previous_hash": fifth[5], "id": "forked", "tenant_seq": 10, "commit": {}}
    entry = msgspec.json.encode(members, order="sorted")
    insert(log, entry, 11)
    log.tamper("UPDATE audit_chains SET head_seq = 11, head_hash = ?", parameters=(digest(entry),))


def second_row_with_a_seq(log: Log) -> None:
    """The unique constraint is no obstacle to whoever may write the file."""
    with closing(sqlite3.connect(log.path, isolation_level=None)) as db:
        sql = db.execute("SELECT sql FROM sqlite_master WHERE name = 'audit_log'").fetchone()[0]
        db.execute("CREATE TABLE copied AS SELECT * FROM audit_log")
        for view in ("audit_events", "audit_events_hourly", "audit_seq_gaps"):
            db.execute(f"DROP VIEW {view}")
        db.execute("DROP TRIGGER audit_log_no_delete")
        db.execute("DROP TABLE audit_log")
        db.execute(sql.replace(",\n  UNIQUE (chain_uid, seq)", ""))
        db.execute("INSERT INTO audit_log SELECT * FROM copied")
        db.execute(
            "INSERT INTO audit_log SELECT n + 100, chain_uid, seq, 'twin', timestamp,"
            " lower(hex(randomblob(32))), previous_hash, leaf_hash, NULL, event_type, phase, occurred_at,"
            " correlation_id, request_id, tenant, tenant_seq, action, resource, server_id, tool_name,"
            " definition_digest, policy_revision, decision, reason, severity, latency_ms,"
            " redaction_count, metadata FROM copied WHERE seq = 5"
        )
        db.execute("DROP TABLE copied")
        script = database.schema()
        for statement in script.split(";\n"):
            if statement.startswith("CREATE VIEW"):
                db.execute(statement)


def hide_row_from_index(log: Log) -> None:
    """A row in the table that no search by chain shows: the index is set aside while it is inserted."""
    keep = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name LIKE '%audit_log_3'"
    with closing(sqlite3.connect(log.path, isolation_level=None)) as db:
        sql = db.execute("SELECT sql FROM sqlite_master WHERE name = 'audit_log'").fetchone()[0]
        index = db.execute(keep).fetchone()
        db.execute("PRAGMA writable_schema = ON")
        db.execute("DELETE FROM sqlite_master WHERE name LIKE '%audit_log_3'")
        db.execute(
            "UPDATE sqlite_master SET sql = ? WHERE name = 'audit_log'",
            (sql.replace(",\n  UNIQUE (chain_uid, seq)", ""),),
        )
    with closing(sqlite3.connect(log.path, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO audit_log (n, chain_uid, seq, id, timestamp, hash, previous_hash, leaf_hash)"
            " SELECT 999, chain_uid, 999, 'hidden', timestamp, lower(hex(randomblob(32))), hash, leaf_hash"
            " FROM audit_log WHERE seq = 5"
        )
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'audit_log'", (sql,))
        db.execute("DELETE FROM sqlite_master WHERE name = 'ix_none'")
        db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
        # The parser expects automatic indices in front of others: order of creation.
        rows = db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master").fetchall()
        rows.sort(key=lambda row: 0 if row[1] == "audit_log" else 1 if "autoindex_audit_log" in row[1] else 2)
        db.execute("DELETE FROM sqlite_master")
        db.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", rows)


def change_personal_value(log: Log) -> None:
    log.tamper("UPDATE audit_personal SET subject = 'somebody else' WHERE n = 5")


def change_personal_data(log: Log) -> None:
    log.tamper('UPDATE audit_personal SET data = \'{"user_agent":"other"}\' WHERE n = 5')


def hide_subject_in_data(log: Log) -> None:
    log.tamper(
        "UPDATE audit_personal SET data = json_set(data, '$.subject', subject), subject = NULL WHERE n = 5"
    )


def add_personal_value(log: Log) -> None:
    log.tamper("UPDATE audit_personal SET data = json_set(data, '$.issuer', 'x') WHERE n = 5")


def break_personal_data(log: Log) -> None:
    log.tamper("UPDATE audit_personal SET data = 'no json' WHERE n = 5")


def put_number_in_subject(log: Log) -> None:
    log.tamper("UPDATE audit_personal SET subject = x'01' WHERE n = 5")


def change_salt(log: Log) -> None:
    log.tamper("UPDATE audit_personal SET salt = randomblob(32) WHERE n = 5")


def put_text_in_salt(log: Log) -> None:
    log.tamper("UPDATE audit_personal SET salt = 'salt' WHERE n = 5")


def delete_personal_value(log: Log) -> None:
    log.tamper("UPDATE audit_personal SET subject = NULL WHERE n = 5")


def delete_personal_rows(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal WHERE n IN (5, 6)")


def add_personal_row(log: Log) -> None:
    log.tamper("INSERT INTO audit_personal VALUES (1000, x'00', 'nobody', NULL, NULL)")


def filter_view(log: Log) -> None:
    with closing(sqlite3.connect(log.path)) as db:
        sql = db.execute("SELECT sql FROM sqlite_master WHERE name = 'audit_events'").fetchone()[0]
        db.execute("DROP VIEW audit_events")
        db.execute(sql + " WHERE l.seq != 5")


def add_trigger(log: Log) -> None:
    with closing(sqlite3.connect(log.path)) as db:
        db.execute(
            "CREATE TRIGGER quiet AFTER INSERT ON audit_log WHEN NEW.decision = 'deny'"
            " BEGIN DELETE FROM audit_personal WHERE n = NEW.n; END"
        )


def forge_behind_a_skeleton(log: Log) -> None:
    log.tamper(
        "DELETE FROM audit_personal WHERE n = 5",
        "UPDATE audit_log SET entry = NULL, decision = 'allow', reason = 'ok' WHERE seq = 5",
    )


def blame_behind_a_skeleton(log: Log) -> None:
    log.tamper(
        "UPDATE audit_log SET entry = NULL, decision = 'allow' WHERE seq = 5",
        "UPDATE audit_personal SET subject = 'bob', source_ip = '203.0.113.9' WHERE n = 5",
    )


def leave_only_the_personal_row(log: Log) -> None:
    log.tamper(SKELETON.replace("?", "5"))


def number_a_skeleton_in_words(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal WHERE n = 10", SKELETON.replace("?", "10"))
    log.tamper("UPDATE audit_log SET seq = 'ten' WHERE seq = 10")


CAUGHT: list[tuple[Callable[[Log], None], set[str], int | None]] = [
    (change_column, {"V-COLUMN"}, 0),
    (change_entry, {"V-HASH"}, 0),
    (change_hash, {"V-HASH"}, 1),
    (change_leaf, {"V-HASH"}, 0),
    (change_id, {"V-COLUMN"}, 0),
    (change_timestamp, {"V-COLUMN"}, 0),
    (change_link, {"V-LINK"}, 1),
    (unlink_row, {"V-LINK"}, 0),
    (store_entry_as_text, {"V-HASH"}, 0),
    (put_text_in_seq, {"V-SEQ", "V-SIZE"}, 0),
    (put_broken_text, {"V-COLUMN"}, 0),
    (delete_row, {"V-LINK"}, 1),
    (cut_tail_but_not_head, {"V-SIZE"}, 0),
    (change_head_hash, {"V-LINK"}, 0),
    (change_origin, {"V-COLUMN"}, 0),
    (invent_predecessor, {"V-COLUMN"}, 0),
    (drop_chain_line, {"V-SIZE"}, 0),
    (drop_prefix, {"V-LINK"}, 0),
    (fork_at_the_end, {"V-FORK"}, 0),
    (second_row_with_a_seq, {"V-COLUMN", "V-FORK", "V-SCHEMA"}, 0),
    (hide_row_from_index, {"V-FORK"}, None),
    (change_personal_value, {"V-COMMIT"}, 0),
    (change_personal_data, {"V-COMMIT"}, 0),
    (hide_subject_in_data, {"V-COMMIT"}, 0),
    (add_personal_value, {"V-COMMIT"}, 0),
    (break_personal_data, {"V-COMMIT"}, 0),
    (put_number_in_subject, {"V-COMMIT"}, 0),
    (change_salt, {"V-COMMIT"}, 0),
    (put_text_in_salt, {"V-COMMIT"}, 0),
    (delete_personal_value, {"V-PERSONAL"}, 0),
    (delete_personal_rows, {"V-PERSONAL"}, 0),
    (add_personal_row, {"V-PERSONAL"}, 0),
    (filter_view, {"V-SCHEMA"}, 1),
    (add_trigger, {"V-SCHEMA"}, 0),
    (forge_behind_a_skeleton, {"V-COLUMN"}, 0),
    (blame_behind_a_skeleton, {"V-COLUMN", "V-COMMIT"}, 0),
    (leave_only_the_personal_row, {"V-COMMIT"}, 0),
    (number_a_skeleton_in_words, {"V-SEQ", "V-SIZE"}, 0),
]


@pytest.mark.parametrize(
    ("attack", "expected", "broken"), CAUGHT, ids=lambda case: getattr(case, "__name__", "")
)
def test_attack_is_named_and_exits_1(
    log: Log, attack: Callable[[Log], None], expected: set[str], broken: int | None
) -> None:
    attack(log)
    report = log.verify()
    assert (codes(report.findings), report.exit) == (expected, Exit.TAMPERED)
    if broken is not None:
        assert log.rows(BROKEN_CHAINS) == [(broken,)]


def digest(entry: bytes) -> str:
    return hashlib.sha256(entry).hexdigest()


def insert(log: Log, entry: bytes, n: int) -> None:
    """A row for an entry, with every column as the product would write it."""
    from airlock.audit import rows

    parsed = rows.read(entry)
    with closing(sqlite3.connect(log.path)) as db, db:
        db.execute(
            "INSERT INTO audit_log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
            " ?, ?, ?, ?, ?, ?)",
            rows.link(n, parsed, entry) + rows.columns(parsed),
        )


def decoded(entry: object) -> dict[str, Any]:
    assert isinstance(entry, bytes)
    return msgspec.json.decode(entry, type=dict[str, Any])


def rewrite(
    log: Log, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], *, recount: bool = True
) -> None:
    """Everything anew: change the entries, then number, link and hash them up to the head."""
    with closing(database.open_reader(log.path)) as db:
        entries = [decoded(row[8]) for row in database.walk(db, log.uid)]
    log.tamper("DELETE FROM audit_personal", "DELETE FROM audit_log")
    previous: str | None = None
    for seq, members in enumerate(change(entries), 1):
        members |= {"seq": seq, "previous_hash": previous, "commit": {}}
        if recount and "tenant" in members:
            members["tenant_seq"] = seq - 1
        entry = msgspec.json.encode(members, order="sorted")
        insert(log, entry, seq)
        previous = digest(entry)
    log.tamper(
        "UPDATE audit_chains SET head_seq = (SELECT MAX(seq) FROM audit_log), head_hash = ?",
        parameters=(previous,),
    )


def cut_tail_and_head(log: Log) -> None:
    cut_tail_but_not_head(log)
    log.tamper("UPDATE audit_chains SET head_seq = 8, head_hash = (SELECT hash FROM audit_log WHERE seq = 8)")


def change_and_rehash(log: Log) -> None:
    rewrite(
        log, lambda entries: [{**each, "reason": "forged"} if each["seq"] == 5 else each for each in entries]
    )


def delete_and_rehash(log: Log) -> None:
    rewrite(log, lambda entries: [each for each in entries if each["seq"] != 5])


def drop_chain(log: Log) -> None:
    log.tamper(
        "DELETE FROM audit_personal",
        "DELETE FROM audit_log WHERE seq > 1",
        "UPDATE audit_chains SET head_seq = 1, head_hash = (SELECT hash FROM audit_log)",
    )


@pytest.mark.parametrize("attack", [cut_tail_and_head, change_and_rehash, delete_and_rehash, drop_chain])
def test_what_a_chain_alone_cannot_show_is_said_to_be_unproven(
    log: Log, attack: Callable[[Log], None]
) -> None:
    attack(log)
    report = log.verify()
    assert (report.findings, report.exit) == ([], Exit.PROVEN)
    assert "compute every later hash anew" in report.not_proven[0]
    assert "cut off" in report.not_proven[1]


@pytest.mark.parametrize("attack", [change_and_rehash, delete_and_rehash])
def test_the_journal_betrays_a_rewritten_database_while_it_lasts(
    log: Log, attack: Callable[[Log], None]
) -> None:
    attack(log)
    report = log.verify(journals=True)
    assert (codes(report.findings), report.exit) == ({"V-JOURNAL"}, Exit.TAMPERED)


def test_a_healthy_log_is_proven_as_far_as_configured(log: Log) -> None:
    report = log.verify(journals=True)
    assert (report.exit, report.findings, report.rows, report.journal_records) == (Exit.PROVEN, [], 10, 10)


def test_the_report_says_first_what_was_not_checked(log: Log) -> None:
    report = log.verify()
    assert report.scope.startswith("L1")
    assert "No checkpoints are configured" in report.scope
    assert report.not_proven[: len(NOT_PROVEN)] == list(NOT_PROVEN)


def test_a_finding_names_chain_row_and_both_values(log: Log) -> None:
    change_column(log)
    finding = next(each for each in log.verify().findings if "reason" in each.what)
    row = log.rows("SELECT id FROM audit_log WHERE seq = 5")[0]
    assert (finding.chain_uid, finding.seq, finding.id) == (log.uid, 5, row[0])
    assert (finding.expected, finding.seen) == ("allowed", "x")


def test_a_missing_trigger_is_a_note_not_a_proof(log: Log) -> None:
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("DROP TRIGGER audit_log_no_delete")
    report = log.verify()
    assert (report.exit, "audit_log_no_delete" in report.notes[0]) == (Exit.PROVEN, True)


def test_a_skeleton_row_keeps_links_and_counters(log: Log) -> None:
    for seq in (3, 4, 5):
        log.prune(seq)
    report = log.verify()
    assert (report.findings, report.chains[0].skeletons) == ([], 3)
    assert "3 rows are skeletons" in report.not_proven[-1]
    assert log.rows(BROKEN_CHAINS) == [(0,)]


@pytest.mark.parametrize(
    ("pruned", "ranges"),
    [((5,), "5..5"), ((3, 4, 5), "3..5"), ((1, 2, 4, 9, 10), "1..2, 4..4, 9..10")],
)
def test_skeletons_that_no_retention_explains_are_unproven(
    log: Log, pruned: tuple[int, ...], ranges: str
) -> None:
    for seq in pruned:
        log.prune(seq)
    report = log.verify()
    assert (report.exit, report.unproven) == (
        Exit.UNPROVEN,
        [
            f"chain {log.uid}: rows {ranges} are skeletons that no retention record explains "
            f"({len(pruned)} in all)"
        ],
    )


def test_what_a_skeleton_still_shows_is_named_in_one_finding_of_its_row(log: Log) -> None:
    forge_behind_a_skeleton(log)
    (finding,) = log.verify().findings
    assert (finding.code, finding.seq, finding.expected) == ("V-COLUMN", 5, "NULL")
    assert finding.seen.startswith("event_type, phase, ")


def test_a_report_with_an_id_that_is_no_text_can_be_written(log: Log) -> None:
    log.tamper("UPDATE audit_log SET id = CAST(x'ff00fe' AS TEXT) WHERE seq = 5")
    report = log.verify()
    assert b'"id":"\\\\udcff\\\\x00\\\\udcfe"' in msgspec.json.encode(report)


def test_ranges_of_skeletons_beyond_the_list_are_counted() -> None:
    walk = Walk("c", Findings(), predecessor=lambda _: None)
    for seq in range(1, 2 * verify.LISTED + 4, 2):
        walk.step((seq, "c", seq, "id", "t", "h", "h", b"", None) + (None,) * 24)
    assert (len(walk.pruned), walk.skeletons) == (verify.LISTED, verify.LISTED + 2)


def test_a_skeleton_beside_a_missing_row_hides_nothing(log: Log) -> None:
    log.prune(5)
    log.tamper("DELETE FROM audit_personal WHERE n = 7", "DELETE FROM audit_log WHERE seq = 7")
    assert "V-LINK" in codes(log.verify().findings)


def test_a_hole_in_a_tenants_counter_is_found_even_in_a_rehashed_chain(log: Log) -> None:
    rewrite(log, lambda entries: [each for each in entries if each["seq"] != 5], recount=False)
    report = log.verify()
    assert [(each.code, each.seq, each.expected, each.seen) for each in report.findings] == [
        ("V-SEQ", 5, "4", "5")
    ]


def test_an_entry_with_a_tenant_needs_a_counter(log: Log) -> None:
    def uncounted(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {key: each[key] for key in each if key != "tenant_seq" or each["seq"] != 5} for each in entries
        ]

    rewrite(log, uncounted, recount=False)
    assert codes(log.verify().findings) == {"V-SEQ"}


def test_bytes_that_are_no_entry_are_named(log: Log) -> None:
    found = Findings()
    walk = Walk(log.uid, found, predecessor=lambda _: None)
    entry = b"[]"
    row = (1, log.uid, 1, "id", "t", digest(entry), None, hashlib.sha256(b"\0[]").digest(), entry)
    walk.step(row + (None,) * 19 + (None,) * 5)
    assert [(each.code, each.what) for each in found.listed] == [("V-COLUMN", "the entry cannot be read")]


def test_an_entry_of_another_chain_is_named(log: Log, new_log: Callable[..., Log]) -> None:
    other = new_log("other")
    other.fill(1)
    other.project()
    with closing(database.open_reader(other.path)) as db:
        row = next(iter(database.walk(db, other.uid)))
    found = Findings()
    Walk(log.uid, found, predecessor=lambda _: None).step((row[0], log.uid, *row[2:]))
    assert [each.code for each in found.listed] == ["V-SEQ"]


def test_since_trusts_the_first_link_only(log: Log) -> None:
    log.clock.forward(10)
    log.append(call_of(log))
    log.project()
    moment = log.rows("SELECT timestamp FROM audit_log WHERE seq = 11")[0][0]
    report = log.verify(since=moment)
    assert (report.exit, report.rows, report.chains[0].first_seq) == (Exit.PROVEN, 1, 11)
    assert any("were not checked" in line for line in report.not_proven)


def call_of(log: Log) -> Any:
    from airlock.model.entry import Event

    return Event(
        event_type="call",
        action="tool_call",
        tenant="acme",
        decision="allow",
        correlation_id=f"late-{log.chain.seq}",
    )


def test_since_after_the_newest_row_proves_nothing(log: Log) -> None:
    assert log.verify(since="2999-01-01").exit is Exit.UNPROVEN


def test_one_chain_of_two(log: Log) -> None:
    report = log.verify(chain="another")
    assert (report.exit, report.rows) == (Exit.UNPROVEN, 0)


def test_findings_beyond_the_list_are_counted() -> None:
    found = Findings()
    for _ in range(verify.LISTED + 5):
        found.add(Finding(code="V-LINK", chain_uid="c", what="w"))
    assert (len(found.listed), found.count) == (verify.LISTED, verify.LISTED + 5)
