"""C-3, F-3: what a list hides is refused like what nobody has, on both routes alike, of every kind."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.gateway import catalog
from airlock.mcp import names, uris
from airlock.model.decision import Decision
from airlock.model.server import RegisteredServer
from airlock.policy.bundle import load_bundle
from airlock.policy.embedded import EmbeddedEngine
from tests.gateway.parts import (
    META,
    MODERN,
    REVISION,
    HandClock,
    House,
    definition,
    entry,
    inbound,
    offer,
    yes,
)

OWN = ("plan", "note")
OFFERED = offer(
    *(definition(one) for one in OWN),
    prompts=tuple({"name": one} for one in OWN),
    resources=tuple({"uri": f"file:///{one}", "name": one} for one in OWN),
    templates=tuple({"uriTemplate": f"db://{one}/{{id}}", "name": one} for one in OWN),
    capabilities={"tools": {}, "prompts": {}, "resources": {}},
)

NAMES = tuple(
    form.format(one)
    for form in ("{}", "prompt:{}", "resource:file:///{}", "template:db://{}/{{id}}")
    for one in OWN
)
"""By which policy knows everything that the server offers."""

KINDS = {
    "tool": ("tools/list", "tools", "tools/call", "name"),
    "prompt": ("prompts/list", "prompts", "prompts/get", "name"),
    "resource": ("resources/list", "resources", "resources/read", "uri"),
    "template": ("resources/templates/list", "resourceTemplates", "resources/read", "uri"),
}
"""By kind: how it is listed, the member of that result, how it is used, and the parameter that names it."""

NOBODY = {"tool": "nobody", "prompt": "nobody", "resource": "file:///nobody", "template": "db://nobody/{id}"}


class Route:
    """A client of one era on one route."""

    def __init__(self, house: House, server: str, *, modern: bool) -> None:
        self._house, self._server, self._modern = house, server, modern
        self._token = house.token()

    def alias(self, kind: str, own: str) -> str:
        """The name or URI of the server's own on this route."""
        if self._server:
            return own
        return f"docs__{own}" if kind in ("tool", "prompt") else uris.federated("docs", own)

    async def ask(self, method: str, params: dict[str, Any], name: str = "") -> dict[str, Any]:
        told, headers = dict(params), {"authorization": f"Bearer {self._token}"}
        if self._modern:
            told["_meta"] = {f"{META}protocolVersion": MODERN, f"{META}clientCapabilities": {}}
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            headers |= {"mcp-name": name} if name else {}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": told}
        reply = await self._house.govern(inbound(message, server=self._server, headers=headers))
        return msgspec.json.decode(reply.body)

    async def listed(self, kind: str) -> list[str]:
        """The names or URIs in the list of a kind."""
        method, member, _, field = KINDS[kind]
        key = "uriTemplate" if kind == "template" else field
        return [one[key] for one in (await self.ask(method, {}))["result"][member]]

    async def used(self, kind: str, own: str) -> str:
        """What its use is answered: `done`, the code of a refusal, or the whole error less the name."""
        _, _, method, field = KINDS[kind]
        name = self.alias(kind, own).replace("{id}", "7")
        told = await self.ask(method, {field: name}, name)
        error = told.get("error")
        if error is None:
            refusal = told["result"].get("_meta", {}).get("dev.airlock/refusal")
            return str(refusal["code"]) if refusal else "done"
        known = error["code"] not in (-32602, -32002)
        return str(error["code"]) if known else msgspec.json.encode(error).decode().replace(name, "NAME")


def serving(**more: Any) -> RegisteredServer:
    of = entry("docs", **more)
    pins = dict.fromkeys(catalog.definitions(OFFERED), "pinned")
    return RegisteredServer(entry=of, catalog=catalog.build(of, OFFERED, pins, 1.0), state="ready")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("concealment"), serving())


@settings(max_examples=12, deadline=None)
@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_c3_f3_what_is_hidden_is_refused_like_what_does_not_exist_on_both_routes(
    house: House, hidden: set[str], denied: set[str]
) -> None:
    """Whatever policy hides, and whatever more it denies where somebody uses it."""

    def policy(asked: dict[str, Any]) -> Decision:
        name = asked["target"]["name"]
        allow = name not in hidden and (asked["phase"] == "list" or name not in denied)
        return Decision(allow=allow, reason="said", revision=REVISION)

    async def scenario() -> None:
        for server in ("", "docs"):
            for modern in (False, True):
                await check(Route(house, server, modern=modern), hidden, denied)

    house.engine.answer = policy
    asyncio.run(scenario())
    house.engine.answer = yes


async def check(route: Route, hidden: set[str], denied: set[str]) -> None:
    for kind in KINDS:
        listed = await route.listed(kind)
        nobody = await route.used(kind, NOBODY[kind])
        for name in NAMES:
            if names.kind_of(name) == kind:
                own = names.own(name)
                assert (route.alias(kind, own) in listed) is (name not in hidden)
                permitted = "40301" if name in denied else "done"
                assert await route.used(kind, own) == (nobody if name in hidden else permitted)


STARTER = load_bundle(None)


@settings(max_examples=40, deadline=None)
@given(
    roles=st.sets(st.sampled_from(["viewer", "developer", "admin", "Admin", ""])),
    tenants=st.tuples(*[st.sampled_from(["acme", "globex", ""])] * 2),
    sensitivity=st.sampled_from(["low", "medium", "high", "critical"]),
    read_only=st.booleans(),
    action=st.sampled_from(["tools/call", "resources/read", "prompts/get", "completion/complete"]),
)
def test_c3_what_the_starter_policy_hides_it_denies(
    roles: set[str], tenants: tuple[str, str], sensitivity: str, *, read_only: bool, action: str
) -> None:
    engine = EmbeddedEngine(STARTER, clock=HandClock())
    target = {"tenant": tenants[0], "sensitivity": sensitivity, "read_only": read_only}
    asked = {"action": action, "subject": {"tenant": tenants[1], "roles": sorted(roles)}, "target": target}
    listed, called = (
        engine.decide(msgspec.json.encode({**asked, "phase": phase})).allow for phase in ("list", "call")
    )
    assert listed or not called
