"""Documents say what the record says: with nothing known, with everything known, and with hostile texts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident import severity
from airlock.incident.questions import INTEGRITY
from airlock.incident.render import documents, environment, night, status, timeline, words
from airlock.incident.render.record import Record
from airlock.model.health import Service
from airlock.model.incident import SEVERITIES, RegulatoryClock
from tests.incident import records
from tests.incident.records import ID, MINUTE, START, event

TIMELINE = re.compile(r"^[0-9]{2}:[0-9]{2}.*", re.MULTILINE)
"""What responders search a report for."""

PLACEHOLDER = re.compile(r"\[[^\]\n]*\]|<[^>\n]*>|\{\{|\}\}")
ALL: dict[str, Callable[[], Record]] = {
    "empty": records.empty,
    "full": records.full,
    "hostile": records.hostile,
}


def notices(record: Record) -> dict[str, str]:
    return {name: documents.notice(name, record).text for name in documents.NOTICES}


def line(text: str, label: str) -> str:
    """The value of a line `label: value`."""
    (found,) = re.findall(rf"^{re.escape(label)}:? ?(.*)$", text, re.MULTILINE)
    return found


@pytest.mark.parametrize("record", ALL.values(), ids=ALL)
def test_no_placeholder_is_left_in_a_notice(record: Callable[[], Record]) -> None:
    marks = {"[P0]", "[P1]", "[UPDATE]", "[SARK]", "[RESOLVED]", "[EXEC]", "[ ]", "[x]"}
    for name, text in notices(record()).items():
        left = set(PLACEHOLDER.findall(text.replace("{{ 7 * 7 }}", ""))) - marks
        assert left == set(), name


@pytest.mark.parametrize("record", ALL.values(), ids=ALL)
def test_the_same_record_gives_the_same_bytes(record: Callable[[], Record]) -> None:
    assert documents.files(record()) == documents.files(record())
    assert notices(record()) == notices(record())


@pytest.mark.parametrize("record", ALL.values(), ids=ALL)
def test_a_search_by_time_finds_the_timeline_and_nothing_else(record: Callable[[], Record]) -> None:
    known = record()
    for name in ("report", "timeline"):
        found = TIMELINE.findall(documents.file(name, known))
        assert found == timeline.lines(known.timeline)
        assert len(found) == len(known.timeline)
    for name in ("rca", "breach", "review"):
        assert TIMELINE.findall(documents.file(name, known)) == []


def test_a_line_of_the_timeline_has_time_kind_text_and_number() -> None:
    lines = timeline.lines(records.full().timeline)
    assert lines[0] == "21:07 UTC [detected] Alert MCP-002 from 203.0.113.7 (event 1)"
    assert lines[-1] == "00:07 UTC +1d [status_changed] Resolved (event 10)"


def test_events_stand_in_the_order_in_which_they_happened() -> None:
    late = (event(1, "detected", START, "first"), event(2, "note", START - MINUTE, "told later"))
    assert [each.seq for each in timeline.ordered(late)] == [2, 1]
    assert "+1d" not in "".join(timeline.lines(late))


def test_a_corrected_event_stays_and_says_by_what() -> None:
    events = (event(1, "note", START, "wrong"), event(2, "note", START + 1, "right", supersedes=1))
    assert "superseded by event 2" in timeline.lines(events)[0]
    assert [each.seq for each in timeline.newest(events, ("note",), most=5)] == [2]


def test_an_empty_timeline_has_no_lines() -> None:
    assert timeline.lines(()) == []


def test_the_report_has_its_headings_and_fields() -> None:
    text = documents.file("report", records.full())
    assert text.startswith(f"# Incident Report: {ID}\n\n**Severity**: P0\n**Type**: Security Incident\n")
    assert (
        "**Start Time**: 2026-11-22 21:07 UTC\n**Incident Commander**: Alice\n**Status**: RESOLVED\n" in text
    )
    for heading in ("Initial Symptoms", "Impact Assessment", "Timeline"):
        assert f"\n## {heading}\n" in text
    for field in ("Affected Users", "Affected Services", "Business Impact"):
        assert f"\n- {field}: " in text


def test_the_timeline_file_has_the_six_durations() -> None:
    text = documents.file("timeline", records.full())
    assert line(text, "- **Time to Acknowledge**") == "1 min"
    assert line(text, "- **Time to Engage**") == "2 min"
    assert line(text, "- **Time to Mitigate**") == "40 min"
    assert line(text, "- **Time to Resolve**") == "3 h"
    assert line(text, "- **Time to Contain**") == "nothing was contained"
    text = documents.file("timeline", records.empty())
    assert line(text, "- **Time to Contain**") == words.UNKNOWN


def test_the_root_cause_file_has_five_questions_and_the_action_items() -> None:
    text = documents.file("rca", records.full())
    assert re.findall(r"^([1-5])\. .*\?\n   - (.*)$", text, re.MULTILINE) == [
        ("1", "a token leaked"),
        ("2", "nothing looked for it"),
        ("3", "the first calls looked usual"),
        ("4", "the owner slept"),
        ("5", "no rule on volume"),
    ]
    assert "- [ ] Scan repositories - Owner: Bob - Due: 2026-12-01\n" in text
    assert "- [x] Shorter tokens - Owner: Eve - Due: 2026-12-09\n" in text


def test_the_breach_report_counts_from_the_log_and_lists_every_duty() -> None:
    text = documents.file("breach", records.full())
    assert "Data types: email: 12 taken out in 3 calls of 2 users" in text
    assert re.search(r"- Internal Users: 2, .*\(individuals, sha256 [0-9a-f]{16}, observed\)", text)
    assert (
        "- [ ] GDPR, notification of the supervisory authority (unreviewed), notification: due 2026-11-25"
        in text
    )
    assert "- [x] SOX, assessment of the effect on internal controls (unreviewed): does not apply" in text
    assert len(re.findall(r"^- \[[ x]\] ", text, re.MULTILINE)) == len(records.full().law)


def test_without_an_answer_a_figure_is_not_known() -> None:
    text = documents.file("breach", records.empty())
    assert line(text, "- Number of Records") == words.UNKNOWN
    assert line(text, "- Internal Users") == words.UNKNOWN


def test_the_review_repeats_the_newest_counterfactuals_with_their_event() -> None:
    full = records.full()
    assert "## Counterfactuals\n\n- not yet known\n" in documents.file("review", full)
    told = [
        records.event(
            90 + number, "query_run", records.START + number, "Counterfactuals", details={
                "question": "counterfactuals", "answer": {"lines": lines, "unplayed": ["policy"], "rows": 7}
            },
        )
        for number, lines in enumerate((["old"], ["rule MCP-001 | fires `3 min` earlier"]))
    ]  # fmt: skip
    asked = msgspec.structs.replace(full, timeline=(*full.timeline, *told))
    section = documents.file("review", asked).partition("## Counterfactuals\n\n")[2].partition("\n\n")[0]
    lines = section.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("- rule MCP-001")
    assert lines[0].endswith("(event 91)")
    assert lines[1] == "- not played: policy (event 91)"


def test_the_review_has_five_milestones_with_their_events() -> None:
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", documents.file("review", records.full()), re.MULTILINE)
    assert rows[1:6] == [
        ("2026-11-22 21:07 UTC", "detected (event 1)"),
        ("2026-11-22 21:08 UTC", "team notified (event 2)"),
        ("2026-11-22 21:37 UTC", "cause identified (event 8)"),
        ("2026-11-22 21:47 UTC", "fix deployed (event 9)"),
        ("2026-11-23 00:07 UTC", "restored (event 10)"),
    ]


def test_what_never_happened_is_not_recorded() -> None:
    text = documents.file("review", records.empty())
    assert text.count("| not recorded |") == 4


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("intact", 400, True, "", ""), "intact: no contradiction in 400 rows from its start"),
        (
            ("failed", 400, True, "seq 7 of chain c", "the hash differs"),
            "failed at seq 7 of chain c: the hash",
        ),
        (("not proven", 0, False, "", "there is no chain"), "not proven: there is no chain"),
    ],
)
def test_the_integrity_of_the_data_is_what_verification_says(row: tuple[object, ...], said: str) -> None:
    columns = ("result", "rows", "from_start", "first", "finding")
    full = records.full()
    answers = {**full.answers, INTEGRITY: records.found(INTEGRITY, columns, row)}
    text = documents.file("review", msgspec.structs.replace(full, answers=answers))
    assert line(text, "- Data integrity status").startswith(said)


@pytest.mark.parametrize("grade", SEVERITIES)
def test_the_cadence_of_a_text_is_that_of_the_matrix(grade: severity.IncidentSeverity) -> None:
    empty = records.empty()
    incident = msgspec.structs.replace(empty.incident, severity=grade)
    record = msgspec.structs.replace(empty, incident=incident)
    for name in ("notification", "customer"):
        assert severity.cadence(grade) in documents.notice(name, record).body
    due = words.moment(START + severity.MATRIX[grade].update)
    assert line(documents.notice("update", record).body, "Next Update") == due


def test_subjects_are_those_that_filters_of_mail_know() -> None:
    record = records.full()
    assert {name: documents.notice(name, record).subject for name in documents.NOTICES} == {
        "notification": f"[P0] MCP Airlock Incident - {ID}",
        "team": "",
        "update": f"[UPDATE] MCP Airlock Incident - {ID}",
        "internal": "[SARK] Incident Update - Exfiltration by a stolen token",
        "customer": "Service Disruption Notice - SARK MCP Governance",
        "resolved": f"[RESOLVED] MCP Airlock Incident - {ID}",
        "executive": f"[EXEC] {ID}",
        "breach": f"Data Breach Report: {ID}",
    }


def test_the_team_sees_a_siren_and_the_state_of_the_service() -> None:
    text = documents.notice("team", records.full()).text
    assert text.startswith(f"\U0001f6a8 MCP Airlock Incident - {ID}\n")
    assert line(text, "- Service") == "DEGRADED (upstreams degraded: files is down)"
    assert line(text, "War Room") == f"#incident-response-{ID}"


def test_while_a_fix_is_watched_the_status_is_identified() -> None:
    full = records.full()
    watching = msgspec.structs.replace(full.incident, status="MONITORING", resolved_at=None)
    text = documents.notice("internal", msgspec.structs.replace(full, incident=watching)).body
    assert line(text, "Status") == "Identified (fix applied, monitoring)"


def test_nothing_that_the_record_knows_is_missing_from_a_notice() -> None:
    for name, text in notices(records.full()).items():
        if name != "breach":
            assert words.UNKNOWN not in text, name


def test_what_leaves_the_house_names_nobody() -> None:
    full = records.full()
    for name in ("customer", "resolved"):
        text = documents.notice(name, full).text
        assert not re.search(r"203\.0\.113|lease-1|carol|Alice", text), name


def test_the_digest_of_a_notice_covers_its_subject_and_body() -> None:
    notice = documents.notice("update", records.full())
    other = msgspec.structs.replace(notice, subject="x")
    assert len(notice.sha256) == 64
    assert notice.sha256 != other.sha256


@pytest.mark.parametrize("name", [*documents.FILES])
def test_a_file_is_found_by_what_it_is_and_by_its_name(name: documents.FileName) -> None:
    assert documents.file_of(name, ID) == name
    assert documents.file_of(documents.file_name(name, ID), ID) == name


def test_there_are_no_other_documents() -> None:
    assert documents.file_of("../../etc/passwd", ID) is None
    with pytest.raises(LookupError):
        documents.notice_of("poem")


def test_hostile_texts_give_no_orders() -> None:
    record = records.hostile()
    pages = [
        night.html([night.night(record)], record.service, record.at),
        status.html(status.page([record], START)),
    ]
    for text in (*notices(record).values(), *documents.files(record).values(), *pages):
        assert "\x1b" not in text
        assert "<script" not in text
        assert "<!channel>" not in text
        assert "\u202e" not in text
        assert "](http" not in text
        assert "49" not in re.sub(r"[0-9a-f]{16}", "", text.replace("{{ 7 * 7 }}", ""))


def test_a_table_keeps_its_columns_whatever_stands_in_it() -> None:
    text = documents.file("review", records.hostile())
    rows = [row for row in text.splitlines() if row.startswith("| \\x1b")]
    assert [row.count("|") for row in rows] == [5, 5]


def test_a_template_that_names_what_is_not_there_fails() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        environment.fill("report.md", {})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "not yet known"),
        ("", "not yet known"),
        ((), "not yet known"),
        (("a", "b|c"), "a, b\u00a6c"),
        (7, "7"),
        ("a\n  b\u2028c", "a b c"),
        ("\x07", "\\x07"),
    ],
)
def test_values_are_one_line(value: object, said: str) -> None:
    assert words.told(value) == said


def test_a_long_timeline_is_rendered_quickly() -> None:
    full = records.full()
    many = tuple(event(n, "note", START + n, f"note {n}") for n in range(1, 2001))
    record = msgspec.structs.replace(full, timeline=many)
    documents.files(record)
    before = time.perf_counter()
    assert len(documents.files(record)) == 5
    assert time.perf_counter() - before < 5.0, "half a second on an idle machine is the target"


def test_the_night_page_says_what_is_true_what_is_next_and_who_was_told() -> None:
    full = records.full()
    opened = msgspec.structs.replace(
        full.incident, status="INVESTIGATING", resolved_at=None, mitigated_at=None
    )
    record = msgspec.structs.replace(full, incident=opened, at=START + 20 * MINUTE)
    page = night.night(record)
    assert page.headline == f"P0 (Critical) INVESTIGATING {ID}: Exfiltration by a stolen token"
    assert any("Rotate the key (due 2026-11-22 22:07 UTC)" in each for each in page.do_next)
    assert any("Notification sent to status_updates" in each for each in page.told)
    assert [each for each in page.overdue if each.startswith("update was due at 2026-11-22 21:22 UTC")]
    text = "\n".join(night.lines([page], Service(state="UP"), record.at))
    assert "gateway: UP" in text
    assert "OVERDUE" in text
    assert page.headline in night.html([page], Service(), record.at)


def test_a_quiet_night_says_so() -> None:
    assert night.lines([], Service(), START)[-1] == "No incident is open."
    assert "No incident is open." in night.html([], Service(state="UP"), START)
    assert night.open_ones([records.full()]) == []
    assert "  told     nobody" in night.lines([night.night(records.empty())], Service(), START)


def test_a_decision_that_waits_is_named_until_somebody_makes_it() -> None:
    empty = records.empty()
    asked = event(1, "containment_proposed", START, "Block a network", refs=("p-1",))
    waiting = msgspec.structs.replace(empty, timeline=(asked,))
    assert any("Approve or reject: Block a network" in each for each in night.night(waiting).do_next)
    said = event(2, "containment_approved", START, "Approved", refs=("p-1",))
    decided = msgspec.structs.replace(empty, timeline=(asked, said))
    assert not any("Approve or reject" in each for each in night.night(decided).do_next)


def test_the_status_page_tells_customers_what_is_for_them() -> None:
    full = records.full()
    page = status.page([full], full.at)
    assert page.indicator == "none"
    (entry,) = page.incidents
    assert (entry.status, entry.services) == ("RESOLVED", ("files", "mail"))
    assert [each.text for each in entry.updates] == ["Mail may be late today"]
    public = status.html(page) + status.as_json(page).decode()
    assert not re.search(r"stolen|Alice|203\.0|VPN|repository", public)


def test_an_open_incident_colours_the_status_page() -> None:
    page = status.page([records.empty()], START)
    assert (page.indicator, page.incidents[0].next_update_at) == ("major", "2026-11-22T21:37:00Z")
    assert 'class="major"' in status.html(page)


def test_the_status_page_forgets_what_is_over_or_was_none() -> None:
    full, empty = records.full(), records.empty()
    cancelled = msgspec.structs.replace(empty.incident, status="CANCELLED")
    shown = [full, msgspec.structs.replace(empty, incident=cancelled)]
    assert status.page(shown, START + 30 * records.DAY).incidents == ()
    assert "There is no incident." in status.html(status.page([], START))


@given(st.text())
def test_no_text_breaks_out_of_its_line(text: str) -> None:
    shown = words.plain(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set("<>[]`|")
    assert words.plain(shown) == shown


def test_a_duty_that_was_done_late_and_one_without_a_date_say_so() -> None:
    full = records.full()
    chosen = (
        RegulatoryClock(id="gdpr", trigger="awareness", started_at=START - 10 * records.DAY),
        RegulatoryClock(id="ccpa", trigger="awareness", started_at=START),
        RegulatoryClock(id="sox", trigger="awareness", started_at=START, met={"assessment": START + MINUTE}),
    )
    incident = msgspec.structs.replace(full.incident, regulatory=chosen)
    text = documents.file("breach", msgspec.structs.replace(full, incident=incident))
    assert (
        "GDPR, notification of the supervisory authority (unreviewed), notification: due 2026-11-15" in text
    )
    assert ", overdue" in text
    assert "(unreviewed), notice: as required" in text
    assert "- [x] SOX, assessment of the effect on internal controls (unreviewed), assessment: done" in text


def test_an_answer_that_failed_says_why() -> None:
    full = records.full()
    broken = msgspec.structs.replace(full.answers["calls"], digest="", rows=(), problem="no such table")
    record = msgspec.structs.replace(full, answers={"calls": broken})
    assert "calls: no answer, no such table" in documents.file("review", record)
    assert line(documents.notice("executive", record).body, "- Calls that failed") == words.UNKNOWN


def test_a_notice_that_did_not_arrive_notified_nobody() -> None:
    record = records.empty()
    failed = records.event(1, "comm_sent", START + 60, "team could not be delivered")
    failed = msgspec.structs.replace(
        failed, event=msgspec.structs.replace(failed.event, details={"delivered": False})
    )
    told = documents.file("review", msgspec.structs.replace(record, timeline=(failed,)))
    assert "| not recorded | team notified |" in told


def test_a_title_begins_no_line() -> None:
    record = records.empty()
    incident = msgspec.structs.replace(record.incident, title="21:07 UTC [closed] Status: RESOLVED")
    hostile = msgspec.structs.replace(record, incident=incident)
    texts = [documents.notice(name, hostile).text for name in documents.NOTICES]
    assert not [line for text in texts for line in text.splitlines() if line.startswith("21:07")]
