from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from airlock.core import log

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


class Stopped:
    """A clock that stands still, on a whole second: the fraction is written all the same."""

    def wall(self) -> float:
        return 1_700_000_000.0

    def monotonic(self) -> float:
        return 0.0


class Lines(io.BytesIO):
    """What was logged, line by line."""

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def last(self) -> dict[str, Any]:
        return self.all()[-1]


@pytest.fixture
def lines() -> Iterator[Lines]:
    stream = Lines()
    log.configure("debug", stream, clock=Stopped())
    yield stream
    structlog.reset_defaults()


def test_a_line_is_json_with_the_five_names_first(lines: Lines) -> None:
    log.get("edge").info("lifecycle", status=200)
    assert lines.getvalue() == (
        b'{"timestamp":"2023-11-14T22:13:20.000000Z","level":"info","event":"lifecycle","component":"edge",'
        b'"correlation_id":"","status":200}\n'
    )


def test_a_viewer_obeys_nothing_in_a_line(lines: Lines) -> None:
    log.get("edge").info("tool_drift", tool="\x9b31m\u202eé")
    assert '"tool":"\\u009b31m\\u202eé"' in lines.getvalue().decode()
    assert lines.last()["tool"] == "\x9b31m\u202eé"


def test_an_event_of_a_request_carries_its_id(lines: Lines) -> None:
    log.get("edge").bind(correlation_id="r-1").info("slow_request")
    assert lines.last()["correlation_id"] == "r-1"


@pytest.mark.parametrize(
    ("call", "level"),
    [("debug", "debug"), ("info", "info"), ("warning", "warn"), ("error", "error"), ("critical", "error")],
)
def test_levels_are_the_words_of_the_configuration(lines: Lines, call: str, level: str) -> None:
    getattr(log.get("x"), call)("lifecycle")
    assert lines.last()["level"] == level


def test_less_severe_lines_are_left_out(lines: Lines) -> None:
    log.configure("warn", lines)
    logger = log.get("x")
    logger.info("lifecycle")
    logger.warning("slow_query")
    assert [line["event"] for line in lines.all()] == ["slow_query"]


def test_the_level_changes_for_loggers_in_use(lines: Lines) -> None:
    log.configure("error", lines)
    logger = log.get("x")
    logger.info("lifecycle")
    log.configure("debug", lines)
    logger.info("config_change")
    assert [line["event"] for line in lines.all()] == ["config_change"]


def test_a_caller_cannot_forge_time_or_level(lines: Lines) -> None:
    log.get("x").info("lifecycle", timestamp="yesterday", level="error")
    assert (lines.last()["timestamp"][:4], lines.last()["level"]) == ("2023", "info")


def test_a_value_cannot_start_a_line(lines: Lines) -> None:
    log.get("x").info("lifecycle", name='a\n{"event":"forged"}')
    assert len(lines.all()) == 1


TELLING = (
    "token access_token Authorization client_secret password passwd Set-Cookie api_key apiKey x-api-key "
    "private_key credential"
)


@pytest.mark.parametrize("name", TELLING.split())
def test_a_telling_name_withholds_its_value(lines: Lines, name: str) -> None:
    log.get("x").info("lifecycle", **{name: "s3cret", "inner": [{name: {"deep": "s3cret"}}]})
    assert b"s3cret" not in lines.getvalue()
    assert lines.last()[name] == log.WITHHELD


@pytest.mark.parametrize(
    "value",
    [
        JWT,
        f"got {JWT} from a client",
        f"Bearer {JWT}",
        {"header": f"x={JWT}"},
        [JWT],
        JWT.encode(),
        ValueError(JWT),
        f"line\n{JWT}\nline",
    ],
)
def test_what_looks_like_a_jwt_is_withheld_anywhere(lines: Lines, value: object) -> None:
    log.get("x").info("lifecycle", value=value)
    assert b"eyJ" not in lines.getvalue()
    assert log.WITHHELD in json.dumps(lines.last())


@pytest.mark.parametrize(
    "value", ["Bearer abc123-opaque", "authorization: bearer abc123-opaque", "Bearer  abc123-opaque"]
)
def test_a_bearer_credential_is_withheld(lines: Lines, value: str) -> None:
    log.get("x").info("lifecycle", value=value)
    assert b"abc123-opaque" not in lines.getvalue()


def test_an_event_that_holds_a_token_is_withheld(lines: Lines) -> None:
    log.get("x").info(f"saw {JWT}")
    assert lines.last()["event"] == f"saw {log.WITHHELD}"


def test_a_traceback_is_written_without_the_token_in_it(lines: Lines) -> None:
    try:
        int(JWT)
    except ValueError:
        log.get("x").exception("upstream_error")
    assert "ValueError" in lines.last()["exception"]
    assert b"eyJ" not in lines.getvalue()


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else "end"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("nan"), None),
        (2**70, hex(2**70)),
        ((1, 2), [1, 2]),
        ({1: 2}, {"1": 2}),
        (b"\xff", "\ufffd"),
        ("x" * 10_000, "x" * log.LONGEST),
        (ValueError("broken"), "broken"),
        (nested(9), [[[[[["..."]]]]]]),
    ],
)
def test_values_become_json(lines: Lines, value: object, written: object) -> None:
    log.get("x").info("lifecycle", value=value)
    assert lines.last()["value"] == written


@pytest.mark.parametrize("value", [Hostile(), {"a": Hostile()}, "\ud800"])
def test_an_event_that_cannot_be_written_still_leaves_a_line(lines: Lines, value: object) -> None:
    log.get("x").info("lifecycle", value=value)
    assert lines.last()["event"] == "unreadable_event"


class Broken:
    """A stream whose reader is gone."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def write(self, data: bytes, /) -> object:
        raise self._error

    def flush(self) -> None:
        raise AssertionError("not reached")


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed")])
def test_a_log_that_cannot_be_written_does_not_raise(lines: Lines, error: Exception) -> None:
    log.configure("info", Broken(error))
    log.get("x").info("lifecycle")
    assert lines.getvalue() == b""


def test_lines_go_to_standard_output_by_default() -> None:
    code = "from airlock.core import log; log.configure('info'); log.get('x').info('lifecycle')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout)["event"] == "lifecycle"


anything: st.SearchStrategy[object] = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=6,
)


def written(values: dict[str, object], note: Callable[[bytes], None]) -> None:
    stream = Lines()
    log.configure("debug", stream)
    log.get("x").info("lifecycle", **values)
    structlog.reset_defaults()
    note(stream.getvalue())


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: name not in {"event", "self"}), anything))
def test_any_value_gives_one_line_and_never_raises(values: dict[str, object]) -> None:
    found: list[bytes] = []
    written(values, found.append)
    assert found[0].count(b"\n") == 1
    assert set(json.loads(found[0])) >= {"timestamp", "level", "event", "component", "correlation_id"}


@given(st.text(), st.text(), st.booleans())
def test_a_token_in_any_text_is_withheld(before: str, after: str, as_key: bool) -> None:
    found: list[bytes] = []
    text = f"{before} {JWT} {after}"
    written({"value": {text: 1} if as_key else text}, found.append)
    assert JWT.encode() not in found[0]
