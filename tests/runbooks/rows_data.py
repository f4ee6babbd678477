"""Redaction and the links of the log: A-66, A-67, A-69."""

from __future__ import annotations

import json
from typing import Any

from tests.runbooks.registry import Run, row
from tests.runbooks.rows_breach import tampering_is_found

CALLS = 3


def redactions(run: Run) -> list[dict[str, Any]]:
    """Lines of the event `redact` that A-66 shows."""
    lines = (json.loads(line) for line in run.sh("A-66").lines if line.startswith("{"))
    return [line for line in lines if line["event"] == "redact"]


def taken_out(run: Run) -> int:
    """How many values were taken out of the answers of `files__echo`, as `airlock redaction stats` counts."""
    told = run.stack.airlock("redaction", "stats", "--json")
    found = told.json["redactions"]
    return sum(each["redactions"] for each in found if (each["server"], each["tool"]) == ("files", "echo"))


@row("A-66")
def nothing_is_taken_out_of_harmless_answers(run: Run) -> None:
    before, seen = taken_out(run), {line["correlation_id"] for line in redactions(run)}
    for _ in range(CALLS):
        assert run.stack.call("files__echo", text="nothing to hide").status == 200
    assert {line["correlation_id"] for line in redactions(run)} <= seen
    told = run.native("redaction", "stats", "--json")
    assert told.rc == 0, told
    assert taken_out(run) == before
    run.answer("no further line")


@row("A-66", fault="F11")
def what_was_taken_out_is_told_without_its_value(run: Run) -> None:
    canaries = run.facts.values["canaries"]
    before = taken_out(run)
    for _ in range(CALLS):
        answer = run.stack.call("files__echo", text="tell me").body.decode()
        assert not any(value in answer for value in canaries.values()), answer
    lines = run.until(lambda: redactions(run), what="redact among the last lines")
    assert all({"pattern", "tool", "count"} <= line.keys() for line in lines), lines
    assert not any(value in json.dumps(lines) for value in canaries.values()), lines
    wanted = before + CALLS * len(canaries)
    run.until(lambda: taken_out(run) == wanted, what="every redaction in the statistics")
    told = run.native("redaction", "stats", "--json")
    assert {each["detector"] for each in told.json["redactions"]} >= set(canaries), told
    run.answer(f"redact: {lines[-1]['pattern']}, tool {lines[-1]['tool']}")


def totals(run: Run) -> tuple[int, int]:
    """Events and redactions of a day, as A-67 shows them."""
    shown = run.sh("A-67")
    assert shown.rc == 0, shown
    events, redacted = shown.out.strip().split("|")
    return int(events), int(redacted or 0)


@row("A-67")
def a_harmless_answer_changes_no_count(run: Run) -> None:
    before = totals(run)
    assert run.stack.call("files__echo", text="nothing to hide").status == 200
    assert totals(run) == before
    told = run.native("redaction", "verify", "--json")
    assert told.rc == 0, told
    run.answer("the counts stay")


@row("A-67", fault="F11")
def the_counts_are_those_of_what_was_injected(run: Run) -> None:
    canaries = run.facts.values["canaries"]
    events, redacted = totals(run)
    for _ in range(CALLS):
        assert run.stack.call("files__echo", text="tell me").status == 200
    wanted = (events + CALLS, redacted + CALLS * len(canaries))
    more = f"{CALLS} more events, {CALLS * len(canaries)} more redactions"
    run.until(lambda: totals(run) == wanted, what=more)
    run.answer(more)


@row("A-67", fault="unredacted", tells=False)
def the_counts_say_nothing_of_what_was_missed(run: Run) -> None:
    before = totals(run)
    answer = run.stack.call("files__echo", text="canary.person@example.org").body.decode()
    assert "canary.person@example.org" in answer, "it came back"
    assert totals(run) == before
    told = run.native("redaction", "verify", "--json")
    assert told.rc == 1, told
    run.answer("the counts stay")


@row("A-69")
def every_record_has_the_one_before(run: Run) -> None:
    shown = run.sh("A-69")
    assert shown.out == "0\n", shown
    told = run.native("audit", "verify", "--json")
    assert told.rc == 0, told
    run.answer("0")


@row("A-69", fault="F7d")
def a_deleted_record_is_missed_by_the_next(run: Run) -> None:
    shown = run.sh("A-69")
    assert shown.out == "1\n", shown
    tampering_is_found(run)
    run.answer("1")


@row("A-69", fault="F7e", tells=False)
@row("A-69", fault="F7t", tells=False)
@row("A-69", fault="F7k", tells=False)
def what_is_linked_may_still_be_forged(run: Run) -> None:
    shown = run.sh("A-69")
    assert shown.out == "0\n", shown
    tampering_is_found(run)
    run.answer("0")
