"""XD-2: a path that the router reads in one way and the guard in another.

Control: the raw path of the request line, and nothing of `Host`, is routed; a path with escapes, empty
segments or dots is refused before; each route asks for its own credential. With `plain_path` made to
normalise, or a route table that matches case-insensitively, cases of this file fail.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.system.deployment import Deployment
from tests.system.recorder import Recorder
from tests.system.wire import Field, bearer, message, routing, send

DOOR = "/admin/policy/status"
REFUSED = {400, 401, 404, 405, 421}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    low = {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
    with Deployment(tmp_path_factory.mktemp("xd2"), [low]) as deployment:
        yield deployment


def knock(gateway: Deployment, target: str, *fields: Field, token: str = "", host: bool = True) -> int:
    """The status of a GET."""
    own = [("Authorization", f"Bearer {token}")] if token else []
    return send(gateway, [*own, *fields], method="GET", target=target, host=host).status


def test_xd2_twin_the_plain_path_asks_for_its_own_credential(gateway: Deployment) -> None:
    assert knock(gateway, DOOR) == 401
    assert knock(gateway, DOOR, token=gateway.token()) == 403
    assert knock(gateway, DOOR, token=gateway.token(roles=["admin"])) == 200
    assert knock(gateway, f"{DOOR}?x=1", token=gateway.token(roles=["admin"])) == 200
    assert knock(gateway, "/live") == 200


HOSTS = (
    "x/?", "x#", "x?", "x/", "x\\", "localhost/live?", "localhost/live#", "localhost:{port}/live?",
    "localhost:{port}/?", "localhost:{port}#", "localhost:{port}/live", "localhost:{port}\\live",
    "localhost:{port}%2flive", "/live?", "?", "localhost:{port}@x",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_xd2_the_host_is_no_part_of_the_path(gateway: Deployment, host: str) -> None:
    told = ("Host", host.replace("{port}", str(gateway.port)))
    for target in (DOOR, "/live"):
        for token in ("", gateway.token(), gateway.token(roles=["admin"])):
            assert knock(gateway, target, told, token=token, host=False) in {400, 421}


VARIANTS = (
    "//admin/policy/status", "/admin//policy/status", "/admin/policy/status/", "/./admin/policy/status",
    "/live/../admin/policy/status", "/admin/./policy/status", "/live/..%2fadmin/policy/status",
    "/admin%2fpolicy%2fstatus", "/%61dmin/policy/status", "/admin/policy/statu%73", "/ADMIN/policy/status",
    "/Admin/Policy/Status", "/admin/policy/status;x", "/admin/policy/status%00", "/admin/policy/status%20",
    "/admin/policy/status%23", "/admin\\policy\\status", "/admin/policy/status%3f", "/live;/../admin/policy",
    "/live/%2e%2e/admin/policy/status", "/live/%252e%252e/admin/policy/status", "/admin/policy%c0%afstatus",
    "/.well-known/../admin/policy/status", "/mcp/..%2fadmin", "/mcp/../admin/policy/status",
    "/live/..;/admin",
    "/mcp/low/../../admin/policy/status", "admin/policy/status", "/live//../admin/policy/status", "/.", "/..",
)  # fmt: skip


@pytest.mark.parametrize("target", VARIANTS)
def test_xd2_no_spelling_of_a_path_opens_its_door(gateway: Deployment, target: str) -> None:
    for token in ("", gateway.token(), gateway.token(roles=["admin"])):
        assert knock(gateway, target, token=token) in REFUSED


@pytest.mark.parametrize("authority", ["localhost:{port}", "evil.test", "localhost:{port}@evil.test"])
def test_xd2_an_absolute_target_is_its_path(gateway: Deployment, authority: str) -> None:
    target = f"http://{authority.replace('{port}', str(gateway.port))}{DOOR}"
    assert knock(gateway, target) in REFUSED
    assert knock(gateway, target, token=gateway.token()) in REFUSED | {403}
    assert knock(gateway, target.replace(DOOR, "//admin/policy/status")) in REFUSED


@pytest.mark.parametrize(
    "field",
    [
        ("X-Original-URL", DOOR), ("X-Rewrite-URL", DOOR), ("X-Forwarded-Prefix", "/admin/policy/status"),
        ("X-Forwarded-Path", DOOR), ("X-Http-Method-Override", "DELETE"), ("X-Forwarded-For", "127.0.0.1"),
    ],
)  # fmt: skip
def test_xd2_no_header_names_another_path(gateway: Deployment, field: Field) -> None:
    plain = send(gateway, method="GET", target="/live")
    assert send(gateway, [field], method="GET", target="/live").body == plain.body
    assert knock(gateway, DOOR, field) == 401
    assert knock(gateway, DOOR, field, token=gateway.token()) == 403


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize(
    "path",
    ["/MCP", "/Mcp", "/mcp/", "//mcp", "/mcp/LOW", "/mcp/low/", "/mcp/./low", "/mcp/%6cow", "/mcp/low%2f",
     "/mcp;x", "/mcp/low/..", "/live/../mcp", "/mcp/low%00", "/mcp%2flow"],
)  # fmt: skip
def test_xd2_no_spelling_of_an_mcp_path_reaches_a_server(
    gateway: Deployment, upstream: Recorder, path: str, modern: bool
) -> None:
    for tool in ("echo", "low__echo"):
        fields = [*bearer(gateway.token()), *(routing(tool) if modern else [])]
        body = message(
            modern=modern, name=f'"name":"{tool}"', arguments=f'"arguments":{{"text":"xd2 {modern}"}}'
        )
        assert send(gateway, fields, body, target=path).status in REFUSED
    assert not any("xd2" in str(call) for call in upstream.calls())


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize(("path", "tool"), [("/mcp", "low__echo"), ("/mcp/low", "echo")])
def test_xd2_twin_the_plain_mcp_paths_are_served(
    gateway: Deployment, upstream: Recorder, path: str, tool: str, modern: bool
) -> None:
    text = f"plain {path} {modern}"
    assert text in gateway.call(tool, {"text": text}, gateway.token(), path=path, modern=modern).text
    assert sum(text in str(call) for call in upstream.calls()) == 1


PART = st.sampled_from(
    (
        "admin", "policy", "status", "live", "mcp", "low", "..", ".", "", "%2e%2e", "..%2f", "%2f", "%5c",
        "\\", "%00", ";", "ADMIN", "..;", "%252e%252e", "admin%2fpolicy", "%61dmin", "status?", "status#",
    )
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PART, min_size=1, max_size=6))
def test_xd2_paths_made_of_tricks(gateway: Deployment, parts: list[str]) -> None:
    target = "/" + "/".join(parts)
    plain = target.partition("?")[0].partition("#")[0]
    status = knock(gateway, target)
    assert status in REFUSED or (plain == "/live" and status == 200)
    known = plain in ("/live", DOOR, "/admin/status")
    assert known or knock(gateway, target, token=gateway.token()) in REFUSED
