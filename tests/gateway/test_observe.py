"""What policy or a pin refuses is let through and said, where and as long as an operator observes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.config import Config, ObserveSection, ServerEntry
from airlock.core.errors import PolicyFault, Refused, Stage
from airlock.edge.problems import Problems
from airlock.gateway.admit import Admit
from airlock.gateway.authorize import Authorize
from airlock.gateway.observe import HEADER, META, Observe, marked, told, unmarked, would_deny
from airlock.model.call import Reply, Routed
from airlock.model.decision import Approval, Decision, Obligations
from airlock.model.server import PinState, RegisteredServer
from airlock.model.upstream import Notify, UpstreamAnswer, UpstreamRequest
from airlock.policy.facts import Facts
from tests.gateway.parts import (
    NOW,
    PUBLIC,
    HandClock,
    House,
    answered,
    authenticated,
    call_message,
    definition,
    entry,
    identified,
    no,
    principal,
    redact_response,
    registered,
    routed,
    sealer,
    snapshot,
)

END = NOW + 60


def configured(*, tenants: tuple[str, ...] = (), mode: str = "observe", until: float | None = END) -> Config:
    server = msgspec.structs.replace(entry(), mode=mode)
    return Config(observe=ObserveSection(tenants=tenants, until=until), servers=(server,))


def shown_but_refused(question: dict[str, Any]) -> Decision:
    return Decision(allow=question["phase"] == "list", reason="not_today")


def always(server: ServerEntry, tenant: str) -> bool:
    del server, tenant
    return True


class Observing(House):
    """A whole pipeline whose one server is observed for a minute."""

    def __init__(self, folder: Path, server: RegisteredServer | None = None, **more: Any) -> None:
        super().__init__(folder, server or registered())
        self.observe = Observe(configured(**more), clock=self.clock)
        authorize = Authorize(engine=self.engine, clock=self.clock, observed=self.observe)
        self.engine.answer = shown_but_refused
        explain = Problems(
            public_url=PUBLIC, conceal=authorize.conceal, clock=self.clock, log=self.lines
        ).explain
        self.pipeline = msgspec.structs.replace(
            self.pipeline,
            admit=Admit(observed=self.observe),
            authorize=authorize,
            redact_response=told(redact_response()),
            explain=explain,
        )

    def call(self, arguments: dict[str, Any] | None = None) -> Reply:
        asked = self.inbound(call_message(arguments=arguments))
        return asyncio.run(self.pipeline.govern(asked, lambda _method, _params: None))


def refused_as(reply: Reply) -> str:
    return json.loads(reply.body)["result"]["_meta"]["dev.airlock/refusal"]["reason"]


def test_what_policy_refuses_passes_and_is_said(tmp_path: Path) -> None:
    house = Observing(tmp_path)
    reply = house.call()
    result = json.loads(reply.body)["result"]
    assert result["content"] == [{"type": "text", "text": "done"}]
    assert result["_meta"][META] == "policy_denied: not_today"
    assert (HEADER, "policy_denied: not_today") in reply.headers


def test_the_record_says_what_would_have_been_refused(tmp_path: Path) -> None:
    house = Observing(tmp_path)
    house.call()
    intent, outcome = house.log.events
    assert (outcome.decision, outcome.reason) == ("allow", "observed")
    assert outcome.metadata["would_deny"] == intent.metadata["would_deny"] == "policy_denied: not_today"


def test_of_what_is_observed_the_whole_question_is_kept(tmp_path: Path) -> None:
    house = Observing(tmp_path)
    house.engine.facts = Facts([])
    house.call()
    house.clock.seconds += 60
    house.engine.answer = lambda _: Decision(allow=True, reason="yes")
    house.call()
    observed, enforced = (
        msgspec.json.decode(sealer().open("inputs", row.personal.inputs.decode()))
        for row in house.log.deciding()
        if row.personal.inputs is not None
    )
    assert observed["arguments"] == {"text": "x"}
    assert enforced == {"subject": {"tenant": "acme"}}


def test_what_policy_allows_is_not_marked(tmp_path: Path) -> None:
    house = Observing(tmp_path)
    house.engine.answer = lambda _: Decision(allow=True, reason="yes")
    reply = house.call()
    assert META.encode() not in reply.body and reply.headers == ()
    assert "would_deny" not in house.log.events[-1].metadata


def test_after_its_end_everything_is_enforced(tmp_path: Path) -> None:
    house = Observing(tmp_path)
    house.clock.seconds += 60
    assert refused_as(house.call()) == "policy_denied"
    assert house.upstream.requests == []


def test_a_server_that_is_not_observed_is_enforced(tmp_path: Path) -> None:
    assert refused_as(Observing(tmp_path, mode="enforce").call()) == "policy_denied"


def test_a_tenant_is_observed_at_every_server(tmp_path: Path) -> None:
    house = Observing(tmp_path, registered(), tenants=("acme",), mode="enforce")
    assert META.encode() in house.call().body


def test_an_approval_that_is_missing_counts_as_a_refusal_of_policy(tmp_path: Path) -> None:
    house = Observing(tmp_path)
    house.engine.answer = lambda _: Decision(allow=True, reason="risky", approval=Approval(by=("admin",)))
    assert json.loads(house.call().body)["result"]["_meta"][META] == "approval_required: risky"


def test_a_tool_that_policy_hides_is_no_unknown_tool_while_observed(tmp_path: Path) -> None:
    house = Observing(tmp_path)
    house.engine.answer = no
    assert b"arguments_invalid" in house.call({"text": 5}).body


def test_a_changed_definition_passes_and_is_said_first(tmp_path: Path) -> None:
    pins: dict[str, PinState] = {"echo": "changed"}
    house = Observing(tmp_path, registered("docs", definition(), pins=pins))
    assert json.loads(house.call().body)["result"]["_meta"][META] == "definition_not_approved"


def test_a_tool_that_cannot_be_governed_is_refused(tmp_path: Path) -> None:
    unfit = definition(inputSchema=True)
    house = Observing(tmp_path, registered("docs", unfit))
    assert refused_as(house.call()) == "definition_not_approved"


def test_arguments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    reply = Observing(tmp_path).call({"text": 5})
    assert b"arguments_invalid" in reply.body


def test_a_policy_that_cannot_decide_refuses(tmp_path: Path) -> None:
    def fails(_: dict[str, Any]) -> Decision:
        raise PolicyFault("policy_error", "x")

    house = Observing(tmp_path)
    house.engine.answer = fails
    assert refused_as(house.call()) == "control_unavailable"


def test_another_tenants_server_does_not_exist_though_it_is_observed(tmp_path: Path) -> None:
    house = Observing(tmp_path, registered(tenant="acme"), tenants=("acme", "globex"))
    asked = house.inbound(call_message(), token=house.token(tenant="globex"))
    reply = asyncio.run(house.pipeline.govern(asked, lambda _method, _params: None))
    assert b"Unknown tool" in reply.body
    assert house.log.events[-1].reason == "cross_tenant_attempt"


def test_a_missing_scope_is_never_observed(tmp_path: Path) -> None:
    house = Observing(tmp_path)
    asked = house.inbound(call_message(), token=house.token(scopes=("mcp.list",)))
    reply = asyncio.run(house.pipeline.govern(asked, lambda _method, _params: None))
    assert (reply.status, house.upstream.requests) == (403, [])


def test_containment_is_never_observed() -> None:
    def contained(_: Routed) -> None:
        raise Refused(Stage.ADMIT, 40302, "contained", "Contained.")

    with pytest.raises(Refused, match="Contained"):
        Admit((contained,), observed=always)(routed())


def test_obligations_hold_while_observing() -> None:
    capped = Obligations(max_result_bytes=7)
    house = Authorize(
        engine=Refusing(Decision(allow=False, reason="no", obligations=capped)),
        clock=HandClock(),
        observed=always,
    )
    allowed = house(Admit()(routed()))
    assert allowed.decision.obligations == capped
    assert allowed.decision.allow is True


class Refusing:
    """Policy with one answer."""

    revision = "f" * 64
    facts = None

    def __init__(self, answer: Decision) -> None:
        self._answer = answer

    def decide(self, question: bytes) -> Decision:
        del question
        return self._answer

    def trouble(self) -> str:
        return ""


@pytest.mark.parametrize(("mode", "seen"), [("observe", True), ("enforce", False)])
def test_the_list_shows_what_policy_would_hide(mode: str, seen: bool) -> None:
    observed = Observe(configured(mode=mode), clock=HandClock())
    stage = Authorize(
        engine=Refusing(Decision(allow=False, reason="no")), clock=HandClock(), observed=observed
    )
    of = routed(identified(caller=authenticated(who=principal(), at=snapshot(registered()))))
    assert stage.visible(of.identified, of.item) is seen


def test_a_change_of_mode_changes_nothing_for_those_who_reach_the_server() -> None:
    assert unmarked(configured().servers) == configured(mode="enforce").servers


def test_an_error_of_the_server_has_the_header_only(tmp_path: Path) -> None:
    house = Observing(tmp_path)

    def fails(request: UpstreamRequest, notify: Notify | None) -> UpstreamAnswer:
        del request, notify
        return answered(error={"code": -32602, "message": "no such page"})

    house.upstream.respond = fails
    reply = house.call()
    assert json.loads(reply.body)["error"]["message"] == "no such page"
    assert (HEADER, "policy_denied: not_today") in reply.headers


def test_what_else_a_result_says_stays(tmp_path: Path) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"result":{"content":[],"_meta":{"a":1.50}}}'
    kept = json.loads(marked(Reply(body=body), "policy_denied").body)["result"]
    assert kept == {"content": [], "_meta": {"a": 1.5, META: "policy_denied"}}


@pytest.mark.parametrize(
    ("config", "later", "state", "said"),
    [
        (configured(mode="enforce"), 0, "ok", ""),
        (configured(), 0, "degraded", "observing until 2027-01-15T08:01:00Z: 1 servers and 0 tenants"),
        (configured(), 60, "degraded", "observing ended at 2027-01-15T08:01:00Z: everything is enforced"),
        (configured(tenants=("a", "b"), mode="enforce"), 0, "degraded", "0 servers and 2 tenants"),
    ],
)
def test_the_component_says_what_is_observed(config: Config, later: int, state: str, said: str) -> None:
    clock = HandClock()
    observe = Observe(config, clock=clock)
    clock.seconds += later
    found = observe.standing()
    assert found[0] == state
    assert said in found[1]


def test_a_reload_takes_effect_at_once() -> None:
    observe = Observe(configured(), clock=HandClock())
    server = configured().servers[0]
    assert observe(server, "acme")
    observe.take_over(configured(until=NOW))
    assert not observe(server, "acme")


def test_the_words_are_those_of_the_record() -> None:
    assert (
        would_deny(Refused(Stage.ADMIT, 40901, "definition_not_approved", "x")) == "definition_not_approved"
    )
