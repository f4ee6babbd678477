"""XD-1: a page of somebody else's makes the browser speak to the gateway under a name of its own.

Control: `Host` and `Origin` are compared, as literals, with what is served here, on every address alike and
before anything else. With `Doors.check` made to pass, the cases of this file fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.system.deployment import Deployment
from tests.system.recorder import Recorder
from tests.system.wire import Field, bearer, message, routing, send

SURFACES = (
    ("POST", "/mcp"), ("POST", "/mcp/low"), ("DELETE", "/mcp"), ("OPTIONS", "/mcp"),
    ("GET", "/admin/policy/status"), ("POST", "/admin/security/block"), ("GET", "/api/v1/leases"),
    ("GET", "/live"), ("GET", "/ready"), ("GET", "/health"), ("GET", "/metrics"), ("GET", "/console"),
    ("GET", "/.well-known/oauth-protected-resource"), ("GET", "/oauth/authorize"), ("GET", "/nothing"),
)  # fmt: skip

FOREIGN = (
    "http://evil.test", "https://evil.test", "null", "http://localhost.evil.test", "file://", "",
    "http://127.0.0.1.evil.test", "http://localhost:3000@evil.test", "http://evil.test:3000",
    "http://localhost:3000.evil.test", "http://localhost:3000/", "ftp://localhost", "localhost",
    "http://[::1].evil.test", "http://localhost\t.evil.test", "HTTP://LOCALHOST.EVIL.TEST",
)  # fmt: skip


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    low = {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
    served = {"allowed_hosts": ["gate.example"], "allowed_origins": ["https://app.example"]}
    with Deployment(tmp_path_factory.mktemp("xd1"), [low], server=served) as deployment:
        yield deployment


def call(
    gateway: Deployment, marker: str, fields: list[Field], *, modern: bool, path: str, host: bool = True
) -> int:
    """The status of a call that is in order but for `fields`."""
    tool = "low__echo" if path == "/mcp" else "echo"
    own = [*bearer(gateway.token()), *(routing(tool) if modern else [])]
    body = message(modern=modern, name=f'"name":"{tool}"', arguments=f'"arguments":{{"text":"{marker}"}}')
    return send(gateway, [*own, *fields], body, target=path, host=host).status


def heard(upstream: Recorder, marker: str) -> int:
    return sum(marker in str(each) for each in upstream.calls())


WAYS = [(modern, path) for modern in (False, True) for path in ("/mcp", "/mcp/low")]


@pytest.mark.parametrize(("modern", "path"), WAYS)
@pytest.mark.parametrize("host", ["own", "gate.example", "GATE.example", "127.0.0.1:1", "[::1]", "localhost"])
def test_xd1_twin_a_configured_host_passes(
    gateway: Deployment, upstream: Recorder, modern: bool, path: str, host: str
) -> None:
    marker = f"twin {modern} {path} {host}"
    value = f"localhost:{gateway.port}" if host == "own" else host
    assert call(gateway, marker, [("Host", value)], modern=modern, path=path, host=False) == 200
    assert heard(upstream, marker) == 1


@pytest.mark.parametrize(("modern", "path"), WAYS)
@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "https://app.example"])
def test_xd1_twin_a_configured_origin_passes(
    gateway: Deployment, upstream: Recorder, modern: bool, path: str, origin: str
) -> None:
    marker = f"page {modern} {path} {origin}"
    assert call(gateway, marker, [("Origin", origin)], modern=modern, path=path) == 200
    assert heard(upstream, marker) == 1


@pytest.mark.parametrize(("modern", "path"), WAYS)
def test_xd1_a_foreign_name_reaches_no_server(
    gateway: Deployment, upstream: Recorder, modern: bool, path: str
) -> None:
    own = f"localhost:{gateway.port}"
    cases: list[list[Field]] = [
        [("Host", "evil.test")],
        [("Host", f"evil.test:{gateway.port}")],
        [("Host", f"{own}@evil.test")],
        [("Host", f"evil.test#{own}")],
        [("Host", "localhost.evil.test")],
        [("Host", "gate.example.evil.test")],
        [("Host", "gate.example:80")],
        [("Host", "")],
        [("Host", own), ("Host", "evil.test")],
        [("Host", "evil.test"), ("X-Forwarded-Host", own)],
        [("Host", "evil.test"), ("Forwarded", f"host={own}")],
        [("X-Forwarded-Host", own)],
    ]
    for fields in cases:
        marker = f"foreign {modern} {path} {fields}".replace('"', "'").replace("\\", "")
        assert call(gateway, marker, fields, modern=modern, path=path, host=False) in (400, 421), fields
        assert heard(upstream, "foreign") == 0


@pytest.mark.parametrize(("modern", "path"), WAYS)
def test_xd1_a_page_of_somebody_else_reaches_no_server(
    gateway: Deployment, upstream: Recorder, modern: bool, path: str
) -> None:
    cases = [[("Origin", origin)] for origin in FOREIGN]
    cases.append([("Origin", "http://localhost:3000"), ("Origin", "http://evil.test")])
    cases.append([("Origin", "http://localhost:3000"), ("Origin", "http://localhost:3000")])
    for fields in cases:
        assert call(gateway, "page of evil", fields, modern=modern, path=path) == 403, fields
    assert heard(upstream, "page of evil") == 0


@pytest.mark.parametrize(("method", "path"), SURFACES)
def test_xd1_every_address_asks_for_host_and_origin_first(
    gateway: Deployment, method: str, path: str
) -> None:
    admin = [("Authorization", f"Bearer {gateway.token(roles=['admin'])}")]
    assert (
        send(gateway, [*admin, ("Host", "evil.test")], method=method, target=path, host=False).status == 421
    )
    assert send(gateway, admin, method=method, target=path, host=False).status in (400, 421)
    assert send(gateway, [*admin, ("Origin", "http://evil.test")], method=method, target=path).status == 403
    upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "x")]
    answer = send(gateway, [*upgrade, ("Origin", "http://evil.test")], method="GET", target=path)
    assert answer.status == 403


LOCAL = st.sampled_from(["localhost", "127.0.0.1", "[::1]", "gate.example", "app.example"])
GLUE = st.sampled_from([".", "@", "#", "?", "/", ":80@", ":80.", "%00.", "%2e", "\\", "-", ",", ";", " "])
EVIL = st.sampled_from(
    ["evil.test", "EVIL.test", "xn--evl-8ma.test", "10.0.0.1", "evil.test.", "evil.test:1"]
)


@st.composite
def disguised(draw: st.DrawFn) -> str:
    """A foreign name that has one of ours in it."""
    local, glue, evil = draw(LOCAL), draw(GLUE), draw(EVIL)
    return draw(st.sampled_from([local + glue + evil, evil + glue + local]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=disguised(), scheme=st.sampled_from(["http", "https"]))
def test_xd1_names_in_disguise(gateway: Deployment, name: str, scheme: str) -> None:
    assert send(gateway, [("Host", name)], method="GET", target="/live", host=False).status in (400, 421)
    assert send(gateway, [("Origin", f"{scheme}://{name}")], method="GET", target="/live").status == 403


def opened(descriptor: Path) -> str:
    """What a descriptor stands for; empty where it was closed meanwhile."""
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""


def test_xd1_there_is_one_listener_and_no_other(gateway: Deployment) -> None:
    assert gateway.process is not None
    pids = [gateway.process.pid, *gateway.children("airlock")]
    assert len(pids) >= 4
    inodes = {
        opened(entry).removeprefix("socket:[").rstrip("]")
        for pid in pids
        for entry in list(Path(f"/proc/{pid}/fd").iterdir())
    }
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
    assert ports == {gateway.port}
