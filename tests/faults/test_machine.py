"""Faults of the machine: its disk, its network, a file of policy."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import urllib.request
from importlib.resources import files
from pathlib import Path

import pytest

from tests.faults import Absent, Namespace, full_disk, policy_broken, small_volume
from tests.faults.disk import free
from tests.faults.network import IP
from tests.system.recorder import Recorder

ROOT = "this test makes mounts and networks, and needs root"


def test_a_small_volume_is_a_mount_of_its_own_and_goes_with_what_is_on_it(tmp_path: Path) -> None:
    assert os.geteuid() == 0, ROOT
    place = tmp_path / "volume"
    with small_volume(place) as facts:
        assert facts.values == {"total": 8 * 1024 * 1024}
        (place / "file").write_bytes(bytes(100_000))
        with pytest.raises(OSError, match="No space left") as refused:
            (place / "large").write_bytes(bytes(9 * 1024 * 1024))
        assert refused.value.errno == errno.ENOSPC
    assert not place.is_mount()
    assert list(place.iterdir()) == []


def test_a_full_disk_takes_no_byte_until_it_is_mended(tmp_path: Path) -> None:
    assert os.geteuid() == 0, ROOT
    with small_volume(tmp_path):
        with full_disk(tmp_path) as facts:
            assert facts.fault == "F6"
            assert free(tmp_path) == 0
            with pytest.raises(OSError, match="No space left"):
                (tmp_path / "one").write_bytes(b"x")
        (tmp_path / "one").write_bytes(b"x")
        with full_disk(tmp_path, keep=1024 * 1024):
            assert 1024 * 1024 <= free(tmp_path) < 1024 * 1024 + 4096


def test_a_large_volume_is_nobodys_to_fill(tmp_path: Path) -> None:
    assert os.geteuid() == 0, ROOT
    with (
        small_volume(tmp_path, mib=1025),
        pytest.raises(ValueError, match="more than"),
        full_disk(tmp_path),
    ):
        pass


def test_a_cut_cable_loses_what_is_sent_and_a_mended_one_carries_it() -> None:
    assert os.geteuid() == 0, ROOT
    with Namespace() as far:
        with far.entered():
            recorder = Recorder(host=far.address)
        with recorder:

            def ask(timeout: float) -> bytes:
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
                request = urllib.request.Request(recorder.url, body)  # noqa: S310 - our own network
                with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
                    return answer.read()

            assert b"echo" in ask(30)
            cable = far.near
            with far.cut() as facts:
                assert facts.values == {"address": far.address}
                with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
                    ask(0.5)
            assert b"echo" in ask(30)
    assert cable not in subprocess.check_output([IP, "address"], text=True)


def test_two_networks_do_not_meet() -> None:
    assert os.geteuid() == 0, ROOT
    with Namespace() as one, Namespace() as other:
        assert one.address != other.address
        with one.cut():
            assert other.connected()


def test_a_broken_policy_is_refused_at_its_line_and_whole_again_afterwards(tmp_path: Path) -> None:
    shipped = files("airlock.policy") / "starter" / "starter.rego"
    file = tmp_path / "policy.rego"
    file.write_bytes(genuine := shipped.read_bytes())
    with policy_broken(file) as facts:
        assert facts.values["line"] == 7
        assert f"{file}:7:" in facts.values["said"]
        assert file.read_bytes() != genuine
    assert file.read_bytes() == genuine


def test_a_policy_that_is_too_short_cannot_break_there(tmp_path: Path) -> None:
    file = tmp_path / "short.rego"
    file.write_text("package airlock\n")
    with pytest.raises(Absent, match="7 lines"), policy_broken(file):
        pass
