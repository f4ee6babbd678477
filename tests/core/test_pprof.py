"""A profile says in the fields of `profile.proto` what it was made of."""

from __future__ import annotations

import gzip
from typing import cast

from airlock.core.pprof import Frame, Sample, profile
from tests.core.protobuf import Fields, fields, varints

LEAK = Frame("app.leak", "/srv/app.py", 12, 10)
MAIN = Frame("app.main", "/srv/app.py", 300, 290)
TYPES = (("inuse_objects", "count"), ("inuse_space", "bytes"))


def made(*samples: Sample) -> Fields:
    return fields(gzip.decompress(profile(samples, types=TYPES, comments=["since noon"], at=1_700_000_000.5)))


def inner(message: int | bytes) -> Fields:
    return fields(cast("bytes", message))


def texts(found: Fields) -> list[str]:
    return [cast("bytes", text).decode() for text in found[6]]


def test_a_sample_leads_to_its_functions_files_and_lines() -> None:
    found = made(Sample(stack=(LEAK, MAIN), values=(3, 1 << 40), labels={"worker": "1"}))
    words = texts(found)
    (sample,) = map(inner, found[2])
    assert varints(cast("bytes", sample[2][0])) == [3, 1 << 40]
    places = {place[1][0]: inner(place[4][0]) for place in map(inner, found[4])}
    functions = {function[1][0]: function for function in map(inner, found[5])}
    stack: list[tuple[str, str, int, int]] = []
    for place in varints(cast("bytes", sample[1][0])):
        function = functions[places[place][1][0]]
        name, file = words[cast("int", function[2][0])], words[cast("int", function[4][0])]
        stack.append((name, file, cast("int", places[place][2][0]), cast("int", function[5][0])))
    assert stack == [("app.leak", "/srv/app.py", 12, 10), ("app.main", "/srv/app.py", 300, 290)]
    label = inner(sample[3][0])
    assert [words[cast("int", label[field][0])] for field in (1, 2)] == ["worker", "1"]


def test_the_first_text_is_empty_and_each_is_there_once() -> None:
    words = texts(made(Sample(stack=(LEAK, MAIN, LEAK), values=(1, 2), labels={})))
    assert words[0] == ""
    assert len(words) == len(set(words))


def test_a_place_that_comes_twice_is_written_once() -> None:
    found = made(*(Sample(stack=(LEAK,), values=(1, 1), labels={}) for _ in range(3)))
    assert (len(found[2]), len(found[4]), len(found[5])) == (3, 1, 1)


def test_types_time_comments_and_what_is_shown_first() -> None:
    found = made()
    words = texts(found)
    kinds = [[words[cast("int", kind[field][0])] for field in (1, 2)] for kind in map(inner, found[1])]
    assert kinds == [list(kind) for kind in TYPES]
    assert found[9] == [1_700_000_000_500_000_000]
    assert words[cast("int", found[13][0])] == "since noon"
    assert words[cast("int", found[14][0])] == "inuse_space"
    assert inner(found[11][0]) == inner(found[1][1])
