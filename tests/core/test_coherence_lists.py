"""Rules between keys of `lists` and `redaction`, seen through `load`."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.config import Config, NarrowEntry
from airlock.core.errors import ConfigError
from airlock.core.settings import load

SERVER = "servers:\n- {name: %s, transport: http, url: 'http://127.0.0.1:9/mcp'}\n"


def loaded(folder: Path, text: str, name: str = "docs") -> Config:
    file = folder / "airlock.yaml"
    file.write_text(SERVER % name + text)
    return load(file, {}).config


def problems(folder: Path, text: str, name: str = "docs") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, name)
    return [problem.what for problem in caught.value.problems]


def test_narrowing_needs_somebody_and_something(tmp_path: Path) -> None:
    text = "lists: {narrow: [{tags: [a]}, {roles: [viewer], tags: []}]}\n"
    assert problems(tmp_path, text) == [
        "lists.narrow.0: names nobody",
        "lists.narrow.1.tags: empty",
    ]


def test_narrowing_by_role_or_client_is_read(tmp_path: Path) -> None:
    text = "lists: {find_tools: true, always: [daily], narrow: [{clients: [ide], tags: [a]}]}\n"
    lists = loaded(tmp_path, text).lists
    assert (lists.find_tools, lists.always) == (True, ("daily",))
    assert lists.narrow == (NarrowEntry(clients=("ide",), tags=("a",)),)


def test_refusals_are_told_in_their_form_on_routes_that_there_are(tmp_path: Path) -> None:
    text = "denials: {tools_call: jsonrpc, routes: [%s]}\n"
    assert loaded(tmp_path, text % "/mcp, /mcp/docs").denials.routes == ("/mcp", "/mcp/docs")
    assert problems(tmp_path, text % "/mcp, docs, /mcp/dosc") == [
        "denials.routes.1: found `docs`",
        "denials.routes.2: found `/mcp/dosc`",
    ]


@pytest.mark.parametrize("name", ["airlock", "airlock-incidents"])
def test_beside_the_gateway_itself_no_server_is_called_like_it(tmp_path: Path, name: str) -> None:
    assert problems(tmp_path, "", name) == [f"servers.0.name: {name} is taken"]


def test_destinations_name_detectors_and_servers(tmp_path: Path) -> None:
    text = "redaction: {destinations: {github_token: [docs], password: []}}\n"
    destinations = loaded(tmp_path, text).redaction.destinations
    assert destinations == {"github_token": ("docs",), "password": ()}


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{github: [docs]}", "redaction.destinations.github: no such detector"),
        ("{github_token: [dosc]}", "redaction.destinations.github_token: no server dosc"),
    ],
)
def test_a_destination_that_is_none_is_refused(tmp_path: Path, rule: str, problem: str) -> None:
    assert problems(tmp_path, f"redaction: {{destinations: {rule}}}\n") == [problem]
