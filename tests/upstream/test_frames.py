"""Frames between worker and runner."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream import frames
from airlock.upstream.frames import Answer, Cancel, FrameError, FrameReader, Request, encode

if TYPE_CHECKING:
    from pathlib import Path


@settings(max_examples=100, deadline=None)
@given(bodies=st.lists(st.binary(max_size=300), max_size=8), cut=st.integers(min_value=1, max_value=50))
def test_frames_survive_any_fragmentation(bodies: list[bytes], cut: int) -> None:
    stream = b"".join(encode(Answer(n=n, era="e"), body) for n, body in enumerate(bodies))
    reader = FrameReader()
    found = [
        (frames.from_runner.decode(head), body)
        for at in range(0, len(stream), cut)
        for head, body in reader.feed(stream[at : at + cut])
    ]
    assert found == [(Answer(n=n, era="e"), body) for n, body in enumerate(bodies)]


def test_a_request_keeps_its_parts() -> None:
    order = Request(n=1, server="s", method="m", meta={"a": 1}, capabilities={"b": {}}, progress=True)
    ((head, body),) = FrameReader().feed(encode(order, b'{"x":1}'))
    assert (frames.to_runner.decode(head), body) == (order, b'{"x":1}')


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"\xff\xff\xff\xff\x00\x00\x00\x00", id="too long"),
        pytest.param(b"\x04\x00\x00\x00\x05\x00\x00\x00", id="head longer than the frame"),
    ],
)
def test_impossible_lengths_are_refused_before_anything_is_kept(start: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader().feed(start))


def test_frames_before_an_impossible_one_are_delivered() -> None:
    found = FrameReader().feed(encode(Cancel(n=1)) + b"\xff" * 8)
    assert next(found)[0] == b'{"op":"cancel","n":1}'
    with pytest.raises(FrameError):
        next(found)


def test_a_fault_crosses_the_connection_whole() -> None:
    fault = UpstreamFault.unavailable("why", effect=Effect.POSSIBLE, retry_after=3)
    again = frames.fault_of(frames.failure(7, fault))
    assert vars(again) == vars(fault)


def test_a_socket_may_live_deeper_than_its_address_is_long(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 200) / "runner.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as door, socket.socket(socket.AF_UNIX) as guest:
        with frames.socket_address(path) as address:
            door.bind(address)
            door.listen()
            guest.connect(address)
        assert frames.peer_uid(guest) == os.geteuid()
