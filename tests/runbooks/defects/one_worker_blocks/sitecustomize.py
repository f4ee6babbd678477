"""Defect: the second worker says that it blocks an address, and does not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from seeding import replace, seed

SLOT: list[int] = []


def channel(module: ModuleType) -> None:
    def make(original: Any) -> Any:
        async def receive(self: Any) -> Any:
            message = await original(self)
            if message is not None and message.get("op") == "start" and "slot" in message:
                SLOT.append(message["slot"])
            return message

        return receive

    replace(module.Channel, "receive", make)


def snapshot(module: ModuleType) -> None:
    import msgspec

    def make(original: Any) -> Any:
        def swap(self: Any, **parts: Any) -> Any:
            if SLOT == [1] and "leases" in parts:
                parts["leases"] = msgspec.structs.replace(parts["leases"], index=None)
            return original(self, **parts)

        return swap

    replace(module.Current, "swap", make)


seed("airlock.channel", channel)
seed("airlock.model.snapshot", snapshot)
