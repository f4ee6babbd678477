"""Defect: every other record stands in the log as if it were a minute older than it is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from seeding import replace, seed


def rows(module: ModuleType) -> None:
    from datetime import datetime, timedelta

    def make(original: Any) -> Any:
        def link(*given: Any) -> Any:
            values = list(original(*given))
            if values[2] % 2 == 0:
                earlier = datetime.fromisoformat(values[4]) - timedelta(minutes=1)
                values[4] = earlier.strftime("%Y-%m-%d %H:%M:%S.%f")
            return tuple(values)

        return link

    replace(module, "link", make)


seed("airlock.audit.rows", rows)
