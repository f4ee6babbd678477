"""C-5: how long a client may keep a list depends on the servers, the configuration and the leases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.gateway.lifetime import Lifetime
from airlock.model.call import Identified
from airlock.model.containment import compiled
from airlock.model.lease import Lease
from airlock.model.server import RegisteredServer
from tests.gateway.parts import HandClock, authenticated, identified, registered, snapshot
from tests.model.test_containment import lease


def keeping(milliseconds: int, name: str = "docs", **more: Any) -> RegisteredServer:
    server = registered(name, **more)
    assert server.catalog is not None
    return msgspec.structs.replace(
        server, catalog=msgspec.structs.replace(server.catalog, keep_ms=milliseconds)
    )


def asking(*servers: RegisteredServer, held: tuple[Lease, ...] = (), server: str = "") -> Identified:
    at = msgspec.structs.replace(snapshot(*servers), leases=compiled(held, epoch=1))
    return identified("tools/list", {}, caller=authenticated(at=at, server=server))


@pytest.mark.parametrize(
    ("servers", "most", "ms"),
    [
        ((keeping(60_000),), 300.0, 60_000),
        ((keeping(0), keeping(60_000, "files")), 300.0, 0),
        ((keeping(9_000_000), keeping(400_000, "files")), 300.0, 300_000),
        ((keeping(60_000),), 10.0, 10_000),
        ((registered(),), 300.0, 30_000),
        ((keeping(60_000), keeping(1, "theirs", tenant="globex")), 300.0, 60_000),
    ],
    ids=["as it says", "the least", "not for ever", "as configured", "unsaid", "of another tenant"],
)
def test_a_list_is_kept_as_long_as_its_servers_and_the_configuration_allow(
    servers: tuple[RegisteredServer, ...], most: float, ms: int
) -> None:
    assert Lifetime(clock=HandClock(), most=most).of_list(asking(*servers)) == ms


QUARANTINE = {"server": "docs", "tool": "echo"}


@pytest.mark.parametrize(
    ("held", "ms"),
    [
        (lease("tool.quarantine", QUARANTINE, lasts=60.0), 5_000),
        (lease("tool.quarantine", QUARANTINE, lasts=2.0), 2_000),
        (lease("server.disable", {"server": "docs"}, lasts=3.0), 3_000),
        (msgspec.structs.replace(lease("server.disable", {"server": "docs"}), expires_at=None), 5_000),
        (lease("server.disable", {"server": "docs"}, lasts=-1.0), 60_000),
        (lease("server.disable", {"server": "elsewhere"}), 60_000),
        (lease("subject.suspend", {"subject": "somebody"}), 60_000),
    ],
    ids=[
        "a tool",
        "a tool, not for long",
        "a server",
        "a server, for good",
        "a server, until a while ago",
        "none here",
        "a caller",
    ],
)
def test_a_list_is_kept_no_longer_than_what_holds_something_back(held: Lease, ms: int) -> None:
    keep = Lifetime(clock=HandClock(), most=300.0)
    assert keep.of_list(asking(keeping(60_000), held=(held,))) == ms


def test_what_one_server_answers_is_kept_whatever_another_one_says() -> None:
    keep = Lifetime(clock=HandClock(), most=300.0)
    assert keep.at_most(asking(keeping(1_000))) == 300_000
    held = lease("tool.quarantine", QUARANTINE)
    assert keep.at_most(asking(keeping(1_000), held=(held,))) == 5_000
    assert keep.at_most(asking(registered(), registered("files"), held=(held,), server="files")) == 300_000
