"""The parts of a gateway around one pipeline: real stages, fakes only where it meets the world.

The fakes write down what happens in one transcript, so that a test can say in which order it happened.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from airlock.audit.commit import fault
from airlock.core.clock import Clock
from airlock.core.config import ListsSection, RedactionSection, ServerEntry
from airlock.core.errors import AuditFault, Fault, Refused
from airlock.core.ids import uuid7
from airlock.core.sealed import Sealer
from airlock.edge.problems import Problems
from airlock.gateway import catalog
from airlock.gateway.admit import Admit
from airlock.gateway.answer import Answers
from airlock.gateway.asking import Asking
from airlock.gateway.authenticate import Authenticate
from airlock.gateway.authorize import Authorize
from airlock.gateway.definitions import Definitions
from airlock.gateway.diet import Diet
from airlock.gateway.fit import Fit
from airlock.gateway.forward import Forward
from airlock.gateway.lifetime import Lifetime
from airlock.gateway.live import Live
from airlock.gateway.pages import Pages
from airlock.gateway.pipeline import Pipeline
from airlock.gateway.read import Read
from airlock.gateway.record import Record
from airlock.gateway.redact import Redactors, Rules
from airlock.gateway.redact_request import RedactRequest
from airlock.gateway.redact_response import RedactResponse
from airlock.gateway.resolve import resolve
from airlock.gateway.rounds import Rounds, States
from airlock.gateway.sessions import Sessions
from airlock.gateway.strangers import Strangers
from airlock.gateway.visibility import Visibility
from airlock.identity.local import LocalIssuer, trust
from airlock.identity.scopes import SUPPORTED
from airlock.identity.tokens import Verifier
from airlock.mcp.headers import Headers
from airlock.mcp.jsonrpc import Notification, Request
from airlock.model.call import (
    Admitted,
    Allowed,
    Authenticated,
    Client,
    Cut,
    Findings,
    Identified,
    Inbound,
    Reached,
    Redacted,
    Reply,
    Routed,
)
from airlock.model.decision import Decision
from airlock.model.entry import Event, Receipt
from airlock.model.principal import Principal
from airlock.model.server import Catalog, PinState, RegisteredServer, Registry
from airlock.model.snapshot import Current, Snapshot
from airlock.model.upstream import Ask, Notify, Offer, UpstreamAnswer, UpstreamRequest
from airlock.policy.bundle import Bundle
from airlock.policy.embedded import EmbeddedEngine

PUBLIC = "http://localhost:8080"
NOW = 1_800_000_000.0
REVISION = "f" * 64
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "n": {"type": "integer"}},
}


class HandClock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def wall(self) -> float:
        return NOW + self.seconds - 1000.0

    def monotonic(self) -> float:
        return self.seconds


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def debug(self, event: str, **fields: object) -> None:
        self.lines.append({"level": "debug", "event": event, **fields})

    def info(self, event: str, **fields: object) -> None:
        self.lines.append({"level": "info", "event": event, **fields})

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append({"level": "warning", "event": event, **fields})

    def error(self, event: str, **fields: object) -> None:
        self.lines.append({"level": "error", "event": event, **fields})

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


class FakeLog:
    """The audit log: an event is durable some turns of the loop after it was handed over, or never."""

    def __init__(self, transcript: list[str], *, broken: Callable[[Event], bool] = lambda _: False) -> None:
        self.events: list[Event] = []
        self.broken: Callable[[Event], bool] = broken
        self.trouble = ""
        self.held: asyncio.Event | None = None
        """Set by a test: nothing becomes durable before it is set."""
        self.trouble = ""
        self._transcript = transcript
        self._sequence = itertools.count(1)
        self._flushes: set[asyncio.Future[None]] = set()

    def healthy(self) -> str:
        return self.trouble

    async def seal(self, event: Event) -> Receipt:
        """Like the real writer: a caller that is cancelled does not unwrite its event."""
        if self.broken(event):
            await asyncio.sleep(0)
            raise fault(event, "the disk is full")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.add(done)
        asyncio.get_running_loop().call_soon(self._flush, event, done, self.held)
        await asyncio.shield(done)
        sequence = next(self._sequence)
        return Receipt(chain_uid="chain", seq=sequence, id=uuid7(), hash="0" * 64)

    def _flush(self, event: Event, done: asyncio.Future[None], held: asyncio.Event | None) -> None:
        if held is not None and not held.is_set():
            asyncio.get_running_loop().call_soon(self._flush, event, done, held)
            return
        self.events.append(event)
        self._transcript.append(f"durable {event.phase} {event.decision or ''}".strip())
        self._flushes.discard(done)
        done.set_result(None)

    def deciding(self) -> list[Event]:
        return [event for event in self.events if event.phase in ("single", "outcome")]

    def intents(self) -> list[Event]:
        return [event for event in self.events if event.phase == "intent"]


def yes(_: dict[str, Any]) -> Decision:
    return Decision(allow=True, reason="yes", revision=REVISION)


def no(_: dict[str, Any]) -> Decision:
    return Decision(allow=False, reason="not_today", revision=REVISION)


class FakeEngine:
    """Policy: answers, or raises, what a test says."""

    revision = REVISION

    def __init__(self, answer: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self.facts: Cut | None = None
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Any] = answer or yes

    def decide(self, question: bytes) -> Decision:
        asked = msgspec.json.decode(question)
        self.asked.append(asked)
        return self.answer(asked)

    def trouble(self) -> str:
        return ""


class FakeUpstream:
    """An MCP server that keeps what it is sent."""

    def __init__(self, transcript: list[str], offer: Offer | None = None) -> None:
        self.requests: list[UpstreamRequest] = []
        self.closed = False
        self.offer = offer
        self.respond: Callable[[UpstreamRequest, Notify | None], Any] | None = None
        """Gives an `UpstreamAnswer`, raises, or returns an awaitable of one."""
        self._transcript = transcript

    async def describe(self) -> Offer:
        await asyncio.sleep(0)
        if self.offer is None:
            raise RuntimeError("nothing to describe")
        return self.offer

    async def request(
        self, request: UpstreamRequest, *, notify: Notify | None = None, ask: Ask | None = None
    ) -> UpstreamAnswer:
        self.requests.append(request)
        self._transcript.append("upstream")
        await asyncio.sleep(0)
        if self.respond is None:
            return answered({"content": [{"type": "text", "text": "done"}]})
        found = self.respond(request, notify)
        return await found if asyncio.iscoroutine(found) else found

    async def close(self) -> None:
        self.closed = True


def answered(result: dict[str, Any] | None = None, *, error: dict[str, Any] | None = None) -> UpstreamAnswer:
    return UpstreamAnswer(result=result, error=error, size=100, era=MODERN)


def definition(name: str = "echo", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"The tool {name}.", "inputSchema": SCHEMA, **more}


def offer(*definitions: dict[str, Any], **more: Any) -> Offer:
    told: dict[str, Any] = {
        "era": MODERN,
        "server_info": {"name": "toy", "version": "1"},
        "capabilities": {"tools": {}},
        "instructions": "",
        "ttl": 60.0,
        **more,
    }
    return Offer(tools=definitions or (definition(),), **told)


def entry(name: str = "docs", **more: Any) -> ServerEntry:
    return ServerEntry(name=name, transport="http", url="http://127.0.0.1:9/mcp", **more)


def build(
    of: ServerEntry, *definitions: dict[str, Any], pins: Mapping[str, PinState] | None = None
) -> Catalog:
    offered = offer(*definitions)
    every: dict[str, PinState] = {str(tool.get("name")): "pinned" for tool in offered.tools}
    found = pins if pins is not None else every
    return catalog.build(of, offered, found, 1000.0)


def registered(
    name: str = "docs",
    *definitions: dict[str, Any],
    pins: Mapping[str, PinState] | None = None,
    **more: Any,
) -> RegisteredServer:
    of = entry(name, **more)
    return RegisteredServer(entry=of, catalog=build(of, *definitions, pins=pins), state="ready")


def registry(*servers: RegisteredServer) -> Registry:
    return Registry(servers={server.entry.name: server for server in servers or (registered(),)})


def snapshot(*servers: RegisteredServer) -> Snapshot:
    return Snapshot(registry=registry(*servers), policy_revision=REVISION)


def principal(subject: str = "alice", tenant: str = "acme", **more: Any) -> Principal:
    told: dict[str, Any] = {
        "roles": ("developer",),
        "scopes": SUPPORTED,
        "token_id": f"token-of-{subject}",
        "audience": (f"{PUBLIC}/mcp",),
        "expires_at": int(NOW) + 3600,
        **more,
    }
    return Principal(issuer="https://issuer.example", subject=subject, tenant=tenant, **told)


def inbound(
    message: object = None, *, server: str = "", headers: Mapping[str, str] | None = None, **more: Any
) -> Inbound:
    body = message if isinstance(message, bytes) else msgspec.json.encode(message)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    told: dict[str, Any] = {"source_ip": "192.0.2.7", "source_port": 4711, "received": 1000.0, **more}
    return Inbound(
        request_id=uuid7(),
        route=f"/mcp/{server}" if server else "/mcp",
        server=server,
        headers=Headers(raw),
        body=body,
        **told,
    )


def call_message(name: str = "docs__echo", arguments: dict[str, Any] | None = None, **params: Any) -> Any:
    told = {"name": name, "arguments": arguments if arguments is not None else {"text": "x"}, **params}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": told}


def authenticated(
    message: object = None,
    *,
    who: Principal | None = None,
    at: Snapshot | None = None,
    server: str = "",
    headers: Mapping[str, str] | None = None,
) -> Authenticated:
    return Authenticated(
        inbound=inbound(message if message is not None else call_message(), server=server, headers=headers),
        principal=who or principal(),
        snapshot=at or snapshot(),
    )


LEGACY_CLIENT = Client(version="2025-11-25", modern=False, capabilities={})
MODERN_CLIENT = Client(version=MODERN, modern=True, capabilities={})


def identified(
    method: str = "tools/call",
    params: dict[str, Any] | None = None,
    *,
    caller: Authenticated | None = None,
    client: Client = LEGACY_CLIENT,
    notification: bool = False,
) -> Identified:
    told = params if params is not None else call_message()["params"]
    message = Notification(method, told) if notification else Request(1, method, told)
    return Identified(caller=caller or authenticated(), client=client, message=message)


def routed(of: Identified | None = None) -> Routed:
    return resolve(of or identified())


def allowed(of: Routed | None = None, **decision: Any) -> Allowed:
    told: dict[str, Any] = {"allow": True, "reason": "yes", "revision": REVISION, **decision}
    return Allowed(admitted=Admitted(routed=of or routed()), decision=Decision(**told), question=b"{}")


def redactors(**section: Any) -> Redactors:
    """The rules of a configuration; without one, nothing is looked for."""
    told: dict[str, Any] = {"detectors": (), **section}
    return Redactors(Rules(RedactionSection(**told)))


def redact_request(of: Redactors | None = None, *, clock: HandClock | None = None) -> RedactRequest:
    return RedactRequest(
        redactors=of or redactors(),
        fit=Fit(),
        clock=clock or HandClock(),
        progress=lambda: "p1",
        capabilities=anything.capabilities,
    )


def redact_response(of: Redactors | None = None) -> RedactResponse:
    return RedactResponse(
        redactors=of or redactors(), fit=Fit(), asking=anything, sealed=rounds().sealed, lifetime=lifetime()
    )


def lifetime(clock: Clock | None = None) -> Lifetime:
    return Lifetime(clock=clock or HandClock(), most=300.0)


def _always(*_: object) -> bool:
    return True


anything = Asking(_always)
"""Policy lets servers ask whatever they like."""


def rounds() -> Rounds:
    return Rounds(States(sealer=sealer(), clock=HandClock()))


def redacted(of: Allowed | None = None, *, clock: HandClock | None = None) -> Redacted:
    return redact_request(clock=clock)(of or allowed())


def sealer() -> Sealer:
    return Sealer({"k1": b"k" * 32}, "k1")


class House:
    """A whole pipeline: real stages, a fake log, engine and upstream, one transcript."""

    def __init__(
        self,
        folder: Path,
        *servers: RegisteredServer,
        intent: str = "effects",
        all_requests: bool = False,
        redaction: Mapping[str, Any] | None = None,
        listing: ListsSection | None = None,
    ) -> None:
        self.transcript: list[str] = []
        self.clock = HandClock()
        self.lines = Lines()
        self.log = FakeLog(self.transcript)
        self.engine = FakeEngine()
        self.upstream = FakeUpstream(self.transcript)
        self.issuer = LocalIssuer.open(folder, PUBLIC)
        self.current = Current(msgspec.structs.replace(snapshot(*servers), keys=self.issuer.keys()))
        self.live = Live()
        self.sessions = Sessions(sealer())
        self.strangers = Strangers(log=self.log, clock=self.clock)
        self.redactors = redactors(**(redaction or {}))
        self.announced: list[tuple[Findings, str, str]] = []
        self.record = Record(
            log=self.log,
            strangers=self.strangers,
            clock=self.clock,
            sealer=sealer(),
            intent="all" if intent == "all" else "effects",
            inputs="footprint",
            all_requests=all_requests,
            redactors=self.redactors,
            announce=lambda found, tool, request_id: self.announced.append((found, tool, request_id)),
        )
        self.authorize = Authorize(engine=self.engine, clock=self.clock)
        self.problems = Problems(
            public_url=PUBLIC, conceal=self.authorize.conceal, clock=self.clock, log=self.lines
        )
        self.authenticate = Authenticate(
            current=self.current,
            verifier=Verifier(issuers=[trust(PUBLIC)]),
            clock=self.clock,
            public_url=PUBLIC,
        )
        self.stale: list[str] = []
        self.measured: list[tuple[Reached, Reply | None, Refused | Fault | None]] = []
        tokens = itertools.count(1)
        upstreams = dict.fromkeys(self.current.get().registry.servers, self.upstream)
        self.upstreams: dict[str, Any] = upstreams
        asking = Asking(self.authorize.may_ask)
        rounds = Rounds(States(sealer=sealer(), clock=self.clock))
        keep = lifetime(self.clock)
        response = RedactResponse(
            redactors=self.redactors, fit=Fit(), asking=asking, sealed=rounds.sealed, lifetime=keep
        )
        self.answers = answers = Answers(
            visible=self.authorize.visible,
            visibility=Visibility(visible=self.authorize.visible, standing=self.authorize.standing),
            pages=Pages(sealer=sealer(), size=(listing or ListsSection()).page),
            lifetime=keep,
            sessions=self.sessions,
            record=self.record,
            clock=self.clock,
            definitions=Definitions(self.redactors),
            diet=Diet(listing or ListsSection()),
        )
        self.pipeline = Pipeline(
            permit=lambda _: None,
            authenticate=self.authenticate,
            read=Read(sessions=self.sessions, clock=self.clock, one_shot=True),
            resolve=resolve,
            admit=rounds.admitting(Admit()),
            authorize=self.authorize,
            redact_request=RedactRequest(
                redactors=self.redactors,
                fit=Fit(),
                clock=self.clock,
                progress=lambda: f"p{next(tokens)}",
                capabilities=asking.capabilities,
            ),
            forward=Forward(
                current=self.current,
                upstreams=upstreams,
                live=self.live,
                clock=self.clock,
                stale=noting(self.stale),
                notices=response.notices,
                unsure=lambda _: None,
            ),
            redact_response=response,
            record=self.record,
            owns=answers.owns,
            answer=answers,
            explain=self.problems.explain,
            measure=lambda reached, reply, failure: self.measured.append((reached, reply, failure)),
        )

    def token(
        self, subject: str = "alice", tenant: str = "acme", *, scopes: tuple[str, ...] = SUPPORTED
    ) -> str:
        return self.issuer.issue(
            subject=subject,
            tenant=tenant,
            roles=("developer",),
            scopes=scopes,
            ttl=3600,
            now=self.clock.wall(),
        )

    def inbound(
        self,
        message: object,
        *,
        token: str | None = None,
        server: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Inbound:
        own = {"authorization": f"Bearer {token or self.token()}"}
        return inbound(message, server=server, headers={**own, **(headers or {})})

    async def govern(self, message: Inbound, notify: Notify | None = None) -> Reply:
        reply = await self.pipeline.govern(message, notify or (lambda _m, _p: None))
        self.transcript.append("answered")
        return reply


def noting(names: list[str]) -> Callable[[str], Awaitable[None]]:
    """Keeps the names of servers that are to be read again."""

    async def note(server: str) -> None:
        names.append(server)

    return note


def failure_of(reason: str) -> Callable[[BaseException], bool]:
    """For `pytest.raises(check=...)`: the reason of a refusal or fault."""
    return lambda error: isinstance(error, Refused | Fault) and error.reason == reason


def audit_failure(event: Event) -> AuditFault:
    return fault(event, "the disk is full")


async def until(condition: Callable[[], bool], within: float = 5.0) -> None:
    """Let others run until the condition holds, at most `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)


def rego(text: str) -> EmbeddedEngine:
    """The real engine on a policy of one module in package `airlock`."""
    module = f"package airlock\nimport rego.v1\n{text}".encode()
    return EmbeddedEngine(Bundle.of({"a.rego": module}, origin="test"))
