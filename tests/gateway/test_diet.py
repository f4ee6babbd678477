"""Lists are narrowed by configuration, never by the caller, and the search finds what policy lets one see."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from airlock.core.config import Config, ListsSection, NarrowEntry
from airlock.core.errors import Refused
from airlock.gateway.diet import MAX_QUERY, MOST, Diet, read_query, words
from airlock.mcp.names import FIND
from airlock.model.call import Identified
from airlock.model.server import Item, RegisteredServer
from tests.gateway.parts import (
    FakeEngine,
    House,
    authenticated,
    call_message,
    definition,
    identified,
    no,
    principal,
    registered,
    snapshot,
    yes,
)

SEARCH = ListsSection(find_tools=True, always=("daily",))


def docs(**more: Any) -> RegisteredServer:
    return registered(
        "docs",
        definition("search_pages", description="Full-text search of the handbook."),
        definition("write_page", description="Save a page."),
        **more,
    )


def mail(**more: Any) -> RegisteredServer:
    return registered("mail", definition("sendMessage", description="Deliver a letter."), **more)


def asked(
    *servers: RegisteredServer, server: str = "", roles: tuple[str, ...] = ("developer",), client: str = ""
) -> Identified:
    who = principal(roles=roles, client_id=client)
    return identified("tools/list", {}, caller=authenticated(who=who, at=snapshot(*servers), server=server))


def kept(diet: Diet, of: Identified) -> list[str]:
    shown = diet.shown(of)
    return [
        tool.alias
        for server in of.caller.snapshot.registry.servers.values()
        if server.catalog
        for tool in server.catalog.tools.values()
        if shown(tool)
    ]


def narrow(**rule: Any) -> Diet:
    return Diet(ListsSection(narrow=(NarrowEntry(**rule),)))


def test_without_configuration_a_list_holds_everything() -> None:
    assert len(kept(Diet(ListsSection()), asked(docs(), mail()))) == 3


def test_a_role_sees_tools_with_its_tags_only() -> None:
    diet = narrow(roles=("developer", "viewer"), tags=("text",))
    assert kept(diet, asked(docs(tags=("text", "old")), mail())) == ["docs__search_pages", "docs__write_page"]


def test_a_client_is_narrowed_by_its_id() -> None:
    diet = narrow(clients=("ide",), tags=("post",))
    servers = docs(), mail(tags=("post",))
    assert kept(diet, asked(*servers, client="ide")) == ["mail__sendMessage"]
    assert len(kept(diet, asked(*servers, client="other"))) == 3


def test_a_token_without_client_is_no_client() -> None:
    assert len(kept(narrow(clients=("ide",), tags=("post",)), asked(docs()))) == 2


def test_who_is_named_twice_gets_the_tags_of_both() -> None:
    rules = (
        NarrowEntry(roles=("developer",), tags=("text",)),
        NarrowEntry(clients=("ide",), tags=("post",)),
    )
    diet = Diet(ListsSection(narrow=rules))
    of = asked(docs(tags=("text",)), mail(tags=("post",)), client="ide")
    assert len(kept(diet, of)) == 3


def test_narrowing_holds_on_the_route_of_one_server_too() -> None:
    assert kept(narrow(roles=("developer",), tags=("x",)), asked(docs(), server="docs")) == []


def test_with_the_search_only_tagged_tools_are_listed() -> None:
    assert kept(Diet(SEARCH), asked(docs(), mail(tags=("daily",)))) == ["mail__sendMessage"]


def test_the_route_of_one_server_keeps_its_list() -> None:
    assert len(kept(Diet(SEARCH), asked(docs(), server="docs"))) == 2


def found(query: str, *servers: RegisteredServer, limit: int = 5, **more: Any) -> list[str]:
    visible = more.pop("visible", lambda _, __: True)  # pyright: ignore[reportUnknownLambdaType]
    diet = more.pop("diet", Diet(SEARCH))
    query_of = read_query({"query": query, "limit": limit})
    tools: list[Item] = asyncio.run(diet.find(asked(*servers, **more), query_of, visible))
    return [tool.alias for tool in tools]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("search the handbook", "docs__search_pages"),
        ("save PAGES", "docs__write_page"),
        ("message", "mail__sendMessage"),
        ("a letter, please", "mail__sendMessage"),
        ("mail", "mail__sendMessage"),
    ],
)
def test_the_best_match_comes_first(query: str, first: str) -> None:
    assert found(query, docs(), mail())[0] == first


def test_parameters_titles_and_tags_are_searched() -> None:
    odd = definition(
        "x1",
        title="Weather report",
        annotations={"title": "Meteo"},
        inputSchema={
            "type": "object",
            "properties": {
                "cityName": {"type": "string", "enum": ["Oslo"], "description": "Where it rains."}
            },
        },
    )
    server = registered("w", odd, tags=("climate",))
    for query in ("weather", "meteo", "city", "oslo", "rains", "climate"):
        assert found(query, server) == ["w__x1"], query


def test_nothing_fits_gives_nothing() -> None:
    assert found("zebra", docs(), mail()) == []


def test_what_policy_hides_is_not_found_and_takes_no_place() -> None:
    def visible(_: Identified, tool: Item) -> bool:
        return tool.name != "search_pages"

    assert found("page", docs(), visible=visible, limit=1) == ["docs__write_page"]


def test_what_is_narrowed_away_is_not_found() -> None:
    lists = ListsSection(find_tools=True, narrow=(NarrowEntry(roles=("developer",), tags=("post",)),))
    assert found("page message", docs(), mail(tags=("post",)), diet=Diet(lists)) == ["mail__sendMessage"]


def test_policy_is_asked_only_until_there_are_enough() -> None:
    many = registered("docs", *(definition(f"page{number}") for number in range(100)))
    asked_for: list[str] = []

    def visible(_: Identified, tool: Item) -> bool:
        asked_for.append(tool.name)
        return True

    assert len(found("docs", many, visible=visible, limit=3)) == 3
    assert len(asked_for) == 3


def test_a_long_search_lets_others_run_meanwhile() -> None:
    many = registered("docs", *(definition(f"page{number}") for number in range(100)))
    of, turns = asked(many), list[str]()

    async def scenario() -> None:
        asyncio.get_running_loop().call_soon(turns.append, "another's turn")
        await Diet(SEARCH).find(of, read_query({"query": "docs"}), lambda _, __: False)

    asyncio.run(scenario())
    assert turns


def test_the_words_of_a_definition_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlock.gateway.diet.MAX_INDEXED", 1)
    diet = Diet(SEARCH)
    for _ in range(2):
        assert found("page", docs(), diet=diet)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query": ""},
        {"query": 1},
        {"query": "x" * (MAX_QUERY + 1)},
        {"query": "x", "limit": 0},
        {"query": "x", "limit": MOST + 1},
        {"query": "x", "limit": True},
        {"query": "x", "other": 1},
    ],
)
def test_a_search_is_checked_as_any_call(arguments: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        read_query(arguments)
    assert (refused.value.code, refused.value.policy_reason) == (40301, "arguments_invalid")


def test_a_limit_that_is_null_counts_as_absent() -> None:
    assert read_query({"query": "x", "limit": None}) == read_query({"query": "x"})


def test_words_have_no_case_no_plural_and_no_humps() -> None:
    assert words("sendMessages to_IDs", None, 7) == {"send", "message", "to", "ids"}


def list_message() -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


async def say(house: House, message: Any, **more: Any) -> dict[str, Any]:
    reply = await house.govern(house.inbound(message, **more))
    return json.loads(reply.body)


def house_with_search(folder: Path, **more: Any) -> House:
    return House(folder, docs(), mail(tags=("daily",)), listing=SEARCH, **more)


def test_the_list_is_the_search_and_what_is_tagged(tmp_path: Path) -> None:
    answer = asyncio.run(say(house_with_search(tmp_path), list_message()))
    assert [tool["name"] for tool in answer["result"]["tools"]] == [FIND, "mail__sendMessage"]


def test_a_search_answers_with_names_and_schemas_and_no_upstream_hears_of_it(tmp_path: Path) -> None:
    house = house_with_search(tmp_path, all_requests=True)
    answer = asyncio.run(say(house, call_message(FIND, {"query": "handbook"})))
    text = json.loads(answer["result"]["content"][0]["text"])
    assert [tool["name"] for tool in text["tools"]] == ["docs__search_pages"]
    assert "inputSchema" in text["tools"][0]
    assert house.upstream.requests == []
    row = house.log.deciding()[0]
    assert (row.action, row.decision, row.metadata["count"]) == ("tools_list", "allow", 1)


def test_a_search_without_success_says_so(tmp_path: Path) -> None:
    answer = asyncio.run(say(house_with_search(tmp_path), call_message(FIND, {"query": "zebra"})))
    text = json.loads(answer["result"]["content"][0]["text"])
    assert text == {"how": "Nothing fits: use other words.", "tools": []}


def test_a_bad_search_is_refused_and_recorded(tmp_path: Path) -> None:
    house = house_with_search(tmp_path)
    answer = asyncio.run(say(house, call_message(FIND, {"limit": 3})))
    assert answer["result"]["isError"]
    assert house.log.deciding()[0].reason == "policy_denied: arguments_invalid"


def test_what_is_not_listed_can_be_called_and_policy_decides(tmp_path: Path) -> None:
    house = house_with_search(tmp_path)
    answer = asyncio.run(say(house, call_message("docs__write_page")))
    assert answer["result"]["content"][0]["text"] == "done"
    house.engine.answer = no
    answer = asyncio.run(say(house, call_message("docs__write_page")))
    assert "result" not in answer
    assert len(house.upstream.requests) == 1


def test_a_search_shows_nothing_that_policy_hides(tmp_path: Path) -> None:
    house = house_with_search(tmp_path)
    house.engine = house.authorize.engine = FakeEngine(
        lambda asked: no(asked) if asked["target"]["name"] == "search_pages" else yes(asked)
    )
    answer = asyncio.run(say(house, call_message(FIND, {"query": "page"})))
    assert "search_pages" not in answer["result"]["content"][0]["text"]


def test_whoever_may_list_may_search(tmp_path: Path) -> None:
    house = house_with_search(tmp_path)
    token = house.token(scopes=("mcp.call.mail",))
    answer = asyncio.run(say(house, call_message(FIND, {"query": "page"}), token=token))
    assert "docs__write_page" in answer["result"]["content"][0]["text"]


def test_without_the_search_its_name_is_unknown(tmp_path: Path) -> None:
    house = House(tmp_path, docs())
    answer = asyncio.run(say(house, call_message(FIND, {"query": "page"})))
    assert answer["error"]["code"] == -32602


def test_on_the_route_of_a_server_its_name_is_unknown(tmp_path: Path) -> None:
    house = house_with_search(tmp_path)
    answer = asyncio.run(say(house, call_message(FIND, {"query": "page"}), server="docs"))
    assert answer["error"]["code"] == -32602


def test_instructions_tell_of_the_search(tmp_path: Path) -> None:
    message: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        },
    }
    assert FIND in asyncio.run(say(house_with_search(tmp_path), message))["result"]["instructions"]
    assert FIND not in asyncio.run(say(House(tmp_path), message))["result"]["instructions"]


def test_a_reload_changes_the_diet(tmp_path: Path) -> None:
    house = house_with_search(tmp_path)
    house.answers.reload(Config())
    answer = asyncio.run(say(house, list_message()))
    assert len(answer["result"]["tools"]) == 3


def test_a_token_that_may_do_nothing_may_not_search(tmp_path: Path) -> None:
    house = house_with_search(tmp_path)
    token = house.token(scopes=("other",))
    reply = asyncio.run(house.govern(house.inbound(call_message(FIND, {"query": "page"}), token=token)))
    assert reply.status == 403
