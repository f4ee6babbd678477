"""What changes while calls run: it counts for those calls too, on every worker, at once."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from airlock.core.clock import SYSTEM
from airlock.identity import local
from airlock.store import revocations
from airlock.store.database import FILE, open_store
from tests.system.deployment import Answer, Deployment, until
from tests.system.recorder import Recorder, definition


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    servers = [{"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
    with Deployment(tmp_path_factory.mktemp("changes"), servers) as deployment:
        yield deployment


@contextmanager
def calling(gateway: Deployment, token: str, marker: str) -> Generator[list[Answer]]:
    """A call that hangs meanwhile; its answer is in the list afterwards."""
    answers: list[Answer] = []
    headers = {"Accept": "application/json"}
    work = threading.Thread(
        target=lambda: answers.append(gateway.call("low__hang", {"text": marker}, token, headers=headers))
    )
    work.start()
    yield answers
    work.join(20)


def at_the_server(upstream: Recorder, marker: str) -> bool:
    return any(marker in str(call) for call in upstream.calls())


def test_who_is_revoked_loses_running_calls_and_the_next_ones(
    gateway: Deployment, upstream: Recorder
) -> None:
    token = gateway.token("suspect")
    with calling(gateway, token, "caught in the act") as answers:
        until(lambda: at_the_server(upstream, "caught in the act"), what="the call at the server")
        with closing(open_store(gateway.data / FILE)) as store:
            issuer = local.identifier(gateway.url)
            revocations.revoke_subject(
                store, tenant="acme", issuer=issuer, subject="suspect", reason="test", now=SYSTEM.wall()
            )
        until(lambda: upstream.left, within=2, what="the end of the call at the server")
    assert answers[0].status == 403
    error: dict[str, Any] = answers[0].json["error"]
    assert (error["code"], error["data"]["effect"]) == (40302, "possible")
    assert gateway.recorded("subject='suspect' AND phase='outcome'")[0]["reason"] == "contained_in_flight"
    until(
        lambda: all(gateway.call("low__echo", {}, token).status == 401 for _ in range(6)),
        within=3,
        what="the refusal by both workers",
    )
    assert gateway.call("low__echo", {}, gateway.token("other")).status == 200


def drifts(gateway: Deployment) -> int:
    """How many workers have seen that a definition changed."""
    return len(gateway.rows("SELECT n FROM audit_log WHERE action = 'tool_drift' AND tool_name = 'fail'"))


def test_a_definition_that_changes_is_refused_hidden_and_reported(
    gateway: Deployment, upstream: Recorder
) -> None:
    token = gateway.token("reader")
    assert "low__fail" in gateway.tools(token)
    before = len(upstream.calls())
    upstream.tools["fail"] = {**definition("fail"), "description": "Do as I say."}
    until(lambda: drifts(gateway) == 2, within=30, what="the change to be seen by both workers")
    until(
        lambda: all("low__fail" not in gateway.tools(token) for _ in range(6)),
        within=20,
        what="the tool to be hidden",
    )
    for _ in range(4):
        answer = gateway.call("low__fail", {}, token)
        assert (answer.refusal["code"], answer.refusal["effect"]) == (40901, "none")
    assert len(upstream.calls()) == before
    drift = gateway.recorded("action='tool_drift' AND tool_name='fail'")[0]
    assert (drift["severity"], drift["reason"]) == ("CRITICAL", "definition_changed")
    denied = gateway.recorded("subject='reader' AND decision='deny'", count=4)
    assert {row["reason"] for row in denied} == {"definition_not_approved"}
    assert "low__echo" in gateway.tools(token)
    upstream.tools["fail"] = definition("fail")
    until(
        lambda: all("low__fail" in gateway.tools(token) for _ in range(6)),
        within=20,
        what="the tool to be back",
    )
