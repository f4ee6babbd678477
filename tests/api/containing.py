"""The management API over a real store, with the workers of a gateway played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from airlock.api.deciding import Deciding
from airlock.api.keys import UsedKeys
from airlock.api.leasing import Leasing
from airlock.api.overrides import OverridesApi
from airlock.api.policy import PolicyApi, World
from airlock.app.management import behind, entries, route
from airlock.core.config import Config
from airlock.edge.routes import Handler, compile_table
from airlock.incident.occasion import Facts
from airlock.incident.regulation import shipped
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.incident import Incident
from airlock.model.lease import Origin
from airlock.model.principal import Principal
from airlock.store import lease_events, leases, replicas
from airlock.store.database import Store
from airlock.store.lease_events import LeaseEvent
from tests.api.doors import ADMIN, door, request, told
from tests.gateway.parts import HandClock

PROXY = "192.0.2.0/28"


class Clock(HandClock):
    """Time passes for whoever waits; what people read on the wall moves by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def monotonic(self) -> float:
        self.waited += 0.25
        return self.waited


class Workers:
    """Workers that enforce what they are told to look at, and one that keeps the log."""

    def __init__(self, store: Store, clock: Clock, names: Sequence[str] = ("one", "two")) -> None:
        self.store = store
        self.clock = clock
        self.names = names
        self.asleep: set[str] = set()
        self.recorded = True
        self.looks = 0
        self._seq = 0
        self.beat()

    async def look(self) -> None:
        self.looks += 1
        await asyncio.to_thread(self.beat)

    def beat(self) -> None:
        epoch = leases.load(self.store, now=self.clock.wall()).epoch
        for name in self.names:
            said = 0 if name in self.asleep else epoch
            replicas.seen(self.store, replica=name, epoch=said, now=self.clock.wall())
        if self.recorded:
            lease_events.record(self.store, self._write)

    def _write(self, events: Sequence[LeaseEvent]) -> list[tuple[str, int]]:
        places = [("chain", self._seq + n) for n, _ in enumerate(events, 1)]
        self._seq += len(events)
        return places


class House:
    """A gateway's management API, as an administrator at `source_ip` finds it."""

    def __init__(
        self,
        store: Store,
        *,
        who: Principal = ADMIN,
        names: Sequence[str] = ("one", "two"),
        origin: Origin = "api",
    ) -> None:
        self.clock = Clock()
        self.store = store
        self.workers = Workers(store, self.clock, names)
        leasing = Leasing(
            store=store,
            trusted_proxies=(PROXY,),
            look=self.workers.look,
            clock=self.clock,
            origin=origin,
        )
        policy = PolicyApi(world=World(), active=str)
        overrides = OverridesApi(
            leasing=leasing, base=lambda: self.base, overlay=lambda: None, clock=self.clock
        )
        self.base = Config()
        self.facts = Facts()
        self.deciding = Deciding(store=store, gather=self._gather, law=shipped, clock=self.clock)
        self.keys = UsedKeys(store=store, clock=self.clock)
        guard = door(who, keys=self.keys)
        self.parts = behind(
            guard=guard,
            leasing=leasing,
            standing=policy,
            held=overrides,
            deciding=self.deciding,
            clock=self.clock,
        )
        self.entries = entries(self.parts)
        self._declared = {(entry.method, entry.path): entry for entry in self.entries}
        self._table = compile_table(tuple(route(guard, entry) for entry in self.entries))

    def _gather(self, store: Store, incident: Incident, now: float) -> Facts:
        return self.facts

    def ask(
        self, method: str, path: str, body: object = b"", *, source_ip: str = "198.51.100.9", **headers: str
    ) -> tuple[int, Any]:
        """Status, and the word of a problem or else the document."""
        path, _, query = path.partition("?")
        for pattern, methods in self._table:
            found = pattern.fullmatch(path)
            if found is not None and method in methods:
                handler = methods[method].handler
                assert handler is not None
                fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
                asked = request(
                    method, path, body, params=found.groupdict(), query=query, headers=fields,
                    source_ip=source_ip,
                )  # fmt: skip
                answer = asyncio.run(_answered(handler, asked))
                self._check(method, methods[method].path, answer)
                self.headers, self.body = dict(answer.headers), answer.body
                return told(answer)
        raise AssertionError(f"{method} {path} leads nowhere")

    def _check(self, method: str, path: str, answer: HttpResponse) -> None:
        """What is answered is what the table declares."""
        declared = self._declared[method, path]
        if answer.status < 400:
            assert answer.status in declared.statuses
            if declared.gives is not None:
                msgspec.json.decode(answer.body, type=declared.gives)


async def _answered(handler: Handler, asked: HttpRequest) -> HttpResponse:
    return await handler(asked)
