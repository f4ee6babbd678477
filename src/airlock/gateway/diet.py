"""Context diet: how much of what a caller may see a list holds, so that 2,000 tools do not flood an agent.

Nothing here gives or takes a right. Policy decides first what a caller may know of; narrowing by tags and
the search tool only choose from that, by configuration and never by a header. What is left out can still
be called by its name, and is governed as ever.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import msgspec

from airlock.core.config import ListsSection
from airlock.core.errors import Refused, Stage
from airlock.gateway.lists import BREATH, Visible, offered
from airlock.mcp.names import FIND
from airlock.mcp.strict import is_array, is_object
from airlock.model.call import Identified
from airlock.model.principal import Principal
from airlock.model.server import Item

LIMIT, MOST = 5, 20
"""Tools that a search gives unless asked for more, and at most."""

MAX_QUERY = 500
"""Characters of a query."""

MAX_INDEXED = 100_000
"""Definitions whose words are kept; then the index starts again."""

DEFINITION: dict[str, Any] = {
    "name": FIND,
    "title": "Find tools",
    "description": (
        "Search the tools behind this gateway. Describe in a few words what you want to do. The answer holds "
        "the best matches with their input schemas; call one with its name as any listed tool."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_QUERY,
                "description": "A few words.",
            },
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "description": "Most tools to give."},
        },
        "required": ["query"],
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": True, "openWorldHint": False},
}

HOW = f"Most tools are not listed: search them with {FIND}, then call what you found by its name."

_WORD = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_IN_NAME, _IN_TITLE, _IN_PARAMETER, _IN_TEXT = 8, 4, 2, 1
"""What a word of the query counts where it is found: a name says most of what a tool does."""


class Query(msgspec.Struct, frozen=True):
    """What a caller searches for."""

    words: frozenset[str]
    limit: int


class Diet:
    """The choice by one configuration, and the words of the definitions it searched."""

    def __init__(self, lists: ListsSection) -> None:
        self._finds = lists.find_tools
        self._always = frozenset(lists.always)
        self._narrow = lists.narrow
        self._index: dict[str, tuple[frozenset[str], ...]] = {}

    def finds(self, identified: Identified) -> bool:
        """Whether the route of this message offers the search tool in place of most of the list."""
        return self._finds and not identified.caller.inbound.server

    def is_find(self, identified: Identified) -> bool:
        """Whether this `tools/call` is a search, which the gateway answers itself."""
        message = identified.message
        found = self._finds and message.method == "tools/call" and message.params["name"] == FIND
        return found and not identified.caller.inbound.server

    def shown(self, identified: Identified) -> Callable[[Item], bool]:
        """Which of the visible tools stand in the caller's list."""
        kept = self.kept(identified.caller.principal)
        if not self.finds(identified):
            return kept
        return lambda tool: not self._always.isdisjoint(tool.tags) and kept(tool)

    def chosen(self, identified: Identified) -> Hashable:
        """Equal for callers to whose lists `shown` leaves the same."""
        return self.finds(identified), self._tags(identified.caller.principal)

    def kept(self, principal: Principal) -> Callable[[Item], bool]:
        """Which tools the narrowing leaves to this caller: all, where no rule names one of its roles or its
        client; else those with a tag of any rule that does."""
        tags = self._tags(principal)
        return _all if tags is None else lambda tool: not tags.isdisjoint(tool.tags)

    def _tags(self, principal: Principal) -> frozenset[str] | None:
        """What the rules leave to this caller; None where no rule names it."""
        rules = [
            rule
            for rule in self._narrow
            if not set(rule.roles).isdisjoint(principal.roles) or principal.client_id in rule.clients
        ]
        return frozenset(tag for rule in rules for tag in rule.tags) if rules else None

    async def find(self, identified: Identified, query: Query, visible: Visible) -> list[Item]:
        """The best matches that the caller may see, best first; equally good ones in the order of lists.

        Policy is asked from the best down and only until there are enough.
        """
        kept = self.kept(identified.caller.principal)
        ranked: list[tuple[int, int, Item]] = []
        for place, tool in enumerate(filter(kept, offered(identified, "tool"))):
            if place % (BREATH * 8) == BREATH:
                await asyncio.sleep(0)
            score = self._score(tool, query.words)
            if score:
                ranked.append((-score, place, tool))
        found: list[Item] = []
        for asked, (_, _, tool) in enumerate(sorted(ranked, key=lambda one: one[:2])):
            if len(found) == query.limit:
                break
            if asked % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            if visible(identified, tool):
                found.append(tool)
        return found

    def _score(self, tool: Item, wanted: frozenset[str]) -> int:
        weights = (_IN_NAME, _IN_TITLE, _IN_PARAMETER, _IN_TEXT)
        return sum(
            weight * len(wanted & words) for weight, words in zip(weights, self._words(tool), strict=True)
        )

    def _words(self, tool: Item) -> tuple[frozenset[str], ...]:
        key = f"{tool.server} {tool.digest}"
        known = self._index.get(key)
        if known is None:
            if len(self._index) >= MAX_INDEXED:
                self._index.clear()
            known = self._index[key] = _places(tool)
        return known


def read_query(arguments: Any) -> Query:
    """The arguments of a search. Raises `Refused` as the schema check of any tool does."""
    query, limit = arguments.get("query"), arguments.get("limit")
    limit = LIMIT if limit is None else limit
    unknown = arguments.keys() - {"query", "limit"}
    if unknown:
        problem = "there are `query` and `limit`, and nothing else"
    elif not isinstance(query, str) or not 1 <= len(query) <= MAX_QUERY:
        problem = f"`query` must be text of 1 to {MAX_QUERY} characters"
    elif type(limit) is not int or not 1 <= limit <= MOST:
        problem = f"`limit` must be a whole number from 1 to {MOST}"
    else:
        return Query(words(query), limit)
    raise Refused(
        Stage.ADMIT, 40301, "policy_denied",
        f"The arguments do not fit the tool's input schema: {problem}.",
        policy_reason="arguments_invalid",
    )  # fmt: skip


def told(definitions: list[dict[str, Any]]) -> dict[str, Any]:
    """The result of a search, from the definitions under the names of the route."""
    found = [
        {key: definition[key] for key in ("name", "description", "inputSchema") if key in definition}
        for definition in definitions
    ]
    how = "Call a tool by its name, as one that is listed." if found else "Nothing fits: use other words."
    text = msgspec.json.encode({"how": how, "tools": found}).decode()
    return {"content": [{"type": "text", "text": text}]}


def words(*texts: object) -> frozenset[str]:
    """The words of some texts, in lower case and without a plural's `s`; camelCase is two words."""
    found = (
        word.casefold()
        for text in texts
        if isinstance(text, str)
        for word in _WORD.findall(_HUMP.sub(" ", text))
    )
    return frozenset(word.removesuffix("s") if len(word) > 3 else word for word in found)


def _places(tool: Item) -> tuple[frozenset[str], ...]:
    definition = tool.definition
    annotations = definition.get("annotations")
    title = annotations.get("title") if is_object(annotations) else None
    schema = definition.get("inputSchema")
    parameters = schema.get("properties") if is_object(schema) else None
    below: Sequence[Any] = list(parameters.values()) if is_object(parameters) else []
    told = [one.get("description") for one in below if is_object(one)]
    choices = [
        choice for one in below if is_object(one) and is_array(one.get("enum")) for choice in one["enum"]
    ]
    return (
        words(tool.server, tool.name),
        words(definition.get("title"), title, *tool.tags),
        words(*(parameters if is_object(parameters) else ())),
        words(definition.get("description"), *told, *choices),
    )


def _all(_: Item) -> bool:
    return True
