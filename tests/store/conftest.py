"""A store that is empty, wherever it stands: the same tests run against every database behind `location`."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from airlock.store.database import Store, open_store


@pytest.fixture
def location(tmp_path: Path) -> Path | str:
    return tmp_path / "data" / "sark.db"


@pytest.fixture
def store(location: Path | str) -> Generator[Store]:
    opened = open_store(location)
    yield opened
    opened.close()


@pytest.fixture
def other(store: Store, location: Path | str) -> Generator[Store]:
    """The same store as another process sees it."""
    assert store.versions()
    opened = open_store(location)
    yield opened
    opened.close()
