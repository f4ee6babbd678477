"""Who enforces a lease is proven, also when a worker is silent; a session ends for good in every worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from airlock.core.clock import SYSTEM
from airlock.model.lease import Action, read_selector
from airlock.store import leases, replicas
from airlock.store.database import FILE, Store, open_store
from airlock.store.leases import Activated
from airlock.store.replicas import Receipt
from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

LEGACY = "2025-11-25"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Recorder() as upstream:
        servers = [{"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
        with Deployment(tmp_path_factory.mktemp("containment"), servers) as deployment:
            yield deployment


@pytest.fixture
def store(gateway: Deployment) -> Iterator[Store]:
    with closing(open_store(gateway.data / FILE)) as opened:
        yield opened


def give(store: Store, action: Action, pairs: Mapping[str, str]) -> Activated:
    return leases.activate(
        store,
        action=action,
        selector=read_selector(action, pairs),
        ttl=None,
        reason="test",
        actor="test",
        origin="cli",
        now=SYSTEM.wall(),
    )


def receipt(store: Store, given: Activated) -> Receipt:
    return replicas.receipt(store, epoch=given.epoch, now=SYSTEM.wall())


def test_a_silent_worker_is_missing_until_its_right_to_serve_has_lapsed(
    gateway: Deployment, store: Store
) -> None:
    both = give(store, "tenant.isolate", {"tenant": "nobody-here"})
    until(lambda: receipt(store, both).acked == 2, within=30, what="both workers at the first epoch")
    silent = gateway.children("airlock.worker")[0]
    os.kill(silent, signal.SIGSTOP)
    try:
        given = give(store, "tenant.isolate", {"tenant": "nobody-else"})
        until(lambda: receipt(store, given).acked == 1, within=30, what="the worker that runs")
        until(lambda: receipt(store, given) == Receipt(acked=1, total=1), within=30, what="the lapse")
    finally:
        os.kill(silent, signal.SIGCONT)
    until(lambda: receipt(store, given) == Receipt(acked=2, total=2), within=30, what="the other one")


def test_a_terminated_session_is_unknown_to_every_worker_and_its_owner_begins_another(
    gateway: Deployment, store: Store
) -> None:
    token = gateway.token("owner-of-a-session")

    def begin() -> dict[str, str]:
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        answer = gateway.post(
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params},
            token,
            headers={"Accept": "application/json, text/event-stream"},
        )
        return {"Mcp-Session-Id": answer.headers["mcp-session-id"], "MCP-Protocol-Version": LEGACY}

    def ping(session: dict[str, str]) -> int:
        return gateway.post({"jsonrpc": "2.0", "id": 2, "method": "ping"}, token, headers=session).status

    session = begin()
    assert ping(session) == 200
    whose = "subject = 'owner-of-a-session' AND data LIKE '%session_digest%'"
    sql = f"SELECT data FROM audit_personal WHERE {whose}"  # noqa: S608 - a test's own text
    ((data,), *_) = until(lambda: gateway.rows(sql), within=30, what="the record of the session")
    give(store, "session.terminate", {"session": json.loads(data)["session_digest"]})
    until(
        lambda: all(ping(session) == 404 for _ in range(8)), within=30, what="the end of it in both workers"
    )
    assert gateway.recorded("subject='owner-of-a-session' AND reason='session_terminated'")
    assert ping(begin()) == 200
