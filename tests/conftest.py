"""What holds for the tests of every room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a module marked `unmeasured` starts is judged from outside; coverage would double its time."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("unmeasured"):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield
