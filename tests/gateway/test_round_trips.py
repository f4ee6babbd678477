"""A modern server asks before it answers a modern client: the whole way of every round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.errors import PolicyFault
from airlock.model.call import Reply
from airlock.model.decision import Decision, Obligations
from airlock.model.upstream import Notify, UpstreamAnswer, UpstreamRequest
from tests.gateway.parts import META, MODERN, House, answered, no, registered, yes

FORM: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {
        "mode": "form",
        "message": "Which team?",
        "requestedSchema": {"type": "object", "properties": {"team": {"type": "string"}}},
    },
}
NOTHING: dict[str, Any] = {}
ROOTS = {"method": "roots/list"}
EVERYTHING: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
AWS = "AKIAQ3EGRCX7EXAMPLEX"
STATE = 'step 1: "kept" \\u00e9'


def url(address: str) -> dict[str, Any]:
    return {"method": "elicitation/create", "params": {"mode": "url", "message": "Log in", "url": address}}


def message(capabilities: dict[str, Any], **params: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"name": "docs__echo", "arguments": {"text": "x"}, **params}
    told["_meta"] = {f"{META}protocolVersion": MODERN, f"{META}clientCapabilities": capabilities}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": told}


class Client:
    """A modern client of one house, whose server answers what a test says."""

    def __init__(self, folder: Path, *, redaction: dict[str, Any] | None = None, **server: Any) -> None:
        self.house = House(folder, registered(**server), redaction=redaction)

    def asks(self, *requests: dict[str, Any], state: str | None = None) -> None:
        result: dict[str, Any] = {"resultType": "input_required"}
        if requests:
            result["inputRequests"] = {f"k{number}": request for number, request in enumerate(requests)}
        if state is not None:
            result["requestState"] = state
        self.responds(lambda _: answered(result))

    def responds(self, respond: Callable[[UpstreamRequest], UpstreamAnswer]) -> None:
        def responding(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
            return respond(request)

        self.house.upstream.respond = responding

    def reply(
        self, *, by: str = "alice", token: str = "", can: dict[str, Any] = EVERYTHING, **params: Any
    ) -> Reply:
        told = message(can, **params)
        headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call"}
        headers["mcp-name"] = told["params"]["name"]
        token = token or self.house.token(by)
        return asyncio.run(self.house.govern(self.house.inbound(told, token=token, headers=headers)))

    def call(self, **told: Any) -> dict[str, Any]:
        return msgspec.json.decode(self.reply(**told).body)

    def refused(self, **told: Any) -> dict[str, Any]:
        return self.call(**told)["result"]["_meta"]["dev.airlock/refusal"]

    @property
    def sent(self) -> UpstreamRequest:
        return self.house.upstream.requests[-1]


def test_a_question_reaches_the_client_and_its_answer_the_server(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.asks(FORM, ROOTS, state=STATE)
    asked = client.call()["result"]
    assert asked["resultType"] == "input_required"
    assert asked["inputRequests"]["k1"] == ROOTS
    form = asked["inputRequests"]["k0"]["params"]
    assert form == {**FORM["params"], "message": "Which team? (asked by the server docs)"}
    assert STATE not in asked["requestState"]
    assert asked["_meta"][f"{META}serverInfo"]["name"] == "airlock"
    assert client.sent.client_capabilities == EVERYTHING

    answers: dict[str, Any] = {
        "k0": {"action": "accept", "content": {"team": "blue"}},
        "k1": {"roots": []},
    }
    client.responds(lambda _: answered({"content": []}))
    done = client.call(requestState=asked["requestState"], inputResponses=answers)["result"]
    assert done["resultType"] == "complete"
    params = client.sent.params
    assert (params["requestState"], params["inputResponses"]) == (STATE, answers)

    first, second = client.house.log.deciding()
    assert (first.action, first.metadata["result_type"]) == ("tool_call", "input_required")
    assert second.metadata["mrtr_round"] == 1
    assert len(second.metadata["request_state_digest"]) == 64
    assert len(client.house.engine.asked) > 2, "each round is decided"


def test_the_number_of_rounds_is_counted(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.asks(state="s")
    state = client.call()["result"]["requestState"]
    for number in (1, 2, 3):
        state = client.call(requestState=state)["result"]["requestState"]
        assert client.house.log.deciding()[-1].metadata["mrtr_round"] == number


def test_no_state_is_made_up(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.asks(FORM)
    asked = client.call()["result"]
    assert "requestState" not in asked
    client.responds(lambda _: answered({"content": []}))
    client.call(inputResponses={"k0": {"action": "decline"}})
    assert client.sent.params["inputResponses"] == {"k0": {"action": "decline"}}
    assert "requestState" not in client.sent.params
    assert client.house.log.deciding()[-1].metadata["mrtr_round"] == 0


def test_the_same_caller_may_repeat_a_round(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.asks(state="s")
    state = client.call()["result"]["requestState"]
    for _ in range(2):
        client.call(requestState=state)
        assert client.sent.params["requestState"] == "s"


@pytest.mark.parametrize(
    "told",
    [
        {"by": "bob"},
        {"arguments": {"text": "y"}},
        {"name": "docs__other"},
        {"requestState": "made up"},
    ],
)
def test_a_state_that_is_moved_or_made_up_reaches_nobody(tmp_path: Path, told: dict[str, Any]) -> None:
    client = Client(tmp_path)
    client.asks(FORM, state="s")
    state = client.call()["result"]["requestState"]
    before = len(client.house.upstream.requests)
    error = client.call(**{"requestState": state, **told})["error"]
    assert error["code"] == -32602
    assert len(client.house.upstream.requests) == before
    if told.get("name") is None:
        row = client.house.log.deciding()[-1]
        assert (row.action, row.decision, row.reason) == ("mrtr", "deny", "request_state_invalid")


def test_a_state_that_is_too_old_reaches_nobody(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.asks(state="s")
    state = client.call()["result"]["requestState"]
    client.house.clock.seconds += 601
    assert client.call(requestState=state)["error"]["code"] == -32602


def test_a_hidden_tool_answers_a_wrong_state_like_one_that_is_not_there(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.house.engine.answer = no
    error = client.call(requestState="made up")["error"]
    assert error["message"] == "Unknown tool: docs__echo"


@pytest.mark.parametrize(
    "params", [{"inputResponses": None}, {"inputResponses": []}, {"requestState": 5}, {"requestState": None}]
)
def test_a_round_has_its_shape(tmp_path: Path, params: dict[str, Any]) -> None:
    reply = Client(tmp_path).reply(**params)
    assert (reply.status, msgspec.json.decode(reply.body)["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize(
    ("result", "can"),
    [
        ({"resultType": "input_required"}, EVERYTHING),
        ({"resultType": "input_required", "inputRequests": {"k": FORM}}, NOTHING),
        ({"resultType": "input_required", "inputRequests": {"k": url("https://a.example/")}},
         {"elicitation": NOTHING}),
        ({"resultType": "task"}, EVERYTHING),
    ],
)  # fmt: skip
def test_what_a_server_may_not_ask_is_a_breach_of_the_protocol(
    tmp_path: Path, result: dict[str, Any], can: dict[str, Any]
) -> None:
    client = Client(tmp_path)
    client.responds(lambda _: answered(result))
    assert client.refused(can=can)["code"] == 50201


def test_a_legacy_server_cannot_ask_like_a_modern_one(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.responds(
        lambda _: UpstreamAnswer(
            result={"resultType": "input_required", "requestState": "s"}, size=9, era="2025-11-25"
        )
    )
    assert client.refused()["code"] == 50201


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({**FORM, "params": {**FORM["params"], "requestedSchema": {"properties": {"api_key": {}}}}},
         "form_asks_for_secret"),
        ({**FORM, "params": {**FORM["params"], "requestedSchema": {"properties": {
            "a": {"title": "Your password"}, "b": 1}}}}, "form_asks_for_secret"),
        (url("https://elsewhere.example/"), "address_not_allowed"),
        (url("http://login.example/"), "address_not_allowed"),
        (url("https://login.example:x/"), "address_not_allowed"),
        (url("https://me@login.example/"), "address_carries_secret"),
        (url(f"https://login.example/?key={AWS}"), "address_carries_secret"),
    ],
)  # fmt: skip
def test_what_fishes_is_refused(tmp_path: Path, request_: dict[str, Any], reason: str) -> None:
    client = Client(tmp_path, redaction={"detectors": ("aws_key",)}, elicitation_hosts=("login.example",))
    client.asks(request_)
    refusal = client.refused()
    assert (refusal["code"], refusal["policy_reason"], refusal["effect"]) == (40301, reason, "possible")
    assert client.house.log.deciding()[-1].reason == f"policy_denied: {reason}"


def test_an_address_on_the_list_of_the_server_is_passed_on(tmp_path: Path) -> None:
    client = Client(tmp_path, elicitation_hosts=("*.login.example",))
    client.asks(url("https://eu.login.example/start?n=1"))
    asked = client.call()["result"]["inputRequests"]["k0"]["params"]
    assert asked["url"] == "https://eu.login.example/start?n=1"


def test_nothing_that_may_not_leave_stands_in_a_question(tmp_path: Path) -> None:
    client = Client(tmp_path, redaction={"detectors": ("aws_key",)})
    sample = {"messages": [{"role": "user", "content": {"type": "text", "text": f"use {AWS}"}}]}
    client.asks({"method": "sampling/createMessage", "params": {**sample, "maxTokens": 5}}, ROOTS)
    assert AWS not in client.reply().body.decode()
    rows = [event for event in client.house.log.events if event.action == "redact_data"]
    assert rows[0].redaction_count == 1


def test_answers_are_held_to_what_holds_arguments(tmp_path: Path) -> None:
    client = Client(tmp_path, redaction={"destinations": {"aws_key": ("vault",)}})
    client.asks(FORM)
    client.call()
    token = client.house.token("alice")
    for text, reason in ((AWS, "secret_to_wrong_destination"), (token, "credential_in_arguments")):
        answer = {"k0": {"action": "accept", "content": {"team": text}}}
        assert client.refused(token=token, inputResponses=answer)["policy_reason"] == reason
    obliged = msgspec.structs.replace(yes({}), obligations=Obligations(redact=("email",)))
    client.house.engine.answer = lambda _: obliged
    client.call(inputResponses={"k0": {"action": "accept", "content": {"team": "a@b.example"}}})
    assert client.sent.params["inputResponses"]["k0"]["content"]["team"] != "a@b.example"


def test_policy_says_what_servers_may_ask(tmp_path: Path) -> None:
    client = Client(tmp_path)

    def answer(asked: dict[str, Any]) -> Decision:
        if asked["action"] == "roots/list":
            raise PolicyFault("policy_error", "the engine failed")
        if asked["action"] == "sampling/createMessage":
            return no(asked)
        if asked["action"] == "elicitation/create" and asked["phase"] == "call":
            assert asked["arguments"]["message"] == "Which team?"
            return no(asked)
        return yes(asked)

    client.house.engine.answer = answer
    client.asks(FORM)
    assert client.refused()["policy_reason"] == "server_request_denied"
    assert client.sent.client_capabilities == {"elicitation": {"form": {}, "url": {}}}


def test_an_observed_server_is_let_ask(tmp_path: Path) -> None:
    def observed(*_: object) -> bool:
        return True

    client = Client(tmp_path)
    client.house.authorize._observed = observed  # pyright: ignore[reportPrivateUsage]
    client.house.engine.answer = no
    client.asks(FORM)
    assert client.call()["result"]["resultType"] == "input_required"


def test_who_declares_nothing_costs_policy_nothing(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.call(can={})
    assert len(client.house.engine.asked) == 1
    assert client.sent.client_capabilities == {}


def test_a_question_that_is_too_large_is_not_passed_on(tmp_path: Path) -> None:
    client = Client(tmp_path)
    client.asks({**FORM, "params": {**FORM["params"], "message": "x" * (16 * 1024 * 1024)}})
    assert client.refused()["code"] == 50001


def test_rounds_mean_nothing_where_an_era_does_not_know_them(tmp_path: Path) -> None:
    client = Client(tmp_path)
    told = message({}, requestState="s", inputResponses={"k": {}})
    del told["params"]["_meta"]
    asyncio.run(client.house.govern(client.house.inbound(told)))
    assert set(client.sent.params) == {"name", "arguments"}
    catalog = client.house.current.get().registry.servers["docs"].catalog
    assert catalog is not None
    legacy = msgspec.structs.replace(registered(), catalog=msgspec.structs.replace(catalog, era="2025-11-25"))
    other = Client(tmp_path)
    registry = msgspec.structs.replace(other.house.current.get().registry, servers={"docs": legacy})
    other.house.current.swap(registry=registry)
    other.call(inputResponses={"k": {}})
    assert set(other.sent.params) == {"name", "arguments"}
