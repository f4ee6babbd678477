"""Canaries are where they were put, are such that they can be found, and are gone afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airlock.redaction.scan import Scanner
from tests.faults import CANARIES, Absent, canary_in_log, canary_in_result
from tests.system.recorder import Recorder


@pytest.mark.parametrize("kind", CANARIES)
def test_a_canary_is_what_its_detector_looks_for(kind: str) -> None:
    """Otherwise nothing could be concluded from one that does not come back."""
    [hit, *_] = Scanner([kind]).find(f"[{kind}: {CANARIES[kind]}]")
    assert hit.detector == kind


def test_a_server_answers_with_them_until_it_is_over() -> None:
    with Recorder() as recorder:
        recorder.results["echo"] = before = {"content": [{"type": "text", "text": "genuine"}]}
        with canary_in_result(recorder, "echo") as facts:
            assert facts.fault == "F11"
            assert facts.values["canaries"] == CANARIES
            text = recorder.results["echo"]["content"][0]["text"]
            assert all(value in text for value in CANARIES.values())
        assert recorder.results["echo"] == before
        with canary_in_result(recorder, "other"):
            assert "other" in recorder.results
        assert "other" not in recorder.results


def test_a_server_that_says_something_else_has_no_canary() -> None:
    with (
        Recorder() as recorder,
        pytest.raises(Absent, match="every canary"),
        canary_in_result(recorder, "fail"),
    ):
        pass


def test_a_log_has_them_in_one_whole_line_and_keeps_what_others_append(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.jsonl"
    log.write_text('{"event": "before"}\n')
    with canary_in_log(log) as facts:
        with log.open("a") as others:
            others.write('{"event": "after"}\n')
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["event"] for line in lines] == ["before", "lifecycle", "after"]
        assert lines[1]["what"] == CANARIES
        assert facts.values["file"] == str(log)
    assert [json.loads(line)["event"] for line in log.read_text().split("\n") if line] == ["before", "after"]
