"""`airlock demo latency`: a server that becomes slow until the closed review, held against facts."""

from __future__ import annotations

import pytest

from airlock.cli.demo.response.story_latency import STEPS
from tests.system.stories import played, review

pytestmark = [pytest.mark.unmeasured, pytest.mark.timeout(600)]


def test_a_slow_server_is_found_named_taken_out_mended_and_reviewed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    text = review(played("latency", tmp_path_factory.mktemp("latency"), STEPS))
    assert "A query of the register had lost its index." in text
    assert "customers" in text
