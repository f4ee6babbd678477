"""The product under faults: what `/ready` says of both workers, what callers get, what the log holds.

The data directory is a small volume of its own; of the three servers behind, one stands behind a proxy that
misbehaves, one in a network of its own, one in a process that can be stopped.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.faults import (
    Load,
    Namespace,
    Proxy,
    Seam,
    children,
    clock_shifted,
    full_disk,
    power_loss,
    small_volume,
    stopped,
)
from tests.system.deployment import Answer, Deployment, until
from tests.system.recorder import Recorder

ROOT = Path(__file__).parents[2]
SERVER = """
import sys
from tests.system.recorder import Recorder
with Recorder() as recorder:
    print(recorder.url, flush=True)
    sys.stdin.read()
"""
LOW: dict[str, Any] = {"transport": "http", "sensitivity": "low", "read_only": True, "first_byte_timeout": 3}


GIVEN_UP = 50301
"""What callers are told where a connection breaks, and once several calls in a row have failed: a machine
that is busy gets that far before we ask."""


class Site(msgspec.Struct, kw_only=True):
    """The gateway and what is around it."""

    gateway: Deployment
    seam: Seam
    near: Recorder
    proxy: Proxy
    """In front of `near`."""
    far: Recorder
    cable: Namespace
    """The network of `far`."""
    process: int
    """The one that serves `held`."""

    @property
    def workers(self) -> list[int]:
        assert self.gateway.process is not None
        return children(self.gateway.process.pid, "airlock.worker")

    def call(self, tool: str, text: str = "hello", subject: str = "", ttl: float = 3600) -> Answer:
        token = self.gateway.token(subject or "anybody", ttl=ttl)
        return self.gateway.call(tool, {"text": text}, token)

    def answers(self, tool: str) -> None:
        """Wait for an answer of this tool: the machine may stand still for a moment."""
        until(lambda: "hello" in self.call(tool).text, within=60, what=f"an answer of {tool}")

    def parts(self) -> list[tuple[int, dict[str, Any]]]:
        """Status and components of `/ready`, asked often enough to meet both workers."""
        answers = [self.gateway.get("/ready") for _ in range(12)]
        return [(answer.status, answer.json["components"]) for answer in answers]

    def everywhere(self, status: int, part: str, state: str) -> bool:
        return all((said, components[part]["state"]) == (status, state) for said, components in self.parts())

    def settled(self) -> None:
        """Wait until every part of both workers is well and every server answers."""
        well = {"ok"}

        def is_well() -> bool:
            states = ({each["state"] for each in parts.values()} for _, parts in self.parts())
            return all(found == well for found in states)

        until(is_well, within=90, what=f"health\n{self.gateway.tail()}")
        for tool in ("near__echo", "far__echo", "held__echo"):
            self.answers(tool)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("faults")
    seam = Seam(folder / "seam", disk=True)
    with ExitStack() as stack:
        stack.enter_context(small_volume(folder / "data", mib=32))
        near = stack.enter_context(Recorder())
        proxy = stack.enter_context(Proxy(near.url))
        cable = stack.enter_context(Namespace())
        with cable.entered():
            distant = Recorder(host=cable.address)
        far = stack.enter_context(distant)
        held = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", SERVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        )
        assert held.stdout is not None
        servers = [
            {**LOW, "name": "near", "url": proxy.url},
            {**LOW, "name": "far", "url": far.url, "sensitivity": "medium", "read_only": False},
            {**LOW, "name": "held", "url": held.stdout.readline().strip()},
        ]
        gateway = Deployment(folder, servers, policy={"cache_ttl": 0})
        gateway.environment = seam.environment
        stack.enter_context(gateway)
        yield Site(gateway=gateway, seam=seam, near=near, proxy=proxy, far=far, cable=cable, process=held.pid)


@pytest.fixture
def site(whole: Site) -> Site:
    whole.settled()
    return whole


def digest(text: str) -> str:
    return hashlib.sha256(json.dumps({"text": text}, separators=(",", ":")).encode()).hexdigest()


def recorded(site: Site) -> set[str]:
    """Digests of the arguments of every call that the log says was allowed."""
    sql = (
        "SELECT json_extract(p.data, '$.arguments_digest') FROM audit_log l JOIN audit_personal p USING (n)"
        " WHERE l.action = 'tool_call' AND l.phase = 'outcome' AND l.decision = 'allow'"
    )
    return {found for (found,) in site.gateway.rows(sql)}


def verified(site: Site) -> None:
    done = site.gateway.airlock("audit", "verify", "--config", str(site.gateway.config))
    assert done.returncode == 0, done.stdout + done.stderr


def test_on_a_full_disk_nothing_begins_and_nothing_that_was_answered_is_missing(site: Site) -> None:
    gateway, marker = site.gateway, uuid.uuid4().hex
    with Load(gateway, gateway.token("steady"), "near__echo", rate=40) as load:
        load.more(20)
        with full_disk(gateway.data):
            until(lambda: site.everywhere(503, "audit", "failed"), within=60, what="both workers out")
            assert gateway.get("/live").status == 200
            refusal = site.call("far__echo", marker).refusal
            assert (refusal["code"], refusal["effect"]) == (50303, "none")
        assert marker not in json.dumps(site.far.calls())
        until(lambda: site.everywhere(200, "audit", "ok"), within=60, what="both workers back")
        load.more(20)
    answered = {digest(marker) for marker in load.acknowledged}
    until(lambda: answered <= recorded(site), within=60, what="a row of every answered call")
    verified(site)


def test_a_loss_of_power_takes_nothing_that_was_answered(site: Site) -> None:
    gateway = site.gateway
    assert gateway.process is not None
    with Load(gateway, gateway.token("interrupted"), "far__echo", rate=40) as load:
        load.more(20)
        power_loss(site.seam, gateway.process.pid, gateway.data / "journal")
    gateway.stop()
    gateway.start()
    answered = {digest(marker) for marker in load.acknowledged}
    until(lambda: answered <= recorded(site), within=60, what="a row of every answered call")
    verified(site)


@pytest.mark.parametrize(("seconds", "reason"), [(600, "token_expired"), (-600, "token_not_yet_valid")])
def test_a_wrong_clock_is_said_and_judges_tokens(site: Site, seconds: int, reason: str) -> None:
    gateway = site.gateway
    with clock_shifted(site.seam, site.workers, seconds):
        until(lambda: site.everywhere(200, "clock", "degraded"), within=60, what="the step, in both workers")
        said = site.parts()[0][1]["clock"]["reason"]
        assert abs(float(said.removeprefix("stepped by ").removesuffix(" s")) - seconds) < 30
        before = len(gateway.lines("auth_failure"))
        assert site.call("near__echo", ttl=300).status == 401
        [line, *_] = until(lambda: gateway.lines("auth_failure")[before:], what="the line of the refusal")
        assert line["reason"] == reason
    until(lambda: site.everywhere(200, "clock", "ok"), within=60, what="the right time, in both workers")
    assert site.call("near__echo", ttl=300).status == 200
    verified(site)


def test_a_stopped_server_is_waited_for_no_longer_than_it_may_take(site: Site) -> None:
    with stopped(site.process):
        assert site.call("held__echo", subject="waiting").refusal["code"] in {50401, GIVEN_UP}
        until(lambda: site.everywhere(200, "upstreams", "degraded"), within=60, what="the server is missed")
        assert "of 3 servers" in site.parts()[0][1]["upstreams"]["reason"]
        site.answers("near__echo")
    site.settled()
    [row] = site.gateway.recorded("subject = 'waiting' AND action = 'tool_call'")
    assert row["decision"] == "error"
    assert row["reason"] in {"upstream_timeout", "upstream_unavailable"}


def test_a_server_behind_a_cut_network_is_missed_and_found_again(site: Site) -> None:
    with site.cable.cut():
        refusal = site.call("far__echo", subject="cut off").refusal
        assert refusal["code"] in {50401, GIVEN_UP}
        until(lambda: site.everywhere(200, "upstreams", "degraded"), within=60, what="the server is missed")
        site.answers("near__echo")
    site.settled()
    rows = site.gateway.recorded("subject = 'cut off' AND action = 'tool_call' AND phase = 'outcome'")
    assert [row["decision"] for row in rows] == ["error"]


@pytest.mark.parametrize(
    ("fault", "code"), [("down", 50301), ("garbage", 50201), ("endless", 50201), ("torn", 50201)]
)
def test_a_server_that_misbehaves_harms_its_own_callers_only(site: Site, fault: str, code: int) -> None:
    subject = f"misled by {fault}"
    with getattr(site.proxy, fault)():
        refusal = site.call("near__echo", subject=subject).refusal
        assert refusal["code"] in {code, GIVEN_UP}
        site.answers("held__echo")
    [row] = site.gateway.recorded("subject = ? AND action = 'tool_call'", subject)
    assert (row["decision"], row["server_id"]) == ("error", "near")
