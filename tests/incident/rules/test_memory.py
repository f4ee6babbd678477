"""What detection remembers, and what rows mean because of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident.detect import learned, memory
from airlock.incident.detect.memory import DAY, HOUR, Memory
from airlock.incident.detect.seen import Seen, client, network, of_row, seconds

START = datetime(2026, 11, 16, 8, tzinfo=UTC).timestamp()


@pytest.fixture
def kept() -> Iterator[Memory]:
    with closing(Memory()) as made:
        yield made


def call(at: float, **fields: Any) -> Seen:
    usual: dict[str, Any] = {
        "id": f"{at}", "event_type": "call", "phase": "outcome", "action": "tool_call", "decision": "allow",
        "tenant": "acme", "issuer": "i", "subject": "ada", "server": "pay", "tool": "wipe",
        "network": "203.0.113.0/24", "client": "agent", "token": "t", "session": "s", "revision": "r1",
    }  # fmt: skip
    return Seen(at=START + at, **{**usual, **fields})


def after(kept: Memory, *rows: Seen) -> Seen:
    """The last of these rows, once memory took them in."""
    kept.feed(rows)
    return rows[-1]


def test_another_program_in_another_network_is_a_move(kept: Memory) -> None:
    assert after(kept, call(0)).moved == ""
    assert after(kept, call(10, network="198.51.100.0/24")).moved == ""
    assert after(kept, call(20, network="198.51.100.0/24", client="curl")).moved == ""
    assert after(kept, call(30)).moved == "session"
    assert after(kept, call(40, session="", network="192.0.2.0/24", client="curl")).moved == "token"


def test_no_move_without_network_client_or_within_another_issuer(kept: Memory) -> None:
    after(kept, call(0))
    assert after(kept, call(1, network="", client="curl")).moved == ""
    assert after(kept, call(2, network="192.0.2.0/24", client="")).moved == ""
    assert after(kept, call(3, network="192.0.2.0/24", client="curl", issuer="j")).moved == ""
    assert after(kept, call(2 * HOUR, network="192.0.2.0/24", client="curl")).moved == ""


def test_a_move_is_seen_also_after_a_new_start(tmp_path: Path) -> None:
    with closing(Memory(tmp_path / "m.db")) as first:
        first.feed([call(0)])
    with closing(Memory(tmp_path / "m.db")) as second:
        assert after(second, call(60, network="192.0.2.0/24", client="curl")).moved == "session"


def refusal(at: float, **fields: Any) -> Seen:
    return call(at, phase="single", decision="deny", reason="policy_denied", **fields)


def test_a_refusal_that_another_policy_or_role_allows_is_a_flip(kept: Memory) -> None:
    assert after(kept, refusal(0), call(60, revision="r2")).flipped == 1
    assert after(kept, call(70, revision="r2")).flipped == 0
    assert after(kept, refusal(100, roles="user"), call(160, roles="admin user")).flipped == 1
    assert after(kept, refusal(200), call(260)).flipped == 0
    assert after(kept, refusal(300), call(1000, revision="r2")).flipped == 0
    assert after(kept, refusal(2000, tool=""), call(2010, tool="", revision="r2")).flipped == 0


def test_hours_are_unusual_once_a_week_is_known(kept: Memory) -> None:
    kept.feed([call(day * DAY, sensitivity="low") for day in range(6)])
    night = 6 * DAY + 12 * HOUR
    assert after(kept, call(night, sensitivity="high")).unusual_hour == 0
    kept.feed([call(day * DAY, sensitivity="low") for day in (6, 7)])
    assert after(kept, call(8 * DAY + 6 * HOUR, sensitivity="high")).unusual_hour == 1
    assert after(kept, call(8 * DAY + HOUR, sensitivity="high")).unusual_hour == 0
    assert after(kept, call(8 * DAY - HOUR, sensitivity="high")).unusual_hour == 0
    assert after(kept, call(9 * DAY + 6 * HOUR, sensitivity="low")).unusual_hour == 0


def test_the_hour_before_midnight_is_beside_the_one_after(kept: Memory) -> None:
    kept.feed([call(day * DAY + 15.5 * HOUR) for day in range(8)])
    assert after(kept, call(9 * DAY + 16.2 * HOUR, sensitivity="high")).unusual_hour == 0


def test_idle_days_say_no_more_than_memory_knows(kept: Memory) -> None:
    assert after(kept, call(0, sensitivity="critical")).idle_days == 0
    kept.feed([call(5 * DAY)])
    assert after(kept, call(10 * DAY, sensitivity="critical", subject="bob")).idle_days == 10
    assert after(kept, call(31 * DAY, sensitivity="critical")).idle_days == 31
    assert after(kept, call(31.5 * DAY, sensitivity="critical")).idle_days == 0.5


def test_hours_count_calls_bytes_redactions_and_slow_ones(kept: Memory) -> None:
    kept.feed([
        call(0, bytes=10), call(1, bytes=5, latency_ms=201), refusal(2, bytes=99),
        call(3, event_type="redaction", action="redact_data", phase="single", decision="", redactions=3),
    ])  # fmt: skip
    kept.feed([call(4, bytes=1)])
    assert kept.db.execute("SELECT calls, bytes, redactions, slow FROM hours").fetchall() == [(3, 16, 3, 1)]


def test_old_rows_go_and_the_newest_stay(kept: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.feed([call(number * HOUR) for number in range(5)])
    kept.forget(START + 4 * HOUR)
    assert kept.db.execute("SELECT COUNT(*) FROM events").fetchone() == (3,)
    assert kept.shortened is False
    monkeypatch.setattr(memory, "MOST_EVENTS", 2)
    monkeypatch.setattr(memory, "MOST_HOURS", 3)
    kept.forget(START + 4 * HOUR)
    assert kept.db.execute("SELECT MIN(at) FROM events").fetchone() == (START + 3 * HOUR,)
    assert kept.shortened is True
    assert kept.db.execute("SELECT COUNT(*) FROM hours").fetchone()[0] <= 3
    kept.forget(START + 40 * DAY)
    for table in ("events", "hours", "habits"):
        assert kept.db.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)  # noqa: S608


def test_places_and_rows_are_kept_together(tmp_path: Path) -> None:
    with closing(Memory(tmp_path / "m.db")) as first:
        first.feed([call(0)], n=7)
        with pytest.raises(sqlite3.IntegrityError):
            first.feed([call(1)], n=None)  # pyright: ignore[reportArgumentType]
    assert (tmp_path / "m.db").stat().st_mode & 0o777 == 0o600
    with closing(Memory(tmp_path / "m.db")) as second:
        assert (second.standing("n"), second.standing("other")) == (7, 0)
        assert second.db.execute("SELECT COUNT(*) FROM events").fetchone() == (1,)
        second.clear()
        assert second.standing("n") == 0


def test_a_file_of_another_version_begins_anew(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "m.db")) as db:
        db.execute("CREATE TABLE events (old TEXT)")
    with closing(Memory(tmp_path / "m.db")) as made:
        assert after(made, call(0)).moved == ""


def test_what_is_at_hand_is_bounded(kept: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MOST_REMEMBERED", 10)
    rows = [call(n, session=f"s{n}", token=f"t{n}", subject=f"p{n}") for n in range(100)]
    kept.feed(rows)
    places: dict[Any, Any] = vars(kept.learned)["_places"]
    assert len(places) <= 10
    assert (
        after(kept, call(200, session="s3", token="", network="192.0.2.0/24", client="curl")).moved
        == "session"
    )


ROW = (
    1, "id", "2026-11-16 08:00:00.000000", "acme", "ada", "203.0.113.7",
    '{"issuer":"i","user_agent":"agent/1.2 (x)","client_info":"{\\"name\\":\\"desk\\"}","token_id":"t"}',
    "call", "single", "tool_call", "notes", "read", "d", "r", "deny", "policy_denied: not_yours", "MEDIUM",
    12, None, '{"count":3,"sensitivity":"high","read_only":true,"marks":["command"],"detectors":{"email":2}}',
    b'{"identity":{"roles":["user","admin"]}}',
)  # fmt: skip


def test_a_row_becomes_flat() -> None:
    row = of_row(ROW)
    assert row is not None
    assert (row.at, row.network, row.client, row.reason, row.policy_reason, row.times) == (
        START, "203.0.113.0/24", "agent (x) desk", "policy_denied", "not_yours", 3,
    )  # fmt: skip
    assert (row.roles, row.marks, row.detectors, row.read_only, row.target) == (
        "admin user", " command ", " email ", 1, "notes/read",
    )  # fmt: skip


def changed(**at: Any) -> tuple[Any, ...]:
    places = {"metadata": 19, "data": 6, "entry": 20, "timestamp": 2, "source_ip": 5}
    row = list(ROW)
    for name, value in at.items():
        row[places[name]] = value
    return tuple(row)


def test_what_a_foreign_hand_wrote_counts_with_what_can_be_read() -> None:
    row = of_row(
        changed(metadata="no json", data='{"issuer": 7}', entry=b"\xff", timestamp="never", source_ip="x")
    )
    assert row is not None
    assert (row.at, row.issuer, row.roles, row.times, row.network) == (0.0, "", "", 1, "")
    odd = of_row((1, *(7.5 for _ in ROW[1:])))
    assert odd == Seen(n=1, phase="")


def test_what_the_gateway_does_to_see_whether_it_works_is_no_row() -> None:
    assert of_row(changed(metadata='{"synthetic":true}')) is None
    asked = of_row(changed(metadata='{"asked":17}'))
    assert asked is not None
    assert asked.target == "notes/#17"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_the_network_of_an_address(address: str, expected: str) -> None:
    assert network(address) == expected


def test_an_update_of_a_program_is_the_same_program() -> None:
    assert client("agent/1.2.3", '{"name":"desk","version":"9"}') == client(
        "agent/1.3.0-beta", '{"name":"desk"}'
    )
    assert client("agent/1.2.3", "") != client("curl/8.1", "")


@given(st.text(), st.text(), st.text())
def test_strange_words_of_a_client_break_nothing(agent: str, info: str, at: str) -> None:
    assert len(client(agent, info)) <= 401
    assert seconds(at) >= 0 or at
    network(at)
