"""What a call may carry to a server, and what a record keeps of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Refused
from airlock.gateway.redact import mask, shown_hosts
from airlock.model.call import Redacted
from airlock.model.decision import Obligations
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN_CLIENT,
    SCHEMA,
    allowed,
    authenticated,
    call_message,
    definition,
    failure_of,
    identified,
    redact_request,
    redactors,
    registered,
    routed,
    snapshot,
)
from tests.gateway.secrets_parts import AWS, EMAIL, GITHUB, SLACK

DETECTORS = ("aws_key", "github_token", "slack_token", "password", "email")
ALL = redactors(detectors=DETECTORS)


def sent(
    arguments: dict[str, Any],
    *,
    rules: Any = ALL,
    server: str = "docs",
    schema: dict[str, Any] | None = None,
    **obligations: Any,
) -> Redacted:
    tool = definition(inputSchema=schema or SCHEMA)
    caller = authenticated(at=snapshot(registered(server, tool)))
    params = call_message(f"{server}__echo", arguments)["params"]
    of = allowed(routed(identified(params=params, caller=caller)), obligations=Obligations(**obligations))
    question = json.dumps({"v": 1, "arguments": arguments}).encode()
    return redact_request(rules)(type(of)(admitted=of.admitted, decision=of.decision, question=question))


def test_without_a_demand_a_server_gets_what_it_was_sent() -> None:
    of = sent({"text": f"token {GITHUB}"})
    assert of.request.params["arguments"] == {"text": f"token {GITHUB}"}
    assert of.found.counts == {}


def test_no_record_keeps_a_secret_of_a_call() -> None:
    of = sent({"text": f"token {GITHUB}", "n": 1})
    assert of.arguments == b'{"n":1,"text":"token [REDACTED:github_token]"}'
    assert json.loads(of.question) == {
        "v": 1,
        "arguments": {"text": "token [REDACTED:github_token]", "n": 1},
    }


def test_a_call_without_secrets_is_recorded_as_it_is() -> None:
    of = sent({"text": "fine"})
    assert of.arguments == b'{"text":"fine"}'
    assert json.loads(of.question)["arguments"] == {"text": "fine"}


@pytest.mark.parametrize("rules", [ALL, redactors(), redactors(detectors=("email",))])
def test_policy_can_demand_that_something_is_taken_out(rules: Any) -> None:
    of = sent({"text": f"{EMAIL} {GITHUB}"}, rules=rules, redact=("github_token",))
    assert of.request.params["arguments"] == {"text": f"{EMAIL} [REDACTED:github_token]"}
    assert of.found.counts == {"github_token": 1}


def test_a_demand_without_a_finding_changes_nothing() -> None:
    of = sent({"text": "fine"}, rules=redactors(), redact=("github_token",))
    assert of.request.params["arguments"] == {"text": "fine"}


def test_headers_are_made_from_what_is_sent() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string", "x-mcp-header": "Text"}}}
    of = sent({"text": GITHUB}, schema=schema, redact=("github_token",))
    assert GITHUB not in str(of.request.param_headers)
    assert of.request.param_headers


def test_what_is_left_must_fit_the_schema() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^ghp_"}}}
    with pytest.raises(Refused, check=failure_of("obligation_failed")) as refused:
        sent({"text": GITHUB}, schema=schema, redact=("github_token",))
    assert (refused.value.code, refused.value.effect) == (50001, Effect.NONE)


def test_masked_arguments_are_sent_and_not_recorded() -> None:
    of = sent({"text": "hush", "n": 1}, rules=redactors(), mask_arguments=("text", "other"))
    assert of.request.params["arguments"] == {"text": "hush", "n": 1}
    assert of.arguments == b'{"n":1,"text":"[MASKED]"}'
    assert "hush" not in of.question.decode()


def test_masking_reaches_every_depth() -> None:
    masked = mask({"a": [{"pin": 1, "b": {"pin": [2]}}], "pin": {"c": 3}}, frozenset({"pin"}))
    assert masked == {"a": [{"pin": "[MASKED]", "b": {"pin": "[MASKED]"}}], "pin": "[MASKED]"}


HOME = redactors(detectors=DETECTORS, destinations={"github_token": ("github",), "slack_token": ()})


def test_a_secret_goes_to_the_servers_of_its_kind() -> None:
    of = sent({"text": GITHUB}, rules=HOME, server="github")
    assert of.request.params["arguments"] == {"text": GITHUB}
    assert GITHUB not in of.arguments.decode()


@pytest.mark.parametrize(
    ("server", "arguments", "kind"),
    [
        ("docs", {"text": GITHUB}, "github_token"),
        ("docs", {"text": f"password={GITHUB}"}, "github_token"),
        ("docs", {"text": "x", "deep": [{"a": GITHUB}]}, "github_token"),
        ("docs", {"text": "x", GITHUB: "y"}, "github_token"),
        ("github", {"text": SLACK}, "slack_token"),
    ],
    ids=["plain", "under another name", "deep", "a key", "nobody's"],
)
def test_a_secret_goes_to_no_other_server(server: str, arguments: dict[str, Any], kind: str) -> None:
    with pytest.raises(Refused, check=failure_of("secret_to_wrong_destination")) as refused:
        sent(arguments, rules=HOME, server=server)
    assert refused.value.code == 40301
    assert kind in refused.value.text
    assert GITHUB not in refused.value.text


def test_a_rule_of_destination_looks_for_its_secret_by_itself() -> None:
    rules = redactors(detectors=(), destinations={"github_token": ()})
    with pytest.raises(Refused, check=failure_of("secret_to_wrong_destination")):
        sent({"text": GITHUB}, rules=rules)


def test_other_secrets_are_not_held_to_destinations() -> None:
    assert sent({"text": AWS}, rules=HOME).request.params["arguments"] == {"text": AWS}


def test_addresses_that_are_not_allowed_are_not_sent() -> None:
    rules = redactors(url_allow=("allowed.test",))
    of = sent({"text": "get https://evil.test/?d=1 or https://allowed.test/"}, rules=rules)
    assert of.request.params["arguments"] == {"text": "get [REDACTED:url] or https://allowed.test/"}
    assert of.found.hosts == {"evil.test"}
    assert "evil" not in of.arguments.decode()


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("evil.test", "evil.test"),
        ("localhost", "localhost"),
        ("c2VjcmV0.data.evil.test", "*.evil.test"),
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8::1.2.3", "2001:db8::1.2.3"),
    ],
)
def test_a_record_names_the_domain_and_not_what_stands_before_it(host: str, shown: str) -> None:
    assert shown_hosts({host, ""}) == [shown]


def test_the_callers_own_token_never_travels() -> None:
    token = "header.payload." + "s" * 86
    caller = authenticated(headers={"authorization": f"Bearer {token}"})
    params = call_message(arguments={"text": f"it is {token}"})["params"]
    with pytest.raises(Refused) as refused:
        redact_request(redactors())(allowed(routed(identified(params=params, caller=caller))))
    assert refused.value.policy_reason == "credential_in_arguments"


def mirrored(sent: dict[str, str], arguments: dict[str, Any], *, modern: bool = True, **more: Any) -> Any:
    """The `Mcp-Param-*` of a call of a tool that declares `Mcp-Param-Text`."""
    schema = {"type": "object", "properties": {"text": {"type": "string", "x-mcp-header": "Text"}}}
    at = snapshot(registered("docs", definition(inputSchema=schema)))
    caller = authenticated(at=at, headers=sent)
    params = call_message("docs__echo", arguments)["params"]
    client = MODERN_CLIENT if modern else LEGACY_CLIENT
    of = allowed(routed(identified(params=params, caller=caller, client=client)), **more)
    return redact_request(ALL)(of).request.param_headers


def test_e10_declared_headers_are_computed_and_others_sent_on_as_they_came() -> None:
    sent = {"mcp-param-text": "old", "mcp-param-more": "m"}
    assert mirrored(sent, {"text": "new"}) == (("Mcp-Param-Text", "new"), ("Mcp-Param-more", "m"))
    assert mirrored(sent, {"text": "new"}, modern=False) == (("Mcp-Param-Text", "new"),)


def test_e10_other_headers_are_dropped_where_something_was_taken_out_or_they_hold_a_secret() -> None:
    told = mirrored({"mcp-param-more": "m"}, {"text": EMAIL}, obligations=Obligations(redact=("email",)))
    assert [name for name, _ in told] == ["Mcp-Param-Text"]
    assert mirrored({"mcp-param-more": AWS}, {"text": "x"}) == (("Mcp-Param-Text", "x"),)
    token = "header.payload.signature-of-a-token-that-is-long"
    carried = {"authorization": f"Bearer {token}", "mcp-param-more": token}
    assert mirrored(carried, {"text": "x"}) == (("Mcp-Param-Text", "x"),)


@pytest.mark.parametrize(("era", "level"), [("2026-07-28", {"debug"}), ("2025-11-25", set[str]())])
def test_a_modern_server_hears_which_messages_its_client_wants(era: str, level: set[str]) -> None:
    server = registered()
    assert server.catalog is not None
    server = msgspec.structs.replace(server, catalog=msgspec.structs.replace(server.catalog, era=era))
    client = msgspec.structs.replace(MODERN_CLIENT, log_level="debug")
    of = msgspec.structs.replace(routed(identified(client=client)), server=server)
    request = redact_request()(allowed(of)).request
    assert request.log_level == "debug"
    assert set(request.params.get("_meta", {}).values()) == level
