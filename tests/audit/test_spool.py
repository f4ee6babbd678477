"""Where outcomes wait."""

from __future__ import annotations

import errno

import pytest

from airlock.audit.chain import Chain, Sealed
from airlock.audit.spool import NAME, Spool
from tests.audit.test_chain import grow
from tests.audit.writing_parts import UID, SimDirectory, SimVolume, dice, outcome


@pytest.fixture
def volume() -> SimVolume:
    return SimVolume()


def opened(volume: SimVolume, size: int = 8192) -> Spool:
    spool = Spool(directory=volume.directory(UID), size=size)
    spool.open()
    return spool


def made(*numbers: int) -> list[Sealed]:
    return grow(Chain(uid=UID), *map(outcome, numbers)).sealed


def ids(spool: Spool) -> list[str]:
    return [each.id for each in spool.entries]


def medium(directory: SimDirectory) -> bytes:
    return bytes(directory.files[NAME].medium)


def test_what_was_put_is_there_after_a_power_loss(volume: SimVolume) -> None:
    spool, sealed = opened(volume), made(1, 2, 3)
    spool.put(sealed[:2])
    spool.put(sealed[2:])
    volume.lose_power(dice(1))
    assert ids(opened(volume)) == [each.id for each in sealed]


def test_what_waits_is_added_to(volume: SimVolume) -> None:
    sealed = made(1, 2)
    opened(volume).put(sealed[:1])
    spool = opened(volume)
    spool.put(sealed[1:])
    assert ids(opened(volume)) == ids(spool) == [each.id for each in sealed]


def test_emptying_overwrites_what_it_held(volume: SimVolume) -> None:
    spool = opened(volume)
    spool.put(made(1))
    assert b"192.0.2.7" in medium(volume.directories[UID])
    spool.clear()
    assert medium(volume.directories[UID]) == bytes(8192)
    assert ids(opened(volume)) == []
    spool.clear()


def test_a_full_spool_refuses_and_keeps_what_it_has(volume: SimVolume) -> None:
    spool, sealed = opened(volume, size=2048), made(1, 2, 3, 4, 5)
    spool.put(sealed[:1])
    with pytest.raises(OSError, match="full") as raised:
        spool.put(sealed[1:])
    assert raised.value.errno == errno.ENOSPC
    assert ids(opened(volume)) == [sealed[0].id]


def test_after_an_error_it_takes_nothing(volume: SimVolume) -> None:
    spool = opened(volume)
    volume.fail = lambda operation, name: errno.EIO if operation == "flush" else 0
    with pytest.raises(OSError, match="Input/output"):
        spool.put(made(1))
    volume.fail = lambda operation, name: 0
    with pytest.raises(OSError, match="lost"):
        spool.put(made(1))
    spool.close()
    spool.clear()
