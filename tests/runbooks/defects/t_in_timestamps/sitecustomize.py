"""Defect: `timestamp` has a `T` between date and time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from seeding import replace, seed


def rows(module: ModuleType) -> None:
    def make(original: Any) -> Any:
        def link(*given: Any) -> Any:
            values = list(original(*given))
            values[4] = values[4].replace(" ", "T")
            return tuple(values)

        return link

    replace(module, "link", make)


seed("airlock.audit.rows", rows)
