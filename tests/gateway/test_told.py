"""What a list tells: encoded once for all who see the same one, and never which header mirrors a secret."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.core.config import RedactionSection
from airlock.core.errors import PolicyFault, Rejected
from airlock.gateway import told
from airlock.gateway.admit import Admit
from airlock.gateway.authorize import Authorize
from airlock.gateway.definitions import Definitions
from airlock.gateway.redact import Rules
from airlock.gateway.told import Told
from airlock.model.call import Client, Findings, Identified
from airlock.model.decision import Decision, Obligations
from airlock.model.server import Item
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN_CLIENT,
    FakeEngine,
    HandClock,
    allowed,
    authenticated,
    definition,
    failure_of,
    identified,
    redact_request,
    redactors,
    registered,
    routed,
    snapshot,
)

MAIL = "a@example.com"
SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "login": {
            "type": "object",
            "properties": {"password": {"type": "string", "x-mcp-header": "Password"}},
        },
    },
}
SERVER = registered("docs", definition("sign", inputSchema=SCHEMA), definition("write", title=MAIL))
AT = snapshot(SERVER)
ITEMS = tuple(SERVER.catalog.tools.values())  # type: ignore[union-attr]
SIGN = ITEMS[0]


def asking(server: str = "", client: Client = MODERN_CLIENT) -> Identified:
    return identified("tools/list", {}, caller=authenticated(at=AT, server=server), client=client)


class Policy:
    """Masks these names, and counts how often it is asked."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = frozenset(names), 0

    def __call__(self, identified: Identified, item: Item) -> frozenset[str]:
        self.asked += 1
        return self.names


def listing(masked: Policy, **section: Any) -> Told:
    return Told(definitions=Definitions(redactors(**section)), masked=masked)


def names(raw: msgspec.Raw) -> list[str]:
    return [one["name"] for one in msgspec.json.decode(raw)]


def test_a_list_is_encoded_once_for_everybody_who_sees_the_same_items() -> None:
    policy = Policy()
    lists = listing(policy, detectors=("email",))
    first, second = Findings(), Findings()
    said = lists.encoded(asking(), ITEMS, first)
    assert lists.encoded(asking(), ITEMS, second) is said
    assert policy.asked == 1
    assert first.counts == second.counts == {"email": 1}
    assert MAIL not in bytes(said).decode()


def test_other_items_routes_eras_and_rules_have_an_encoding_of_their_own() -> None:
    rules = redactors()
    lists = Told(definitions=Definitions(rules))
    one = lists.encoded(asking(), ITEMS, Findings())
    assert names(lists.encoded(asking("docs"), ITEMS, Findings())) == ["sign", "write"]
    assert lists.encoded(asking(client=LEGACY_CLIENT), ITEMS, Findings()) is not one
    assert lists.encoded(asking(), (*ITEMS[:1], *ITEMS[1:]), Findings()) is not one
    rules.rules = Rules(RedactionSection(detectors=("email",)))
    assert MAIL not in bytes(lists.encoded(asking(), ITEMS, Findings())).decode()


def test_a_very_long_list_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "MOST", 10)
    lists = listing(Policy())
    assert lists.encoded(asking(), ITEMS, Findings()) is not lists.encoded(asking(), ITEMS, Findings())


def mirroring(masked: Policy) -> tuple[bool, bool]:
    sign = listing(masked).definitions(asking(), ITEMS, Findings())[0]["inputSchema"]["properties"]
    below = sign["login"]["properties"]["password"]
    assert below["type"] == sign["region"]["type"] == "string"
    return "x-mcp-header" in sign["region"], "x-mcp-header" in below


@pytest.mark.parametrize(
    ("masked", "mirrored"),
    [
        (Policy(), (True, True)),
        (Policy("password"), (True, False)),
        (Policy("login"), (True, False)),
        (Policy("region", "password", "else"), (False, False)),
    ],
)
def test_e11_a_parameter_that_policy_masks_is_not_mirrored(
    masked: Policy, mirrored: tuple[bool, bool]
) -> None:
    assert mirroring(masked) == mirrored
    assert SIGN.definition["inputSchema"] == SCHEMA


def test_e11_a_parameter_whose_name_is_taken_out_as_a_secret_breaks_no_list() -> None:
    token = "ghp_" + "aB3dE5fG7hI9jK1l" * 2 + "nO5p"
    below = {"type": "object", "properties": {token: {"type": "string", "x-mcp-header": "Password"}}}
    schema = {"type": "object", "properties": {"login": below}}
    server = registered("docs", definition("sign", inputSchema=schema))
    (item,) = server.catalog.tools.values()  # type: ignore[union-attr]
    said = listing(Policy("login"), detectors=("github_token",)).encoded(asking(), (item,), Findings())
    assert token not in bytes(said).decode()


def calling(**headers: str) -> Identified:
    arguments = {"region": "north", "login": {"password": "p4ss"}}
    sent = {"mcp-param-region": "north", **headers}
    caller = authenticated(at=AT, headers={name.replace("_", "-"): text for name, text in sent.items()})
    params = {"name": "docs__sign", "arguments": arguments}
    return identified("tools/call", params, caller=caller, client=MODERN_CLIENT)


def test_e11_the_header_of_what_is_not_mirrored_may_be_missing_and_still_goes_to_the_server() -> None:
    called = routed(calling())
    with pytest.raises(Rejected, check=failure_of("header_mismatch")):
        Admit()(called)
    Admit(masked=Policy("password"))(called)
    sent = redact_request()(allowed(called)).request.param_headers
    assert sent == (("Mcp-Param-Password", "p4ss"), ("Mcp-Param-Region", "north"))


def test_e11_a_header_that_is_there_all_the_same_has_to_agree() -> None:
    Admit(masked=Policy("password"))(routed(calling(mcp_param_password="p4ss")))
    with pytest.raises(Rejected, check=failure_of("header_mismatch")):
        Admit(masked=Policy("password"))(routed(calling(mcp_param_password="other")))


def test_e11_what_is_masked_is_what_policy_says_of_the_tool_in_a_list() -> None:
    answers: list[Decision | PolicyFault] = [
        Decision(allow=True, reason="yes"),
        Decision(allow=True, reason="yes", obligations=Obligations(mask_arguments=("password",))),
        PolicyFault("policy_error", "x"),
    ]

    def answer(_: dict[str, Any]) -> Decision:
        found = answers.pop(0)
        if isinstance(found, PolicyFault):
            raise found
        return found

    policy = Authorize(engine=FakeEngine(answer), clock=HandClock())
    assert policy.masked(asking(), SIGN) == frozenset()
    assert policy.masked(asking(), SIGN) == {"password"}
    assert policy.masked(asking(), SIGN) == {"region", "login", "password"}
