"""`/admin/policy/status`: which policy every worker runs, and what became of the last reload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from airlock.api.entries import Entry
from airlock.core.clock import rfc3339
from airlock.core.errors import Fault
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal


class World:
    """What the supervisor last said of the whole: replicas, the wanted policy, the last refused reload."""

    def __init__(self) -> None:
        self.desired = ""
        self.digest = ""
        """Of the wanted configuration."""
        self.replicas: list[dict[str, object] | None] = []
        self.refused: dict[str, object] | None = None
        self.health: list[dict[str, Any] | None] = []
        """What each worker last said of its components."""
        self.parts: dict[str, dict[str, object]] = {}
        self.reloads: dict[str, int] = {}
        """How many reloads there were since the start, by result."""
        self.report: dict[str, Any] | None = None
        """What became of the last reload."""
        self.rolled_back: dict[str, Any] | None = None
        """The rollback that is in force: `model.revision.Revision`."""
        self.overlay: dict[str, Any] | None = None
        """How the overlay stands; None where there is none."""

    @property
    def fragment_refused(self) -> bool:
        """Whether the text of the overlay is not in force because something is wrong with it."""
        return self.overlay is not None and self.overlay["state"] == "refused"


class PolicyApi:
    """Answers from what the worker was told of all, and from the store, to which each says that it lives."""

    def __init__(
        self,
        *,
        world: World,
        active: Callable[[], str],
        living: Callable[[], frozenset[str]] = frozenset[str],
    ) -> None:
        """`living` reads, in a thread, the chains of the workers that said something lately."""
        self._world = world
        self._active = active
        self._living = living

    async def status(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Desired and active revision, replica by replica. One that is `silent` said so once, and may be
        stopped: it is not known what it decides by."""
        world = self._world
        try:
            living = await asyncio.to_thread(self._living)
        except Fault:  # where nobody can say that it lives, nobody does
            living = frozenset[str]()
        return json_response(
            200,
            {
                "desired_sha256": world.desired,
                "rolled_back": rolled_back(world),
                "active_sha256": self._active(),
                "revision": self._active(),
                "replicas": [
                    None if said is None else {**said, "silent": self._silent(slot, living)}
                    for slot, said in enumerate(world.replicas)
                ],
                "last_error": world.refused,
                "last_reload": world.report,
            },
        )

    def _silent(self, slot: int, living: frozenset[str]) -> bool:
        health = self._world.health[slot] if slot < len(self._world.health) else None
        return health is None or health["chain_uid"] not in living


def rolled_back(world: World) -> dict[str, Any] | None:
    """The rollback that is in force, and who ordered it; None where the files of the operator decide."""
    found = world.rolled_back
    if found is None:
        return None
    told = {key: found[key] for key in ("by", "reason", "incident")}
    return {"from": found["before"], "to": found["revision"], "at": rfc3339(found["at"]), **told}


def entries(api: PolicyApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    return (
        Entry(
            method="GET",
            path="/admin/policy/status",
            permission="gateway.read",
            summary="Say which policy every worker runs.",
            handler=api.status,
        ),
    )
