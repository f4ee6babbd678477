"""What is said to an MCP server in either era, apart from how bytes travel: both transports use it.

Pure, except `read_list`, which asks through a function that it is handed. The envelope of the modern era
(2026-07-28) carries the caller's capabilities, never the gateway's. Whatever a server says that is not
MCP raises `UpstreamFault.protocol`; a JSON-RPC error is an answer like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock import __version__
from airlock.core.errors import Effect, Rejected, UpstreamFault
from airlock.mcp import eras, strict
from airlock.mcp.strict import is_array, is_object
from airlock.model.upstream import KEEP_MS, Offer, UpstreamAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

MODERN = eras.MODERN[0]
VERSION_UNSUPPORTED = eras.UNSUPPORTED_VERSION
MODERN_ERRORS = frozenset({eras.HEADER_MISMATCH, -32021, VERSION_UNSUPPORTED})
"""Errors that only a modern server knows; -32021 is a missing client capability."""

CLIENT_INFO = {"name": "airlock", "version": __version__}
SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"
ERA_LIFETIME = 24 * 3600.0
"""Seconds after which a server is asked again which era it speaks."""

PAGES = 50
ITEMS = 2000
"""Bounds of one list at one server."""
TTL_LEAST = 5.0
TTL_MOST = 30.0
"""Seconds: the bounds of what a server says of when to read it again. It is not asked in a loop, and cannot
choose for how long a changed definition goes unnoticed."""

MESSAGES_MOST = 10_000
"""Messages of a server in the course of one call: each costs far more than its bytes do."""
MESSAGES_AT_ONCE = 64
"""Messages taken without a pause in which other calls may go on."""

Ask = Callable[[str, dict[str, Any]], Awaitable[UpstreamAnswer]]
"""Sends one request (method, params without envelope) and returns its answer."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it introduced itself, by `server/discover` or by `initialize`."""

    version: str
    server_info: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    capabilities: dict[str, Any] | None = None
    """None: it proved its era by an error and said nothing of itself."""
    instructions: str = ""

    @property
    def modern(self) -> bool:
        return self.version == MODERN


def changes(peer: Peer) -> bool:
    """Whether a server says that it tells of changes of its lists."""
    said = peer.capabilities or {}
    kinds = ("tools", "prompts", "resources")
    return any(_object(said.get(kind)).get("listChanged") is True for kind in kinds)


def updates(peer: Peer) -> bool:
    """Whether a server says that it tells of changes of its resources."""
    return _object((peer.capabilities or {}).get("resources")).get("subscribe") is True


def enveloped(params: dict[str, Any], capabilities: dict[str, Any]) -> dict[str, Any]:
    """`params` with the modern per-request envelope; what the envelope says wins over what was there."""
    return {
        **params,
        "_meta": {
            **(params.get("_meta") or {}),
            eras.VERSION_KEY: MODERN,
            eras.CLIENT_INFO_KEY: CLIENT_INFO,
            eras.CAPABILITIES_KEY: capabilities,
        },
    }


def initialize_params(capabilities: dict[str, Any]) -> dict[str, Any]:
    """The legacy handshake, in the name of a caller with these capabilities."""
    return {"protocolVersion": eras.LATEST_LEGACY, "capabilities": capabilities, "clientInfo": CLIENT_INFO}


def read_message(data: bytes) -> dict[str, Any]:
    """One JSON-RPC message of a server, parsed strictly: request, notification, result or error."""
    try:
        message = strict.parse(data, case_collisions=True)
    except Rejected as error:
        raise UpstreamFault.protocol(f"JSON refused: {error.text}") from error
    if not is_object(message) or message.get("jsonrpc") != "2.0" or not _well_formed(message):
        raise UpstreamFault.protocol("not a JSON-RPC 2.0 message")
    return message


def _well_formed(message: Mapping[str, Any]) -> bool:
    if "method" in message:
        return (
            type(message["method"]) is str
            and is_object(message.get("params", {}))
            and ("id" not in message or type(message["id"]) in {str, int})
        )
    if "result" in message:
        return (
            "error" not in message and type(message.get("id")) in {str, int} and is_object(message["result"])
        )
    error = message.get("error")
    if type(message.get("id")) not in {str, int, NoneType}:
        return False
    return is_object(error) and type(error.get("code")) is int and type(error.get("message")) is str


def answer_of(message: Mapping[str, Any], *, size: int, era: str) -> UpstreamAnswer:
    """The answer in a message that `read_message` accepted and that has no method."""
    return UpstreamAnswer(result=message.get("result"), error=message.get("error"), size=size, era=era)


def judge(answer: UpstreamAnswer) -> Peer | None:
    """What the answer to `server/discover` proves: a modern server (its introduction), or None for legacy.

    Raises `UpstreamFault` for a server that speaks MCP in no version that we know.
    """
    if answer.error is not None:
        return _judge_error(answer.error)
    found = cast("dict[str, Any]", answer.result)
    if "supportedVersions" not in found:
        return None  # a server that answers anything to any method
    versions = found["supportedVersions"]
    if not is_array(versions) or not is_object(found.get("capabilities")):
        raise UpstreamFault.protocol("the answer to server/discover is no DiscoverResult")
    if MODERN not in versions:
        return _legacy_only(versions)
    return Peer(
        version=MODERN,
        server_info=_object(_object(found.get("_meta")).get(SERVER_INFO_KEY)),
        capabilities=found["capabilities"],
        instructions=_text(found.get("instructions")),
    )


def _judge_error(error: Mapping[str, Any]) -> Peer | None:
    if error["code"] not in MODERN_ERRORS:
        return None
    versions = _object(error.get("data")).get("supported")
    if error["code"] == VERSION_UNSUPPORTED and is_array(versions) and MODERN not in versions:
        return _legacy_only(versions)
    return Peer(version=MODERN)


def _legacy_only(versions: list[Any]) -> None:
    """A server that knows discovery but not our modern version is legacy only if it says so itself."""
    if not any(version in eras.LEGACY for version in versions if isinstance(version, str)):
        raise UpstreamFault.protocol("incompatible: no protocol version in common", effect=Effect.NONE)


def introduced(answer: UpstreamAnswer) -> Peer:
    """The server behind the answer to `initialize`. Raises `UpstreamFault` unless its version is legacy."""
    if answer.error is not None:
        code = answer.error["code"]
        raise UpstreamFault.protocol(f"initialize was answered with error {code}", effect=Effect.NONE)
    found = cast("dict[str, Any]", answer.result)
    version = found.get("protocolVersion")
    if not isinstance(version, str) or version not in eras.LEGACY:
        raise UpstreamFault.protocol("incompatible: no protocol version in common", effect=Effect.NONE)
    return Peer(
        version=version,
        server_info=_object(found.get("serverInfo")),
        capabilities=_object(found.get("capabilities")),
        instructions=_text(found.get("instructions")),
    )


class Listing(msgspec.Struct, frozen=True):
    """One list of a server: its method, the member of a page that holds it, and the key of an item."""

    method: str
    member: str
    key: str
    capability: str


TOOLS = Listing("tools/list", "tools", "name", "tools")
OTHERS = {
    "prompts": Listing("prompts/list", "prompts", "name", "prompts"),
    "resources": Listing("resources/list", "resources", "uri", "resources"),
    "templates": Listing("resources/templates/list", "resourceTemplates", "uriTemplate", "resources"),
}
METHOD_NOT_FOUND = -32601


async def describe(peer: Peer, ask: Ask) -> Offer:
    """Everything that the server offers: its introduction and all pages of its lists.

    Without its tools a server has no catalog. Another list that cannot be read is left out, and said: many
    servers name a capability and serve only part of it.
    """
    tools, said = await read_list(peer, ask, TOOLS)
    lifetimes = said
    others: dict[str, tuple[dict[str, Any], ...]] = {}
    left_out: dict[str, str] = {}
    for name, listing in OTHERS.items():
        try:
            items, said = await read_list(peer, ask, listing)
        except Unlisted as fault:
            if fault.said != METHOD_NOT_FOUND:
                left_out[listing.method] = fault.detail
            continue
        others[name] = tuple(items)
        lifetimes += said
    keep = min(lifetimes, default=KEEP_MS)
    return Offer(
        era=peer.version,
        server_info=peer.server_info,
        capabilities=peer.capabilities or {},
        instructions=peer.instructions,
        tools=tuple(tools),
        left_out=left_out,
        ttl=min(max(keep / 1000, TTL_LEAST), TTL_MOST),
        keep_ms=keep,
        **others,
    )


class Unlisted(UpstreamFault):
    """A list that the server answered with an error, or with something that is none."""

    said = 0
    """The code of its error."""


async def read_list(peer: Peer, ask: Ask, listing: Listing) -> tuple[list[dict[str, Any]], list[int]]:
    """All pages of one list, and for how many milliseconds each may be kept.

    Raises `Unlisted` for an error, a page that is no list of named items, a name that comes twice, or more
    than the bounds allow: half a list is not a list.
    """
    found: dict[str, dict[str, Any]] = {}
    lifetimes: list[int] = []
    if peer.capabilities is not None and listing.capability not in peer.capabilities:
        return [], []
    params: dict[str, Any] = {}
    for _ in range(PAGES):
        page = await _page(ask, params, listing)
        for item in page[listing.member]:
            _collect(found, item, listing)
        lifetimes.append(_keep_ms(peer, page))
        if not isinstance(page.get("nextCursor"), str):
            return list(found.values()), lifetimes
        params = {"cursor": page["nextCursor"]}
    raise _unlisted(f"more than {PAGES} pages of {listing.method}")


def _keep_ms(peer: Peer, page: dict[str, Any]) -> int:
    said: Any = page.get("ttlMs")
    return max(0, int(said)) if peer.modern and type(said) in {int, float} else KEEP_MS


async def _page(ask: Ask, params: dict[str, Any], listing: Listing) -> dict[str, Any]:
    answer = await ask(listing.method, params)
    if answer.error is not None:
        code = answer.error["code"]
        raise _unlisted(f"{listing.method} was answered with error {code}", code)
    page = cast("dict[str, Any]", answer.result)
    if not isinstance(page.get(listing.member), list):
        raise _unlisted(f"a page of {listing.method} has no {listing.member}")
    return page


def _collect(found: dict[str, dict[str, Any]], item: object, listing: Listing) -> None:
    name = item.get(listing.key) if is_object(item) else None
    if not isinstance(name, str) or not name:
        raise _unlisted(f"{listing.method} has an item without {listing.key}")
    if name in found or len(found) == ITEMS:
        raise _unlisted(f"{listing.method} has an item twice or more than {ITEMS} of them")
    found[name] = cast("dict[str, Any]", item)


def _unlisted(detail: str, said: int = 0) -> Unlisted:
    fault = Unlisted.protocol(detail)
    fault.said = said
    return fault


def _object(value: object) -> dict[str, Any]:
    return value if is_object(value) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
