"""Defect: `/ready` says ready, whatever is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from seeding import replace, seed


def health(module: ModuleType) -> None:
    async def ready(self: Any, request: Any) -> Any:
        del request
        return module.json_response(200, {"ready": True, "components": self._health.components})

    replace(module.HealthApi, "ready", lambda _: ready)


seed("airlock.api.health", health)
