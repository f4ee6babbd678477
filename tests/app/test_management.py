"""The management API of a worker: who comes in, and what is recorded of those who do not."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from airlock.api.door import nobody_else
from airlock.api.policy import World
from airlock.app.containment import Containment
from airlock.app.management import Management, management
from airlock.app.peers import Peers
from airlock.app.reloads import Reloading
from airlock.app.tuning import Tuning
from airlock.app.turned import inbound
from airlock.core.config import Config, ServerSection
from airlock.core.errors import Unauthenticated
from airlock.gateway.live import Live
from airlock.gateway.strangers import Strangers
from airlock.model.call import Authenticated, Inbound
from airlock.model.http import HttpResponse
from airlock.model.lease import read_selector
from airlock.model.principal import Principal
from airlock.model.snapshot import Current
from airlock.store import leases
from airlock.store.database import Store, open_store
from tests.api.doors import ADMIN, entry, request, told
from tests.gateway.parts import NOW, PUBLIC, FakeLog, HandClock, Lines, principal, snapshot

STATUS = request("GET", "/admin/policy/status")


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    opened = open_store(tmp_path / "sark.db")
    yield opened
    opened.close()


class Worker:
    """A worker whose callers are who the test says."""

    def __init__(self, store: Store, who: Principal | Unauthenticated) -> None:
        self.log, self.lines, self.clock = FakeLog([]), Lines(), HandClock()
        self.who = who
        self.current = Current(snapshot())
        self.containment = Containment(
            store=store,
            current=self.current,
            live=Live(),
            writer=self.log,
            replica="one",
            enforced=lambda: None,
            clock=self.clock,
            log=self.lines,
        )
        self.managed: Management = management(
            config=Config(server=ServerSection(public_url=PUBLIC)),
            store=store,
            world=World(),
            tuning=Tuning(config=Config(), current=self.current, clock=self.clock, log=self.lines),
            reloading=Reloading(),
            peers=Peers(),
            current=self.current,
            active=lambda: "a" * 64,
            authenticate=self._authenticate,
            allowed=nobody_else,
            containment=self.containment,
            strangers=Strangers(log=self.log, clock=self.clock),
            writer=self.log,
            clock=self.clock,
            log=self.lines,
        )

    async def _authenticate(self, asked: Inbound) -> Authenticated:
        if isinstance(self.who, Unauthenticated):
            raise self.who
        return Authenticated(inbound=asked, principal=self.who, snapshot=self.current.get())

    def ask(self) -> tuple[int, object]:
        async def asked() -> HttpResponse:
            return await self.managed.door.guard(entry(self.managed.policy.status))(STATUS)

        return told(asyncio.run(asked()))


def test_an_administrator_comes_in_and_leaves_no_row(store: Store) -> None:
    worker = Worker(store, ADMIN)
    assert worker.ask()[0] == 200
    assert worker.log.events == []


def test_a_stranger_is_a_row_of_its_network_and_a_line(store: Store) -> None:
    worker = Worker(store, Unauthenticated(401, "token_expired", "No.", error="invalid_token"))
    assert worker.ask() == (401, "token_expired")
    (event,) = worker.log.events
    assert (event.action, event.decision, event.reason) == ("token_validate", "deny", "token_expired")
    assert event.personal.source_ip == "192.0.2.7"
    assert worker.lines.events() == ["auth_failure"]


def test_a_known_caller_without_the_role_is_a_row_of_its_own(store: Store) -> None:
    worker = Worker(store, principal("mallory"))
    assert worker.ask() == (403, "admin_role_required")
    (event,) = worker.log.events
    assert (event.event_type, event.action, event.decision, event.severity) == (
        "admin",
        "privilege_escalation_attempt",
        "deny",
        "HIGH",
    )
    assert (event.personal.subject, event.personal.source_ip, event.tenant) == (
        "mallory",
        "192.0.2.7",
        "acme",
    )
    assert worker.lines.events() == ["security_violation"]


def test_a_contained_administrator_does_not_come_in(store: Store) -> None:
    leases.activate(
        store,
        action="subject.suspend",
        selector=read_selector("subject.suspend", {"subject": "alice"}),
        ttl=None,
        reason="test",
        actor="ops",
        origin="api",
        now=NOW,
    )
    worker = Worker(store, ADMIN)
    assert worker.ask() == (403, "contained")
    (event,) = worker.log.events
    assert (event.action, event.decision, event.reason) == ("admin_call", "deny", "contained")


def test_a_request_without_one_token_has_none() -> None:
    assert inbound(STATUS).headers.get("authorization") == "Bearer x"
    assert inbound(msgspec.structs.replace(STATUS, authorization=None)).headers.get("authorization") is None
