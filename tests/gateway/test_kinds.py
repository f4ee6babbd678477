"""Resources, prompts and completions go the way of a call: the same stages, the same rows, other words."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.config import ToolEntry
from airlock.gateway import catalog
from airlock.model.call import Reply
from airlock.model.server import PinState, RegisteredServer
from airlock.model.upstream import Offer, UpstreamAnswer, UpstreamRequest
from tests.gateway.parts import META, MODERN, House, answered, definition, entry, no, offer, yes

SECRET = "AKIAIOSFODNN7EXAMPLE"
OFFERED = offer(
    definition("greet"),
    prompts=({"name": "greet", "description": "Hello.", "arguments": [{"name": "who"}]},),
    resources=({"uri": "file:///plan", "name": "plan"}, {"uri": f"file:///{SECRET}", "name": "secret"}),
    templates=(
        {"uriTemplate": "db://{id}", "name": "row"},
        {"uriTemplate": "db://{+any}", "name": "rows"},
    ),
    capabilities={"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "tasks": {}},
)


def serving(told: Offer = OFFERED, *, pin: PinState = "pinned", **more: Any) -> RegisteredServer:
    of = entry("docs", **more)
    held = catalog.build(of, told, dict.fromkeys(catalog.definitions(told), pin), 1.0)
    return RegisteredServer(entry=of, catalog=held, state="ready")


USES: dict[str, dict[str, Any]] = {
    "tools/call": {"name": "docs__greet", "arguments": {}},
    "prompts/get": {"name": "docs__greet"},
    "resources/read": {"uri": "mcp+docs:file:///plan"},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "docs__greet"},
        "argument": {"name": "who", "value": "b"},
    },
}
"""A use of each method."""


class Trial:
    """One gateway before one server that answers with `result`."""

    def __init__(self, folder: Path, *servers: RegisteredServer) -> None:
        self.house = House(folder, *(servers or (serving(),)), redaction={"detectors": ("aws_key",)})
        self.answer = answered({})
        self.house.upstream.respond = lambda _request, _notify: self.answer

    def ask(self, method: str, params: dict[str, Any], *, modern: bool = False, server: str = "") -> Reply:
        told, headers = dict(params), dict[str, str]()
        if modern:
            told["_meta"] = {f"{META}protocolVersion": MODERN, f"{META}clientCapabilities": {}}
            headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
            if method in ("tools/call", "prompts/get", "resources/read"):
                headers["mcp-name"] = params.get("name") or params["uri"]
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": told}
        return asyncio.run(self.house.govern(self.house.inbound(message, server=server, headers=headers)))

    def __call__(self, method: str, params: dict[str, Any], **how: Any) -> dict[str, Any]:
        """The result or the error."""
        told = msgspec.json.decode(self.ask(method, params, **how).body)
        return told["result"] if "result" in told else told["error"]

    @property
    def sent(self) -> UpstreamRequest:
        return self.house.upstream.requests[-1]

    @property
    def question(self) -> dict[str, Any]:
        return self.house.engine.asked[-1]


READ = {"uri": "mcp+docs:file:///plan"}
GET = {"name": "docs__greet", "arguments": {"who": "Ann"}}
COMPLETE: dict[str, Any] = {
    "ref": {"type": "ref/prompt", "name": "docs__greet"},
    "argument": {"name": "who", "value": "A"},
}


@pytest.mark.parametrize(
    ("method", "params", "sent", "about"),
    [
        (
            "resources/read",
            READ,
            {"uri": "file:///plan"},
            ("file:///plan", "resource:file:///plan", "file:///plan"),
        ),
        (
            "resources/read",
            {"uri": "mcp+docs:db://7"},
            {"uri": "db://7"},
            ("db://7", "template:db://{id}", "db://7"),
        ),
        (
            "resources/read",
            {"uri": "mcp+docs:db://7/8"},
            {"uri": "db://7/8"},
            ("db://7/8", "template:db://{+any}", "db://7/8"),
        ),
        ("prompts/get", GET, {"name": "greet", "arguments": {"who": "Ann"}}, ("greet", "prompt:greet", "")),
        (
            "prompts/get",
            {"name": "docs__greet"},
            {"name": "greet", "arguments": {}},
            ("greet", "prompt:greet", ""),
        ),
        (
            "completion/complete",
            {**COMPLETE, "context": {"arguments": {"x": "y"}}},
            {
                "ref": {"type": "ref/prompt", "name": "greet"},
                "argument": {"name": "who", "value": "A"},
                "context": {"arguments": {"x": "y"}},
            },
            ("", "prompt:greet", ""),
        ),
        (
            "completion/complete",
            {**COMPLETE, "ref": {"type": "ref/resource", "uri": "mcp+docs:db://{id}"}},
            {"ref": {"type": "ref/resource", "uri": "db://{id}"}, "argument": {"name": "who", "value": "A"}},
            ("", "template:db://{id}", "db://{id}"),
        ),
        (
            "completion/complete",
            {**COMPLETE, "ref": {"type": "ref/resource", "uri": "mcp+docs:file:///plan"}},
            {
                "ref": {"type": "ref/resource", "uri": "file:///plan"},
                "argument": {"name": "who", "value": "A"},
            },
            ("", "resource:file:///plan", "file:///plan"),
        ),
    ],
)
def test_policy_is_asked_about_what_the_server_then_gets(
    tmp_path: Path, method: str, params: dict[str, Any], sent: dict[str, Any], about: tuple[str, str, str]
) -> None:
    trial, (name, target, uri) = Trial(tmp_path), about
    trial(method, params)
    assert (trial.sent.method, trial.sent.params, trial.sent.name) == (method, sent, name)
    asked = trial.question
    assert (asked["phase"], asked["action"]) == ("call", method)
    assert (asked["target"]["name"], asked["target"]["uri"]) == (target, uri)
    assert asked["target"]["kind"] == target.partition(":")[0]


@pytest.mark.parametrize(
    ("method", "params", "action"),
    [("resources/read", READ, "resource_read"), ("prompts/get", GET, "prompt_get")],
)
def test_an_intent_comes_before_the_server_and_an_outcome_before_the_answer(
    tmp_path: Path, method: str, params: dict[str, Any], action: str
) -> None:
    trial = Trial(tmp_path)
    trial(method, params)
    assert trial.house.transcript == ["durable intent", "upstream", "durable outcome allow", "answered"]
    assert {event.action for event in trial.house.log.events} == {action}


def test_a_read_of_what_is_read_only_and_low_needs_no_intent(tmp_path: Path) -> None:
    low = {"resource:file:///plan": ToolEntry(sensitivity="low", read_only=True)}
    trial = Trial(tmp_path, serving(tools=low))
    trial("resources/read", READ)
    assert trial.house.log.intents() == []


@pytest.mark.parametrize("modern", [False, True])
def test_what_is_read_leaves_less_its_secrets_and_under_the_uris_of_the_route(
    tmp_path: Path, modern: bool
) -> None:
    trial = Trial(tmp_path)
    blob = base64.b64encode(f"key={SECRET}".encode()).decode()
    trial.answer = answered(
        {
            "ttlMs": 10,
            "contents": [
                {"uri": "file:///plan", "text": f"the key is {SECRET}"},
                {"uri": "file:///plan/b", "blob": blob},
                7,
            ],
        }
    )
    told = trial("resources/read", READ, modern=modern)
    first, second, third = told["contents"]
    assert first == {"uri": READ["uri"], "text": "the key is [REDACTED:aws_key]"}
    assert second["uri"] == "mcp+docs:file:///plan/b"
    assert b"[REDACTED:aws_key]" in base64.b64decode(second["blob"])
    assert third == 7
    assert (told.get("ttlMs"), told.get("cacheScope")) == ((10, "private") if modern else (None, None))


def test_on_the_route_of_a_server_its_uris_are_its_own(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.answer = answered({"contents": [{"uri": "file:///plan", "text": "x"}]})
    assert (
        trial("resources/read", {"uri": "file:///plan"}, server="docs")["contents"][0]["uri"]
        == "file:///plan"
    )
    assert "Unknown resource" in trial("resources/read", READ, server="docs")["message"]


def test_a_uri_that_was_asked_for_comes_back_as_it_was(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.answer = answered({"contents": [{"uri": f"file:///{SECRET}", "text": "x"}]})
    uri = f"mcp+docs:file:///{SECRET}"
    assert trial("resources/read", {"uri": uri})["contents"][0]["uri"] == uri
    assert all(SECRET not in event.resource + event.tool_name for event in trial.house.log.events)


def test_the_messages_of_a_prompt_leave_less_their_secrets(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    plain = {"role": "assistant", "content": {"type": "text", "text": "fine"}}
    trial.answer = answered(
        {
            "messages": [
                {"role": "user", "content": {"type": "text", "text": SECRET}},
                plain,
                {"role": "user", "content": {"type": "resource", "resource": {"uri": "a:b", "text": SECRET}}},
            ]
        }
    )
    messages = trial("prompts/get", GET)["messages"]
    assert messages[0]["content"]["text"] == "[REDACTED:aws_key]"
    assert messages[1] == plain
    assert messages[2]["content"]["resource"] == {"uri": "mcp+docs:a:b", "text": "[REDACTED:aws_key]"}
    trial.answer = answered({"messages": [plain], "description": "x"})
    assert trial("prompts/get", GET)["messages"] == [plain]


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize(
    ("method", "params", "word"),
    [
        ("resources/read", {"uri": "mcp+docs:file:///none"}, "resource"),
        ("resources/read", {"uri": "mcp+none:file:///plan"}, "resource"),
        ("prompts/get", {"name": "docs__none"}, "prompt"),
        ("completion/complete", {**COMPLETE, "ref": {"type": "ref/prompt", "name": "docs__none"}}, "prompt"),
        (
            "completion/complete",
            {**COMPLETE, "ref": {"type": "ref/resource", "uri": "mcp+docs:none:"}},
            "resource",
        ),
    ],
)
def test_what_does_not_exist_is_said_in_the_words_of_the_era(
    tmp_path: Path, method: str, params: dict[str, Any], word: str, modern: bool
) -> None:
    trial = Trial(tmp_path)
    reply = trial.ask(method, params, modern=modern)
    error = msgspec.json.decode(reply.body)["error"]
    legacy_read = method == "resources/read" and not modern
    assert (reply.status, error["code"]) == (200, -32002 if legacy_read else -32602)
    assert error["message"].startswith(f"Unknown {word}: ")
    assert ("uri" in error.get("data", {})) is (word == "resource")
    assert trial.house.log.events[-1].reason == f"unknown_{word}"
    assert trial.house.upstream.requests == []


@pytest.mark.parametrize(("method", "params"), [("resources/read", READ), ("prompts/get", GET)])
def test_what_policy_hides_does_not_exist(tmp_path: Path, method: str, params: dict[str, Any]) -> None:
    trial = Trial(tmp_path)
    trial.house.engine.answer = no
    assert "Unknown" in trial(method, params)["message"]
    trial.house.engine.answer = lambda asked: (yes if asked["phase"] == "list" else no)(asked)
    error = trial(method, params)
    assert (error["code"], error["data"]["scope"]["server"]) == (40301, "docs")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", GET),
        ("completion/complete", COMPLETE),
        ("resources/read", {"uri": "mcp+docs:db://1"}),
    ],
)
def test_a_changed_definition_is_not_used(tmp_path: Path, method: str, params: dict[str, Any]) -> None:
    trial = Trial(tmp_path, serving(pin="changed"))
    assert trial(method, params)["code"] == 40901


def test_an_argument_that_a_prompt_declares_in_other_case_is_refused(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    assert trial("prompts/get", {"name": "docs__greet", "arguments": {"Who": "x"}})["code"] == -32602
    plain = offer(prompts=({"name": "greet", "arguments": [7, {"name": 7}]},))
    free = Trial(tmp_path, serving(plain))
    free("prompts/get", {"name": "docs__greet", "arguments": {"Who": "x"}})
    assert free.sent.params["arguments"] == {"Who": "x"}


def test_a_uri_of_which_something_may_not_be_sent_is_not_read(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    obliged = msgspec.structs.replace(
        yes({}), obligations=msgspec.structs.replace(yes({}).obligations, redact=("email",))
    )
    trial.house.engine.answer = lambda _: obliged
    assert trial("resources/read", {"uri": "mcp+docs:db://ann@example.com"})["code"] == 50001
    trial("resources/read", {"uri": "mcp+docs:db://7"})
    assert trial.sent.params == {"uri": "db://7"}
    trial("prompts/get", {"name": "docs__greet", "arguments": {"who": "ann@example.com"}})
    assert trial.sent.params["arguments"] == {"who": "[REDACTED:email]"}
    trial("resources/read", READ)
    assert trial.sent.params == {"uri": "file:///plan"}


@pytest.mark.parametrize(("modern", "code"), [(False, -32002), (True, -32602)])
def test_a_server_that_knows_no_such_resource_is_told_in_the_words_of_the_era(
    tmp_path: Path, modern: bool, code: int
) -> None:
    trial = Trial(tmp_path)
    trial.answer = UpstreamAnswer(
        error={"code": -32602, "message": "gone", "data": {"uri": "file:///plan"}}, size=10, era=MODERN
    )
    error = trial("resources/read", READ, modern=modern)
    assert (error["code"], error["data"]["uri"]) == (code, READ["uri"])


def test_lists_show_everything_under_the_names_of_the_route(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    assert trial("prompts/list", {})["prompts"] == [{**OFFERED.prompts[0], "name": "docs__greet"}]
    resources = trial("resources/list", {}, modern=True)
    assert resources["cacheScope"] == "private"
    assert {one["uri"] for one in resources["resources"]} == {
        "mcp+docs:file:///plan",
        f"mcp+docs:file:///{SECRET}",
    }
    own = trial("resources/templates/list", {}, server="docs")["resourceTemplates"]
    assert [one["uriTemplate"] for one in own] == ["db://{+any}", "db://{id}"]
    phases = [(asked["phase"], asked["action"], asked["target"]["uri"]) for asked in trial.house.engine.asked]
    assert ("list", "prompts/get", "") in phases and ("list", "resources/read", "db://{id}") in phases


def test_what_servers_can_is_said_as_far_as_it_is_served(tmp_path: Path) -> None:
    trial = Trial(tmp_path, serving(), RegisteredServer(entry=entry("cold")))
    assert {"tools", "prompts", "resources"} == trial("server/discover", {}, modern=True)[
        "capabilities"
    ].keys()
    only = offer(prompts=({"name": "x"},), capabilities={"prompts": {}, "experimental": {"x": {}}})
    alone = Trial(tmp_path, serving(only))
    assert alone("server/discover", {}, modern=True, server="docs")["capabilities"].keys() == {"prompts"}
    assert alone("server/discover", {}, modern=True)["capabilities"].keys() == {"tools", "prompts"}


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("method", USES)
def test_what_a_server_did_not_run_for_its_headers_is_sent_once_more_and_not_told(
    tmp_path: Path, method: str, *, modern: bool
) -> None:
    trial = Trial(tmp_path)
    trial.answer = answered(error={"code": -32020, "message": "header mismatch"})
    told = trial(method, USES[method], modern=modern)
    assert (told["code"], told["data"]) == (-32603, {"upstreamCode": -32020})
    assert len(trial.house.upstream.requests) == 2
    assert trial.house.stale == ["docs"]
