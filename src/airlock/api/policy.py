"""`/admin/policy/status`: which policy every worker runs, and what became of the last reload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal


class World:
    """What the supervisor last said of the whole: replicas, the wanted policy, the last refused reload."""

    def __init__(self) -> None:
        self.desired = ""
        self.replicas: list[dict[str, object] | None] = []
        self.refused: dict[str, object] | None = None
        self.health: list[dict[str, Any] | None] = []
        """What each worker last said of its components."""
        self.parts: dict[str, dict[str, object]] = {}
        self.reloads: dict[str, int] = {}
        """How many reloads there were since the start, by result."""


class PolicyApi:
    """Answers from what the worker knows; asks nobody."""

    def __init__(self, *, world: World, active: Callable[[], str]) -> None:
        self._world = world
        self._active = active

    async def status(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Desired and active revision, replica by replica."""
        world = self._world
        return json_response(
            200,
            {
                "desired_sha256": world.desired,
                "active_sha256": self._active(),
                "revision": self._active(),
                "replicas": world.replicas,
                "last_error": world.refused,
            },
        )
