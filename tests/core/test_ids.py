from __future__ import annotations

import subprocess
import sys
import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from airlock.core.ids import DRAWN_AT_ONCE, Randomness, uuid7, uuid7_at

FORKED = """
import os
from airlock.core.ids import Randomness
random = Randomness(8)
random()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(*(random().hex() for _ in range(20)), flush=True)
"""


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


def test_no_piece_of_randomness_is_given_twice() -> None:
    random = Randomness(8)
    drawn = [random() for _ in range(3 * DRAWN_AT_ONCE)]
    assert len(set(drawn)) == len(drawn)
    assert {len(piece) for piece in drawn} == {8}


def test_a_process_shares_no_randomness_with_one_that_it_forked() -> None:
    told = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    pieces = told.stdout.split()
    assert len(pieces) == len(set(pieces)) == 40
