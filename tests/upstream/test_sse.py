"""Server-sent events, incrementally."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core.errors import UpstreamFault
from airlock.upstream.sse import SseEvent, SseParser


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [SseEvent(b"message", b"a", b"")]),
        (b"data:a\r\n\r\n", [SseEvent(b"message", b"a", b"")]),
        (b"data:  a\r\r", [SseEvent(b"message", b" a", b"")]),
        (b"\xef\xbb\xbfdata: a\n\n", [SseEvent(b"message", b"a", b"")]),
        (b"data: a\ndata: b\n\n", [SseEvent(b"message", b"a\nb", b"")]),
        (b"event: x\nid: 7\ndata: a\n\n", [SseEvent(b"x", b"a", b"7")]),
        (b"id: 1\ndata:\n\ndata: b\n\n", [SseEvent(b"message", b"", b"1"), SseEvent(b"message", b"b", b"1")]),
        (b"event: x\n\ndata: a\n\n", [SseEvent(b"message", b"a", b"")]),
        (b": ping\n\nfoo: bar\ndata\n\n", [SseEvent(b"message", b"", b"")]),
        (b"id: a\0b\ndata: a\n\n", [SseEvent(b"message", b"a", b"")]),
        (b"data: cut off", []),
        (b"data: cut off\n", []),
        (b"", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream: bytes, events: list[SseEvent]) -> None:
    assert SseParser().feed(stream) == events


def test_the_reconnection_time_is_kept() -> None:
    parser = SseParser()
    parser.feed(b"retry: 1500\nretry: soon\n\n")
    assert parser.retry == 1500


PIECES = st.sampled_from(
    [
        b"data: ",
        b"data",
        b"event: x",
        b"id: 1",
        b":",
        b"a",
        b"\xef\xbb\xbf",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b" ",
    ]
)


@given(st.lists(PIECES, max_size=40).map(b"".join), st.data())
def test_how_the_bytes_were_cut_does_not_matter(stream: bytes, data: st.DataObject) -> None:
    whole = SseParser().feed(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parser = SseParser()
    events: list[SseEvent] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += parser.feed(stream[start:end])
    assert events == whole


@given(st.binary(max_size=200))
def test_byte_by_byte_is_the_same_as_at_once(stream: bytes) -> None:
    parser = SseParser()
    one_by_one = [found for byte in stream for found in parser.feed(bytes([byte]))]
    assert one_by_one == SseParser().feed(stream)


@pytest.mark.parametrize(
    "stream", [b"data: 0123456789", b": 0123456789abcdef\n", b"data: 01234\ndata: 01234\ndata: 0"]
)
@pytest.mark.parametrize("step", [1, 7, 100])
def test_nothing_grows_beyond_the_limit(stream: bytes, step: int) -> None:
    parser = SseParser(limit=15)
    with pytest.raises(UpstreamFault, match="15 bytes"):
        for start in range(0, len(stream), step):
            parser.feed(stream[start : start + step])


def test_the_limit_is_per_event() -> None:
    parser = SseParser(limit=15)
    assert len(parser.feed(b"data: 012345\n\n" * 10)) == 10
