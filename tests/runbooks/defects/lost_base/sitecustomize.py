"""Defect: a fragment takes the place of the whole configuration: what it does not name is gone."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from seeding import replace, seed


def snapshot(module: ModuleType) -> None:
    import msgspec

    def make(original: Any) -> Any:
        def swap(self: Any, **parts: Any) -> Any:
            found = original(self, **parts)
            if any(lease.origin == "config" for lease in found.leases.held):
                found = original(self, registry=msgspec.structs.replace(found.registry, servers={}))
            return found

        return swap

    replace(module.Current, "swap", make)


seed("airlock.model.snapshot", snapshot)
