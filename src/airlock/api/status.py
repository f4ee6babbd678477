"""`/admin/status`: what is true now of every worker, of the policy and of the servers, and what is wrong.

Any worker answers for all: each says to the supervisor what changes in its components, which passes it on,
and to the store once a second that it lives. A worker that is silent counts as not ready, whatever it said
last.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

import airlock
from airlock.api.entries import Entry
from airlock.api.policy import World, rolled_back
from airlock.core.clock import Clock
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from airlock.model.snapshot import Current
from airlock.store import replicas
from airlock.store.database import Store


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. `ready` is what it said, unless it is silent."""

    slot: int
    ready: bool = False
    silent: bool = True
    """Nothing was heard of it for five seconds, or it does not run."""
    pid: int = 0
    chain_uid: str = ""
    active_sha256: str = ""
    configuration_digest: str = ""
    components: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class StatusApi:
    """Answers from what the worker was told, and from the store."""

    def __init__(self, *, world: World, store: Store, current: Current, clock: Clock) -> None:
        self._world = world
        self._store = store
        self._current = current
        self._clock = clock

    async def status(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """The whole of it. Raises `Fault` where the store cannot be read."""
        living = await asyncio.to_thread(replicas.living, self._store, now=self._clock.wall())
        world = self._world
        workers = [_worker(slot, world, living) for slot in range(len(world.replicas))]
        wrong = [*_wrong_workers(workers, world.desired, world.digest), *_wrong_parts(world)]
        servers = self._current.get().registry.servers
        document = {
            "version": airlock.__version__,
            "ready": bool(workers) and all(worker.ready for worker in workers),
            "healthy": not wrong,
            "wrong": wrong,
            "workers": workers,
            "policy": {
                "desired_sha256": world.desired,
                "rolled_back": rolled_back(world),
                "last_error": world.refused,
            },
            "configuration": {"desired_sha256": world.digest},
            "reload": world.report,
            "overlay": world.overlay,
            "processes": world.parts,
            "servers": [
                {"name": name, "state": server.state, "reason": server.reason}
                for name, server in sorted(servers.items())
            ],
        }
        return json_response(200, document)


def entries(api: StatusApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    return (
        Entry(
            method="GET",
            path="/admin/status",
            permission="gateway.read",
            summary="Say what is true of every part now.",
            handler=api.status,
        ),
    )


def _worker(slot: int, world: World, living: frozenset[str]) -> WorkerStatus:
    active, said = world.replicas[slot], world.health[slot]
    if active is None or said is None:
        return WorkerStatus(slot=slot)
    silent = said["chain_uid"] not in living
    return WorkerStatus(
        slot=slot,
        ready=bool(said["ready"]) and not silent,
        silent=silent,
        pid=said["pid"],
        chain_uid=said["chain_uid"],
        active_sha256=str(active["active_sha256"]),
        configuration_digest=str(active["digest"]),
        components=said["components"],
    )


def _wrong_workers(workers: list[WorkerStatus], desired: str, digest: str) -> list[str]:
    found: list[str] = []
    for worker in workers:
        name = f"worker {worker.slot}"
        if worker.silent:
            found.append(f"{name}: silent, or not running")
            continue
        for part, component in worker.components.items():
            if component["state"] != "ok":
                found.append(f"{name}: {part} {component['state']}: {component['reason']}")
        if worker.active_sha256 != desired:
            found.append(f"{name}: policy {worker.active_sha256[:12]} instead of {desired[:12]}")
        if worker.configuration_digest != digest:
            found.append(f"{name}: configuration {worker.configuration_digest[:12]} instead of {digest[:12]}")
    return found


def _wrong_parts(world: World) -> list[str]:
    found = [f"{name}: {part['error']}" for name, part in world.parts.items() if part.get("error")]
    if world.refused is not None:
        found.append(f"the last reload was refused: {world.refused['what']}")
    problems: list[dict[str, str]] = (world.overlay or {}).get("problems", [])
    return found + [f"the overlay is refused: {each['where']}: {each['what']}" for each in problems]
