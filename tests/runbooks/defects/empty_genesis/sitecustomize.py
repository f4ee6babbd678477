"""Defect: the first record of a chain names an empty text as the one before."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from seeding import replace, seed


def database(module: ModuleType) -> None:
    def make(original: Any) -> Any:
        def schema() -> str:
            empty = "COALESCE(l.previous_hash, '') AS previous_hash"
            return original().replace("l.hash, l.previous_hash,", f"l.hash, {empty},")

        return schema

    replace(module, "schema", make)


seed("airlock.audit.database", database)
