"""`airlock demo incident`: an attack until the closed review, each step held against facts."""

from __future__ import annotations

import pytest

from airlock.cli.demo.response.story import STEPS
from tests.system.stories import played, review

pytestmark = [pytest.mark.unmeasured, pytest.mark.timeout(600)]


def test_an_attack_is_found_contained_proven_resolved_and_reviewed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    kept = played("incident", tmp_path_factory.mktemp("incident"), STEPS)
    text = review(kept)
    assert "not recorded" not in text[: text.index("Root Cause")]
    assert "olga" in text
    (status,) = kept.glob("data/incidents/status.json")
    assert "RESOLVED" in status.read_text()
