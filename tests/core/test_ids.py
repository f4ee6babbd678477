from __future__ import annotations

import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from airlock.core.ids import uuid7, uuid7_at


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = uuid.UUID(uuid7())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_an_id_begins_with_the_milliseconds_of_its_making() -> None:
    before = int(time.time() * 1000)
    made = uuid.UUID(uuid7()).int >> 80
    assert before <= made <= int(time.time() * 1000)


def test_ids_differ() -> None:
    assert len({uuid7() for _ in range(1000)}) == 1000


@given(st.integers(0, 2**41), st.binary(min_size=10, max_size=16))
def test_an_id_from_parts_is_a_uuid_of_version_7(milliseconds: int, random: bytes) -> None:
    made = uuid.UUID(uuid7_at(milliseconds / 1000 + 0.0001, random))
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, milliseconds)
