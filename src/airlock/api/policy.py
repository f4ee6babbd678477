"""`/admin/policy/status`: which policy every worker runs, and what became of the last reload.

Administrators only: the token must name the gateway and carry the role `admin`.
"""

from __future__ import annotations

from collections.abc import Callable

from airlock.core.errors import Unauthenticated
from airlock.identity import resources
from airlock.identity.challenge import challenge
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal

ADMIN = "admin"

Identify = Callable[[HttpRequest], Principal]
"""Verifies the bearer token of a request. Raises `Unauthenticated`."""


class World:
    """What the supervisor last said of the whole: replicas, the wanted policy, the last refused reload."""

    def __init__(self) -> None:
        self.desired = ""
        self.replicas: list[dict[str, object] | None] = []
        self.refused: dict[str, object] | None = None
        self.parts: dict[str, dict[str, object]] = {}


class PolicyApi:
    """Answers from what the worker knows; asks nobody."""

    def __init__(
        self, *, world: World, active: Callable[[], str], identify: Identify, public_url: str
    ) -> None:
        self._world = world
        self._active = active
        self._identify = identify
        self._public_url = public_url

    async def status(self, request: HttpRequest) -> HttpResponse:
        """Desired and active revision, replica by replica."""
        try:
            principal = self._identify(request)
        except Unauthenticated as refused:
            header = challenge(refused, resources.resource(self._public_url))
            return json_response(refused.http, {"error": refused.reason}, (("www-authenticate", header),))
        if ADMIN not in principal.roles:
            return json_response(403, {"error": "admin_role_required"})
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
