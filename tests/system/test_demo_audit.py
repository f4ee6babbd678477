"""`airlock demo audit`: a log that cannot be written until the closed review, held against facts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from airlock.cli.demo.response.story_audit import STEPS
from tests.system.stories import played, review

pytestmark = [pytest.mark.unmeasured, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played("audit", tmp_path_factory.mktemp("audit"), STEPS)


def test_a_log_that_cannot_be_written_is_found_mended_accounted_for_and_reviewed(kept: Path) -> None:
    assert "A limit on the size of files was set" in review(kept)


def test_every_line_of_the_incident_is_in_the_log_afterwards(kept: Path) -> None:
    with closing(sqlite3.connect(f"file:{kept}/data/sark.db?mode=ro", uri=True)) as store:
        places = store.execute(
            "SELECT o.chain_uid, o.seq FROM incident_events e JOIN audit_outbox o ON o.n = e.outbox"
        ).fetchall()
    with closing(sqlite3.connect(f"file:{kept}/data/audit.db?mode=ro", uri=True)) as log:
        rows = set(log.execute("SELECT chain_uid, seq FROM audit_log"))
    assert len(places) > 20
    assert set(places) <= rows
