"""What it costs a loaded worker that its snapshot is replaced many times a second.

Addresses that nobody has are blocked one after another while the mix runs: each block is a lease in the
store, a row in the log, and another snapshot. Rounds without and with them alternate.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus

import msgspec

from bench import figures, saturate
from bench.rig import Rig

PAUSE = 0.05
"""Seconds between two blocks."""


def measure(rig: Rig, *, seconds: int, rounds: int) -> figures.Swaps:
    """`rounds` times a round of the mix without swaps and one with. Raises `RuntimeError` when refused."""
    quiet: list[figures.Round] = []
    swapped: list[figures.Round] = []
    count = 0
    for number in range(rounds):
        quiet.append(saturate.round_of(rig, "mixed", seconds=seconds))
        with _swapping(rig, number) as given:
            swapped.append(saturate.round_of(rig, "mixed", seconds=seconds))
        count += len(given)
    return figures.Swaps(
        per_second=count / seconds / rounds,
        quiet=figures.middle(quiet, "mixed"),
        swapped=figures.middle(swapped, "mixed"),
    )


@contextmanager
def _swapping(rig: Rig, number: int) -> Generator[list[int]]:
    """Block addresses for as long as the block lasts; the statuses of the answers. Raises for a refusal."""
    over = threading.Event()
    statuses: list[int] = []
    token = rig.gateway.token("operator", roles=["admin"])

    def work() -> None:
        while not over.wait(PAUSE):
            statuses.append(
                _block(rig, token, f"100.{64 + number}.{len(statuses) >> 8}.{len(statuses) & 255}")
            )

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join()
    if wrong := [status for status in statuses if status != HTTPStatus.OK]:
        raise RuntimeError(f"{len(wrong)} of {len(statuses)} blocks were answered {wrong[0]}")


def _block(rig: Rig, token: str, address: str) -> int:
    order = {"ip_addresses": [address], "duration": "1h", "reason": "bench"}
    headers = {"Authorization": f"Bearer {token}"}
    return rig.gateway.send("POST", "/admin/security/block", msgspec.json.encode(order), headers).status
