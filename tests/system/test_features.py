"""Resources, prompts and completions over real servers of both eras and both transports: merged, named,
policed, redacted and recorded like tools."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from airlock.cli.demo.site import stdio_command
from tests.system.deployment import MODERN, Answer, Deployment, envelope, free_port, until

ROOT = Path(__file__).parents[2]
FIXTURE = [sys.executable, "-m", "tests.conformance.fixture"]
SERVERS = ("modern", "legacy", "pipe")
ERAS = pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
ON_EVERY_SERVER = pytest.mark.parametrize("server", SERVERS)
NAMED = {"prompts/get": "name", "resources/read": "uri"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("features")
    # Under root the stdio server has a user of its own, which has to walk to its directory.
    for parent in (folder.parent, folder.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)
    with ExitStack() as stack:
        entries: list[dict[str, Any]] = []
        for era in SERVERS[:2]:
            port = free_port()
            process = subprocess.Popen([*FIXTURE, "--port", str(port), "--era", era], cwd=ROOT)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            entries.append({"name": era, "transport": "http", "url": f"http://127.0.0.1:{port}/mcp"})
        entries.append(over_stdio())
        common = {"sensitivity": "low", "read_only": True}
        deployment = Deployment(
            folder,
            [{**common, **entry} for entry in entries],
            lists={"page": 4},
            logging={"audit_all_requests": True},
        )
        yield stack.enter_context(deployment)


def over_stdio() -> dict[str, Any]:
    """The fixture as a program that the gateway starts, by an interpreter that every user may run."""
    (interpreter, _), environment = stdio_command("notes.py")
    return {
        "name": "pipe",
        "transport": "stdio",
        "command": [interpreter, *FIXTURE[1:], "--stdio"],
        "env": {"PYTHONPATH": f"{ROOT}:{environment['PYTHONPATH']}", "PYTHONDONTWRITEBYTECODE": "1"},
        "tools": {
            "prompt:test_prompt_with_image": {"sensitivity": "critical"},
            "resource:test://watched-resource": {"sensitivity": "high"},
        },
    }


def ask(
    site: Deployment,
    method: str,
    params: Mapping[str, Any] | None = None,
    *,
    modern: bool = False,
    path: str = "/mcp",
    roles: Sequence[str] = ("viewer",),
    subject: str = "reader",
) -> Answer:
    """One request, as a legacy client without session or as a modern client."""
    told = dict(params or {})
    headers: dict[str, str] = {}
    if modern:
        told["_meta"] = envelope()
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if method in NAMED:
            headers["Mcp-Name"] = told[NAMED[method]]
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": told}
    return site.post(message, site.token(subject, roles=roles), path=path, headers=headers)


def result(answer: Answer) -> dict[str, Any]:
    assert "result" in answer.json, answer.body
    return answer.json["result"]


def every_page(site: Deployment, method: str, member: str, **how: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    while True:
        page = result(ask(site, method, params, **how))
        assert len(page[member]) <= 4
        found += page[member]
        if "nextCursor" not in page:
            return found
        params = {"cursor": page["nextCursor"]}


@ERAS
def test_lists_are_merged_in_one_order_over_pages(site: Deployment, modern: bool) -> None:
    prompts = [prompt["name"] for prompt in every_page(site, "prompts/list", "prompts", modern=modern)]
    assert prompts == sorted(prompts)
    assert {name.split("__")[0] for name in prompts} == set(SERVERS)
    resources = [one["uri"] for one in every_page(site, "resources/list", "resources", modern=modern)]
    assert resources == [
        f"mcp+{server}:test://{name}"
        for server in sorted(SERVERS)
        for name in ("static-binary", "static-text", "watched-resource")
        if (server, name) != ("pipe", "watched-resource")
    ]
    templates = every_page(site, "resources/templates/list", "resourceTemplates", modern=modern)
    assert [one["uriTemplate"] for one in templates] == [
        f"mcp+{server}:test://template/{{id}}/data" for server in sorted(SERVERS)
    ]


@ERAS
@ON_EVERY_SERVER
def test_a_resource_is_read_where_it_is(site: Deployment, server: str, modern: bool) -> None:
    uri = f"mcp+{server}:test://static-text"
    read = result(ask(site, "resources/read", {"uri": uri}, modern=modern))
    assert read["contents"][0] == {
        "uri": uri,
        "mimeType": "text/plain",
        "text": "This is the content of the static text resource.",
    } | {key: read["contents"][0][key] for key in read["contents"][0].keys() & {"_meta"}}
    assert ("resultType" in read, read.get("cacheScope")) == ((True, "private") if modern else (False, None))
    own = result(ask(site, "resources/read", {"uri": "test://static-binary"}, path=f"/mcp/{server}"))
    assert own["contents"][0]["uri"] == "test://static-binary"
    assert own["contents"][0]["blob"]


@ERAS
@ON_EVERY_SERVER
def test_a_template_reads_what_it_stands_for(site: Deployment, server: str, modern: bool) -> None:
    uri = f"mcp+{server}:test://template/{server}-1/data"
    contents = result(ask(site, "resources/read", {"uri": uri}, modern=modern))["contents"]
    assert contents[0]["uri"] == uri
    assert f"{server}-1" in contents[0]["text"]


@ERAS
@ON_EVERY_SERVER
def test_a_prompt_is_got_by_its_name_on_the_route(site: Deployment, server: str, modern: bool) -> None:
    params = {"name": f"{server}__test_prompt_with_arguments", "arguments": {"arg1": "one", "arg2": "two"}}
    text = result(ask(site, "prompts/get", params, modern=modern))["messages"][0]["content"]["text"]
    assert "one" in text and "two" in text
    inside = {"name": "test_prompt_with_embedded_resource", "arguments": {"resourceUri": "test://x"}}
    own = result(ask(site, "prompts/get", inside, modern=modern, path=f"/mcp/{server}"))
    assert own["messages"][0]["content"]["resource"]["uri"] == "test://x"
    merged = {**inside, "name": f"{server}__{inside['name']}"}
    found = result(ask(site, "prompts/get", merged, modern=modern))
    assert found["messages"][0]["content"]["resource"]["uri"] == f"mcp+{server}:test://x"


@ERAS
@ON_EVERY_SERVER
def test_completions_come_from_the_server_of_what_is_completed(
    site: Deployment, server: str, modern: bool
) -> None:
    prompt = {"type": "ref/prompt", "name": f"{server}__test_prompt_with_arguments"}
    template = {"type": "ref/resource", "uri": f"mcp+{server}:test://template/{{id}}/data"}
    for ref, name in ((prompt, "arg1"), (template, "id")):
        params = {"ref": ref, "argument": {"name": name, "value": ""}}
        found = result(ask(site, "completion/complete", params, modern=modern))
        assert isinstance(found["completion"]["values"], list)


@ERAS
def test_what_policy_hides_is_in_no_list_and_is_not_there(site: Deployment, modern: bool) -> None:
    hidden, not_there = "pipe__test_prompt_with_image", "pipe__no_such_prompt"
    seen = {prompt["name"] for prompt in every_page(site, "prompts/list", "prompts", modern=modern)}
    all_of_them = {
        prompt["name"]
        for prompt in every_page(site, "prompts/list", "prompts", modern=modern, roles=["admin"])
    }
    assert all_of_them - seen == {hidden}
    answers = [ask(site, "prompts/get", {"name": name}, modern=modern) for name in (hidden, not_there)]
    assert [answer.status for answer in answers] == [200, 200]
    assert [answer.json["error"] for answer in answers] == [
        {"code": -32602, "message": f"Unknown prompt: {name}"} for name in (hidden, not_there)
    ]
    assert result(ask(site, "prompts/get", {"name": hidden}, modern=modern, roles=["admin"]))["messages"]


@ERAS
def test_a_resource_that_nobody_lists_is_not_there(site: Deployment, modern: bool) -> None:
    for uri in (
        "mcp+pipe:test://nothing",
        "test://static-text",
        "mcp+pipe:test://watched-resource",
        "mcp+no:x",
    ):
        error = ask(site, "resources/read", {"uri": uri}, modern=modern).json["error"]
        assert error == {
            "code": -32602 if modern else -32002,
            "message": f"Unknown resource: {uri}",
            "data": {"uri": uri},
        }


@ERAS
def test_a_developer_is_told_what_needs_an_approval(site: Deployment, modern: bool) -> None:
    params = {"uri": "mcp+pipe:test://watched-resource"}
    answer = ask(site, "resources/read", params, modern=modern, roles=["developer"])
    error = answer.json["error"]
    assert (answer.status, error["code"]) == (200, 40303)
    assert error["data"]["scope"] == {
        "kind": "resource",
        "server": "pipe",
        "name": "resource:test://watched-resource",
    }


def test_a_cursor_is_of_one_caller_and_one_list(site: Deployment) -> None:
    cursor = result(ask(site, "prompts/list"))["nextCursor"]
    assert result(ask(site, "prompts/list", {"cursor": cursor}))["prompts"]
    others: list[dict[str, Any]] = [{"subject": "somebody-else"}, {"roles": ["admin"]}, {"path": "/mcp/pipe"}]
    for other in others:
        error = ask(site, "prompts/list", {"cursor": cursor}, **other).json["error"]
        assert error["code"] == -32602
    assert ask(site, "resources/list", {"cursor": cursor}).json["error"]["code"] == -32602


def test_every_use_and_every_list_leaves_its_rows(site: Deployment) -> None:
    who: dict[str, Any] = {"subject": "recorded"}
    ask(site, "resources/read", {"uri": "mcp+modern:test://template/9/data"}, **who)
    ask(site, "prompts/get", {"name": "legacy__test_simple_prompt"}, **who)
    ref = {"type": "ref/prompt", "name": "pipe__test_prompt_with_arguments"}
    ask(site, "completion/complete", {"ref": ref, "argument": {"name": "arg1", "value": ""}}, **who)
    ask(site, "resources/list", **who)
    rows = site.recorded("tenant = 'acme' AND subject = 'recorded'", count=4)
    assert [(row["action"], row["decision"], row["resource"] or "") for row in rows] == [
        ("resource_read", "allow", "mcp://modern/template:test://template/{id}/data"),
        ("prompt_get", "allow", "mcp://legacy/prompt:test_simple_prompt"),
        ("completion", "allow", "mcp://pipe/prompt:test_prompt_with_arguments"),
        ("resources_list", "allow", ""),
    ]


def test_leases_hold_one_prompt_or_everything_of_a_server(site: Deployment) -> None:
    prompt, names = (
        {"name": "legacy__test_prompt_with_arguments"},
        lambda: {one["name"] for one in every_page(site, "prompts/list", "prompts")},
    )
    quarantine = give(site, "tool.quarantine", server="legacy", tool="prompt:test_prompt_with_arguments")
    error = refused(site, "prompts/get", prompt)
    assert error["data"]["scope"] == {
        "kind": "prompt",
        "server": "legacy",
        "name": "prompt:test_prompt_with_arguments",
    }
    assert "legacy__test_simple_prompt" in names() and prompt["name"] not in names()
    release(site, quarantine)
    until(lambda: prompt["name"] in names(), what="the prompt is back")
    disabled = give(site, "server.disable", server="legacy")
    scope = {"kind": "server", "server": "legacy"}
    assert refused(site, "resources/read", {"uri": "mcp+legacy:test://x"}, known=False)["code"] == -32602
    assert refused(site, "resources/read", {"uri": "mcp+legacy:test://static-text"})["data"]["scope"] == scope
    assert refused(site, "prompts/get", prompt)["data"]["scope"] == scope
    assert not any(name.startswith("legacy__") for name in names())
    assert result(ask(site, "prompts/list"))["_meta"]["dev.airlock/upstreams"]["legacy"] == "contained"
    release(site, disabled)
    until(lambda: prompt["name"] in names(), what="the server is back")


def admin(site: Deployment) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.token('operator', roles=['admin'])}"}


def give(site: Deployment, action: str, **selector: str) -> str:
    order = {"action": action, "selector": selector, "reason": "a trial"}
    given = site.send("POST", "/api/v1/leases", json.dumps(order).encode(), admin(site))
    return given.json["lease_id"]


def release(site: Deployment, lease: str) -> None:
    assert site.send("DELETE", f"/api/v1/leases/{lease}", None, admin(site)).status == 200


def refused(site: Deployment, method: str, params: dict[str, Any], *, known: bool = True) -> dict[str, Any]:
    """The error of a request, once it is one of containment where the item is `known`."""
    error: dict[str, Any] = until(
        lambda: (
            (found := ask(site, method, params, modern=True).json.get("error"))
            and (found["code"] == 40302 or not known)
            and found
        ),
        what=f"{method} is refused",
    )
    return error


@ERAS
def test_what_is_advertised_is_what_is_served(site: Deployment, modern: bool) -> None:
    if modern:
        told = result(ask(site, "server/discover", modern=True))
        own = result(ask(site, "server/discover", modern=True, path="/mcp/legacy"))
    else:
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        told = result(ask(site, "initialize", hello))
        own = result(ask(site, "initialize", hello, path="/mcp/modern"))
    for said in (told, own):
        assert {"tools", "prompts", "resources", "completions"} <= said["capabilities"].keys()
        assert not said["capabilities"].keys() & {"tasks", "experimental", "extensions"}
