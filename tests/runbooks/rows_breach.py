"""Refusals, blocks, and the audit log in an operator's hands: A-50, A-51, A-55 to A-61."""

from __future__ import annotations

import csv
import io
import re
import secrets
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.runbooks.registry import Run, Shown, row
from tests.runbooks.stack import Stack
from tests.system.deployment import Answer

GUESSER = "203.0.113.7"
BYSTANDER = "203.0.113.99"
LISTS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
COLUMNS = (
    "id", "seq", "chain_uid", "timestamp", "correlation_id", "tenant", "subject", "action", "resource",
    "decision", "reason", "severity", "metadata", "hash", "previous_hash", "latency_ms", "redaction_count",
    "event_type", "server_id", "tool_name", "definition_digest", "policy_revision", "request_id",
    "occurred_at",
)  # fmt: skip
"""Of `audit_events`, which may have more."""


def asks(stack: Stack, address: str, *, times: int = 24) -> list[Answer]:
    """Requests of a caller whose token counts, from one address, eight at a time: both workers get some."""

    def ask(_: int) -> Answer:
        return stack.gateway.post(LISTS, stack.tokens["user"], headers={"X-Forwarded-For": address})

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, range(times)))


def analyzed(run: Run, *options: str) -> dict[str, Any]:
    told = run.native("audit", "analyze", *options, "--json")
    assert told.rc in {0, 1}, told
    return told.json


@row("A-50")
def nobody_guessed(run: Run) -> None:
    shown = run.sh("A-50")
    assert GUESSER not in shown.out, shown
    said = analyzed(run, "--decision", "deny", "--since", "2h")
    assert run.natives[-1].rc == 0, run.natives[-1]
    assert said["alarming"] == []
    run.answer(f"no line with {GUESSER}")


@row("A-50", fault="F9", within=60.0)
def the_guesser_stands_in_the_log(run: Run) -> None:
    def found() -> list[str]:
        run.stack.gateway.post(LISTS, "guess.again.now", headers={"X-Forwarded-For": GUESSER})
        return [line for line in run.sh("A-50").lines if GUESSER in line]

    lines = run.until(found, what="lines with the guesser's address")
    assert len(lines) < run.facts.values["count"], "ten lines at most, whatever happened"
    run.until(lambda: counted(run) >= run.facts.values["count"], what="every attempt in the log")
    said = analyzed(run, "--decision", "deny", "--since", "2h")
    assert run.natives[-1].rc == 1, run.natives[-1]
    assert {group["values"]["source_ip"] for group in said["alarming"]} == {GUESSER}, said
    run.answer(f"{len(lines)} lines with {GUESSER}")


def counted(run: Run) -> int:
    """Refused attempts of the guesser, as `airlock audit analyze` counts them."""
    asked = ("audit", "analyze", "--group", "subject,source_ip,action", "--since", "2h", "--json")
    told = run.stack.airlock(*asked)
    groups = told.json["groups"]
    return sum(group["denied"] for group in groups if group["values"]["source_ip"] == GUESSER)


@row("A-51")
def what_would_lock_operators_out_is_not_blocked(run: Run) -> None:
    for address, reason in (
        ("127.0.0.1", "would_lock_out"), ("0.0.0.0/0", "would_lock_out"), ("not-an-address", "invalid_ip"),
    ):  # fmt: skip
        shown = run.sh("A-51", ip=address)
        assert reason in shown.out, shown
    assert {answer.status for answer in asks(run.stack, GUESSER)} == {200}
    run.answer("would_lock_out, would_lock_out, invalid_ip")


@row("A-51", fault="F9")
def a_blocked_address_gets_403_from_every_worker(run: Run) -> None:
    shown = run.sh("A-51")
    assert shown.rc == 0, shown
    said = shown.json
    assert [block["cidr"] for block in said["blocks"]] == [f"{GUESSER}/32"], said
    assert (said["replicas_acked"], said["replicas_total"]) == (2, 2), said
    assert said["audit_seq"] > 0, said
    try:
        told = {answer.status for answer in asks(run.stack, GUESSER)}
        assert told == {403}, f"a worker lets a blocked address in: {told}"
        assert {answer.status for answer in asks(run.stack, BYSTANDER)} == {200}
    finally:
        run.stack.airlock("block", "remove", f"{GUESSER}/32", "--reason", "the check is over")
    assert {answer.status for answer in asks(run.stack, GUESSER)} == {200}
    ends_by_itself(run)
    run.answer(f"{said['blocks'][0]['cidr']} blocked by 2 of 2 workers; the next requests got 403")


def ends_by_itself(run: Run) -> None:
    """The native command, for a moment only."""
    told = run.native("block", "add", GUESSER, "--ttl", "3s", "--reason", "a moment", "--json")
    assert (told.rc, told.json["replicas_acked"]) == (0, 2), told
    run.until(
        lambda: {answer.status for answer in asks(run.stack, GUESSER)} == {200}, what="the end of the block"
    )


@row("A-51", fault="F13", within=60.0)
def a_worker_that_did_not_hear_of_it_is_counted(run: Run) -> None:
    shown = run.sh("A-51", ip="198.51.100.23")
    said = shown.json
    try:
        assert (said["replicas_acked"], said["replicas_total"]) == (1, 2), shown
        told = run.native("block", "add", "198.51.100.24", "--ttl", "1m", "--reason", "a check", "--json")
        assert told.rc == 3, told
    finally:
        for address in ("198.51.100.23/32", "198.51.100.24/32"):
            run.stack.airlock("block", "remove", address, "--reason", "the check is over")
    run.answer("blocked by 1 of 2 workers")


STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")


def exported(run: Run) -> list[dict[str, str]]:
    """The rows that A-55 wrote in the workload: without a header, so columns are those of the database."""
    shown = run.sh("A-55")
    assert (shown.rc, shown.err) == (0, ""), shown
    text = (run.stack.gateway.folder / "tmp" / "security-audit.csv").read_text()
    names = columns(run.stack.database)
    rows = list(csv.reader(io.StringIO(text), strict=True))
    assert all(len(cells) == len(names) for cells in rows)
    return [dict(zip(names, cells, strict=True)) for cells in rows]


def columns(database: Path) -> list[str]:
    return [str(name) for name, *_ in ask(database, "SELECT name FROM pragma_table_info('audit_events')")]


def ask(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(sql).fetchall()


def newest(run: Run) -> list[dict[str, str]]:
    """The export, once it has the call that was answered just before."""
    subject = f"last-{secrets.token_hex(6)}"
    token = run.stack.gateway.token(subject)
    assert run.stack.call("files__echo", token=token, text="the newest call").status == 200

    def found() -> list[dict[str, str]] | None:
        rows = exported(run)
        return rows if any(row["subject"] == subject for row in rows) else None

    return run.until(found, what="the newest call in the export")


@row("A-55")
def two_hours_of_the_log_and_nothing_else(run: Run) -> None:
    rows = newest(run)
    assert set(COLUMNS) <= set(rows[0])
    assert all(STAMP.fullmatch(row["timestamp"]) for row in rows), rows[0]
    inside = "SELECT COUNT(*) FROM audit_events WHERE timestamp > datetime('now', '{}')"
    assert ask(run.stack.database, inside.format("+5 minutes")) == [(0,)], "nothing is newer than the future"
    assert ask(run.stack.database, inside.format("-2 hours"))[0][0] >= len(rows)
    assert not any(GUESSER in row["metadata"] for row in rows)
    told = run.native("audit", "export", "--since", "2h", "--format", "csv", "--all-replicas")
    assert told.rc == 0, told
    natively = list(csv.DictReader(io.StringIO(told.out), strict=True))
    assert {row["id"] for row in rows} <= {row["id"] for row in natively}
    run.answer(f"{len(COLUMNS)} columns, no row of {GUESSER}")


@row("A-55", fault="F9", within=60.0)
def the_guesser_stands_in_the_export(run: Run) -> None:
    found = [row for row in newest(run) if GUESSER in row["metadata"]]
    assert found
    assert {row["decision"] for row in found} == {"deny"}, found
    told = run.native("audit", "export", "--since", "2h", "--format", "csv", "--all-replicas")
    assert GUESSER in told.out
    run.answer(f"rows of {GUESSER}, all of them denied")


@row("A-56")
@row("A-56", fault="F9", tells=False)
def the_copy_is_the_same(run: Run) -> None:
    exported(run)
    shown = run.sh("A-56")
    assert (shown.rc, shown.err) == (0, ""), shown
    copy = (run.session.folder / "security-audit.csv").read_bytes()
    assert copy == (run.stack.gateway.folder / "tmp" / "security-audit.csv").read_bytes()
    assert copy.count(b"\n") > 3
    told = run.native("audit", "export", "--since", "2h", "--format", "csv", "--all-replicas")
    assert (GUESSER in told.out) == (run.check.fault == "F9")
    run.answer("identical bytes")


def imported(run: Run) -> Shown:
    """A-57 and A-58 as they stand, on the database that `airlock audit export --sqlite` prepares."""
    newest(run)
    run.sh("A-56")
    name = f"{secrets.token_hex(6)}.db"
    made = run.stack.airlock("audit", "export", "--since", "2h", "--sqlite", f"/tmp/{name}")  # noqa: S108
    assert made.rc == 0, made
    prepared = (run.stack.gateway.folder / "tmp" / name).read_bytes()
    (run.session.folder / "security-audit.db").write_bytes(prepared)
    return run.sh(run.check.row)


@row("A-57")
@row("A-57", fault="F9", within=60.0)
def the_import_adds_rows_that_decide_nothing(run: Run) -> None:
    run.until(lambda: counted(run) >= run.facts.values.get("count", 0), what="every attempt in the log")
    shown = imported(run)
    database, lines = run.session.folder / "security-audit.db", run.session.folder / "security-audit.csv"
    silent = "SELECT COUNT(*) FROM audit_events WHERE decision IS NULL AND hash IS NULL"
    assert ask(database, silent) == [(lines.read_text().count("\n"),)], shown
    analyzed(run)
    attacked = ask(database, f"SELECT COUNT(*) > 0 FROM audit_events WHERE id LIKE '%{GUESSER}%'") == [(1,)]  # noqa: S608
    assert attacked == (run.check.fault == "F9")
    assert run.natives[-1].rc == int(attacked), run.natives[-1]
    run.answer(f"imported, {'with' if attacked else 'without'} rows of {GUESSER}")


@row("A-58")
def without_an_attack_the_refusals_are_few(run: Run) -> None:
    shown = imported(run)
    groups = [line.split("|") for line in shown.lines]
    assert all(len(group) == 5 and group[4] == "deny" for group in groups), shown
    assert GUESSER not in shown.out, shown
    said = analyzed(run, "--group", "subject,source_ip,action")
    assert run.natives[-1].rc == 0, run.natives[-1]
    assert said["alarming"] == []
    run.answer(f"no refusal of {GUESSER}")


@row("A-58", fault="F9", within=60.0)
def the_statement_counts_rows_and_the_native_command_attempts(run: Run) -> None:
    """Equal refusals of strangers share a row, which says how many: the statement counts that row once."""
    count = run.facts.values["count"]
    run.until(lambda: counted(run) >= count, what="every attempt in the log")
    shown = imported(run)
    [group] = [line.split("|") for line in shown.lines if f"|{GUESSER}|token_validate|deny" in line]
    assert 1 <= int(group[0]) < count, shown
    said = analyzed(run, "--group", "subject,source_ip,action")
    assert run.natives[-1].rc == 1, run.natives[-1]
    guessed = {"subject": None, "source_ip": GUESSER, "action": "token_validate"}
    [attempts] = [group["attempts"] for group in said["groups"] if group["values"] == guessed]
    assert attempts >= count, said
    run.answer(f"{GUESSER} token_validate deny: rows that stand for {count} attempts")


@row("A-59")
def nobody_reached_for_administration(run: Run) -> None:
    lines = reached(run)
    assert not lines, lines
    told = run.native("audit", "analyze", "--class", "privilege_escalation", "--json")
    assert (told.rc, told.json["groups"]) == (0, []), told
    run.answer("no privilege_escalation_attempt")


@row("A-59", fault="escalation")
def who_reached_for_administration_stands_in_the_export(run: Run) -> None:
    lines = run.until(lambda: reached(run), what="the attempt in the export")
    assert all(run.facts.values["subject"] in line for line in lines), lines
    told = run.native("audit", "analyze", "--class", "privilege_escalation", "--json")
    assert told.rc == 1, told
    assert [group["values"]["subject"] for group in told.json["alarming"]] == [run.facts.values["subject"]]
    run.answer(f"privilege_escalation_attempt of {run.facts.values['subject']}")


def reached(run: Run) -> list[str]:
    """What the words find, less what they find by accident."""
    newest(run)
    run.sh("A-56")
    return [line for line in run.sh("A-59").lines if "privilege_escalation_attempt" in line]


@row("A-60")
def the_pages_are_whole_and_the_log_is_proven(run: Run) -> None:
    shown = run.sh("A-60")
    assert shown.out == "ok\n", shown
    told = run.native("audit", "verify", "--json")
    assert told.rc == 0, told
    run.answer("ok")


@row("A-60", fault="F7e", tells=False)
@row("A-60", fault="F7d", tells=False)
@row("A-60", fault="F7t", tells=False)
def whole_pages_prove_nothing(run: Run) -> None:
    shown = run.sh("A-60")
    assert shown.out == "ok\n", shown
    tampering_is_found(run)
    run.answer("ok")


def tampering_is_found(run: Run) -> None:
    """`airlock audit verify` names the first record that is not what it was."""
    told = run.native("audit", "verify", "--json")
    assert told.rc == 1, told
    seq, chain = run.facts.values["seq"], run.facts.values["chain_uid"]
    findings = [finding for finding in told.json["findings"] if finding["chain_uid"] == chain]
    last_good = f"seq {seq - 1}"
    assert any(finding["seq"] in {seq, seq + 1} or finding["seen"] == last_good for finding in findings), told


@row("A-61")
def the_copy_has_the_same_heads(run: Run) -> None:
    before = heads(run.stack.database)
    shown = run.sh("A-61")
    assert (shown.rc, shown.err) == (0, ""), shown
    [copy] = list((run.stack.gateway.folder / "tmp").glob("forensic-backup-*.db"))
    try:
        assert ask(copy, "PRAGMA integrity_check") == [("ok",)]
        assert all(heads(copy)[chain] >= head for chain, head in before.items())
        same = "SELECT hash FROM audit_log WHERE chain_uid = '{}' AND seq = {}"
        for chain, head in heads(copy).items():
            found = ask(copy, same.format(chain, head))
            assert len(found) == 1
            assert found == ask(run.stack.database, same.format(chain, head))
        told = run.stack.airlock("audit", "verify", "--db", f"/tmp/{copy.name}", "--json", config=False)  # noqa: S108
        assert told.rc == 0, told
    finally:
        copy.unlink()
    kept_and_hashed(run, before)
    run.answer(f"opens, {len(before)} chains with the same head hashes")


def kept_and_hashed(run: Run, before: dict[str, int]) -> None:
    """The native command keeps the same copy outside of the pod's `/tmp`, with its hash in a manifest."""
    told = run.native("evidence", "collect", "--incident", "INC-20261122-210700", "--quick", "--json")
    assert told.rc == 0, told
    bundle = run.stack.gateway.data / "evidence" / Path(told.json["path"]).name
    [copy] = (bundle / "data" / "forensic").glob("forensic-backup-*.db")
    assert all(heads(copy)[chain] >= head for chain, head in before.items())
    listed = f"data/forensic/{copy.name}"
    assert listed in (bundle / "manifest-sha256.txt").read_text(), listed


def heads(database: Path) -> dict[str, int]:
    return dict(ask(database, "SELECT chain_uid, head_seq FROM audit_chains"))
