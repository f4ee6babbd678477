"""A store of its own for every test."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from airlock.store.database import Store, open_store
from tests.api.containing import House


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    opened = open_store(tmp_path / "sark.db")
    yield opened
    opened.close()


@pytest.fixture
def house(store: Store) -> House:
    return House(store)
