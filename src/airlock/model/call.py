"""The way of a call, as types.

`Inbound -> Authenticated -> Identified -> Routed -> Admitted -> Allowed -> Redacted`.

Each stage takes one of them and returns the next, so a stage that was skipped does not type-check.
Each holds the one before it; nothing is copied and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from airlock.mcp.headers import Headers
from airlock.mcp.jsonrpc import Id, Message, Request
from airlock.model.decision import Decision
from airlock.model.principal import Principal
from airlock.model.server import Item, RegisteredServer
from airlock.model.snapshot import Snapshot
from airlock.model.upstream import UpstreamRequest


class ClientStream(Protocol):
    """The open answer of a legacy client in its session, or of a subscription. In a session, what is said is
    kept for who went away, within bounds."""

    @property
    def hears(self) -> bool:
        """The client is there, and takes more than the answer."""
        ...

    def enter(self, session: str, version: str) -> None:
        """The session is open, and it is this client's own."""
        ...

    def belongs(self, call: Redacted) -> None:
        """The call that is sent, and whose answer this is."""
        ...

    def notify(self, method: str, params: dict[str, Any]) -> None: ...

    def request(self, id: str, method: str, params: dict[str, Any]) -> None: ...

    def conclude(self, reply: Reply) -> None:
        """Send the reply ahead of the work that gives it, where the client takes it at once."""
        ...


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes from a peer whose transport checks (host, origin, path, size, types) have passed."""

    request_id: str
    """Ours, unique; also the decision id that stands in log, audit row and reply."""
    route: str
    """`/mcp` or `/mcp/{server}`."""
    server: str
    """The `{server}` of the route; empty on `/mcp`."""
    headers: Headers
    body: bytes
    source_ip: str
    source_port: int
    received: float
    """Monotonic seconds."""
    stream: ClientStream | None = None
    """None for whoever is in no session and has no subscription."""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """How the client speaks. Its capabilities and its name are claims and decide nothing."""

    version: str
    modern: bool
    capabilities: dict[str, Any]
    info: dict[str, Any] | None = None
    log_level: str = ""
    """The least level of the log messages that it wants of this request; empty: none."""
    session: str = ""
    """Session id (the random part of the sealed one), empty without a session."""


class Authenticated(msgspec.Struct, frozen=True, kw_only=True):
    """1a the token counts: who speaks. Nothing of the body has been looked at."""

    inbound: Inbound
    principal: Principal
    snapshot: Snapshot
    """The one picture of the world that every later stage of this call reads."""


class Identified(msgspec.Struct, frozen=True, kw_only=True):
    """1b the message is strict JSON in an era we serve: who asks what."""

    caller: Authenticated
    client: Client
    message: Message

    @property
    def id(self) -> Id | None:
        """The client's id for the message; None for a notification."""
        return self.message.id if isinstance(self.message, Request) else None


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """2 resolved to what a server offers, by its canonical name."""

    identified: Identified
    server: RegisteredServer
    item: Item
    arguments: dict[str, Any]
    """Of a tool or a prompt; `uri` of a resource; `argument` and `context` of a completion."""
    uri: str = ""
    """The server's own URI that is read, or whose template is completed; empty for tools and prompts."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says that goes on with a call: a server had answered that call with a question."""

    number: int
    """Rounds that the call has had."""
    responses: dict[str, Any]
    """The client's answers, by the server's keys."""
    inner: str | None = None
    """The server's own state, as it gave it."""
    park: str = ""
    """The call that waits for the answers; empty where nothing waits."""
    nonce: str = ""
    """Of a state that counts once."""
    digest: str = ""
    """SHA-256 of the state as it came, hex."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """3 not contained, not quarantined, definition approved, within limits."""

    routed: Routed
    round: Round | None = None
    """None for a call that begins."""
    would_deny: str = ""
    """What enforcing would have said of the definition, where the call is only observed."""


Cut = Callable[[bytes], bytes]
"""From a question to the parts of it that a policy can read."""


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """4 policy said yes, and this is the question it answered."""

    admitted: Admitted
    decision: Decision
    question: bytes
    """The policy input, JSON."""
    facts: Cut | None = None
    """What a record needs of the question; None: all of it."""
    would_deny: str = ""
    """What enforcing would have said first, where the call is only observed."""
    grant: str = ""
    """The grant by which it passes although policy answers nothing; empty: policy decided."""


class Findings(msgspec.Struct, kw_only=True):
    """What was taken out of the messages of one call so far, in both directions. It only grows."""

    counts: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """By detector; `url_blocked` for addresses."""
    hosts: set[str] = msgspec.field(default_factory=set[str])
    """Where blocked addresses lead."""
    withheld: bool = False
    """Structured content was left out: what was taken out of it left a hole that its schema forbids."""

    def add(self, counts: Mapping[str, int]) -> None:
        for detector, count in counts.items():
            self.counts[detector] = self.counts.get(detector, 0) + count


class Redacted(msgspec.Struct, frozen=True, kw_only=True):
    """5 what will be sent, byte for byte."""

    allowed: Allowed
    request: UpstreamRequest
    arguments: bytes
    """RFC 8785 form of the arguments that are forwarded, less what no record may hold."""
    question: bytes
    """The policy input, JSON, less what no record may hold."""
    found: Findings


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """7 what the client gets: one JSON-RPC message. It may leave only after its record is durable."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    is_error: bool = False
    """The tool itself reported an error; for the record, not for the transport."""
    upstream_bytes: int = 0
    asks: bool = False
    """It is a question of the server, after which the client calls again."""
    contained: bool = False
    """The caller or the tool is contained: what still waits to be sent before it is not."""


Reached = Inbound | Authenticated | Identified | Routed | Admitted | Allowed | Redacted
"""How far a call came; what the record of a refusal is made from."""
