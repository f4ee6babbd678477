"""Which other programs are measured, and what becomes of one that cannot be."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench import accounts, peers
from tests.system.deployment import until


def test_peers_are_chosen_by_name() -> None:
    assert [peer.name for peer in peers.chosen("mcp-proxy fastmcp")] == ["mcp-proxy", "fastmcp"]
    assert peers.chosen("") == []


def test_a_peer_that_nobody_knows_is_named() -> None:
    with pytest.raises(SystemExit, match=r"'nobody'.*contextforge"):
        peers.chosen("fastmcp nobody")


def test_every_peer_is_pinned() -> None:
    assert all("==" in peer.package for peer in peers.PEERS)


def test_the_time_of_a_program_includes_what_it_started() -> None:
    shell = f"{sys.executable} -c 'sum(range(30_000_000)); input()'; true"
    with subprocess.Popen(["sh", "-c", shell], stdin=subprocess.PIPE) as program:
        try:
            until(lambda: peers.tree_seconds(program.pid) > 0.1, within=60, what="time of the child")
            assert accounts.cpu_seconds(program.pid) < 0.1
        finally:
            program.communicate(b"\n", timeout=60)
