"""The audit envelope around a call: what becomes a row, and in which words.

Exactly one deciding row per call (`single` for a refusal, `outcome` once something was sent), at most one
`intent` before it. Refusals before authentication go to `Strangers`, which counts them instead of filling
the log. Nothing personal stands outside `Personal`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import AuditFault, Effect, Fault, Refused
from airlock.gateway import echo, marks
from airlock.gateway.aside import aside
from airlock.gateway.claims import Claims
from airlock.gateway.floods import Floods
from airlock.gateway.reached import Governed, Unfolded, unfold
from airlock.gateway.redact import Redactors, kept, summary
from airlock.gateway.strangers import Strangers
from airlock.gateway.words import (
    ACTION_OF_REASON,
    ACTIONS,
    LIMITS,
    METHODS,
    SEVERITY,
    known_server,
    reason_of,
    risk,
)
from airlock.mcp import rounds
from airlock.model.call import (
    Allowed,
    Authenticated,
    Findings,
    Identified,
    Inbound,
    Reached,
    Redacted,
    Reply,
    Routed,
)
from airlock.model.entry import Event, Personal, Receipt, Severity


class Log(Protocol):
    """The writer of the audit log. `seal` returns when the event is durable, or raises `AuditFault`."""

    def healthy(self) -> str:
        """Why new calls should not be taken now; empty when all is well."""
        ...

    async def seal(self, event: Event) -> Receipt: ...


class Seal(Protocol):
    """Encrypts what is kept for replay."""

    def seal(self, purpose: str, payload: bytes, context: bytes = b"") -> str: ...


Announce = Callable[[Findings, str, str], None]
"""Told of what was taken out, of the tool (`server/name`) and of the request id, once a row says so."""


class Record:
    """Turns what a call reached into events. `all_requests` and `decoys` are all its state."""

    def __init__(
        self,
        *,
        log: Log,
        strangers: Strangers,
        clock: Clock,
        sealer: Seal,
        intent: Literal["effects", "all"],
        inputs: Literal["footprint", "full", "none"],
        all_requests: bool,
        redactors: Redactors,
        announce: Announce,
        decoys: frozenset[str] = frozenset(),
    ) -> None:
        self._log = log
        self._strangers = strangers
        self._clock = clock
        self._sealer = sealer
        self._every_intent = intent == "all"
        self._inputs = inputs
        self.floods = Floods(log=log, clock=clock)
        self.all_requests = all_requests
        self._redactors = redactors
        self._announce = announce
        self.decoys = decoys
        self._claims = Claims(redactors)

    async def intend(self, call: Redacted) -> None:
        """Make the intent durable, unless policy allowed a tool that was approved as read-only and low.

        Raises `AuditFault` for every call while the log could not take its outcome.
        """
        trouble = self._log.healthy()
        if trouble:
            raise AuditFault(trouble)
        tool = call.allowed.admitted.routed.item
        demanded = call.allowed.grant or call.allowed.decision.obligations.audit == "intent"
        if self._every_intent or demanded or not (tool.read_only and tool.sensitivity == "low"):
            await self._log.seal(self._event(call, phase="intent"))

    async def seal(self, call: Redacted, reply: Reply) -> None:
        """Make the outcome durable: the call was answered."""
        metadata: dict[str, Any] = {"result_bytes": len(reply.body), "upstream_bytes": reply.upstream_bytes}
        if reply.is_error:
            metadata["is_error"] = True
        if reply.asks:
            metadata["result_type"] = rounds.INPUT_REQUIRED
        if call.found.counts:
            await self._taken_out(call)
        await self._log.seal(
            self._event(
                call, phase="outcome", decision="allow", reason=call.allowed.decision.reason,
                metadata=metadata, result=reply.body,
            )
        )  # fmt: skip

    async def refuse(self, reached: Reached, failure: Refused | Fault) -> None:
        """Make the refusal, fault or cancellation durable."""
        if isinstance(reached, Inbound):
            await self._strangers.refused(reached, failure)
            return
        unwritten = isinstance(failure, AuditFault) and failure.effect is Effect.NONE
        if unwritten and isinstance(reached, Redacted):
            return  # the intent itself could not be written: nothing was sent, and nothing can be recorded
        if isinstance(reached, Redacted) and reached.found.counts:
            await self._taken_out(reached)
        caller = unfold(reached)[0]
        if failure.reason in LIMITS and isinstance(reached, Identified | Routed):
            await self.floods.refused(
                f"{failure.reason}\0{caller.principal.key}", lambda: self._refusal(reached, failure)
            )
        else:
            await self._log.seal(await aside(len(caller.inbound.body), self._refusal, reached, failure))

    def _refusal(self, reached: Governed, failure: Refused | Fault) -> Event:
        decision = "deny" if isinstance(failure, Refused) else "error"
        behind = {"lease_id": failure.lease} if isinstance(failure, Refused) and failure.lease else {}
        return self._event(
            reached,
            phase="outcome" if isinstance(reached, Redacted) else "single",
            action=ACTION_OF_REASON.get(failure.reason),
            decision=decision,
            reason=reason_of(failure),
            severity=SEVERITY.get(failure.reason, "MEDIUM" if decision == "error" else "LOW"),
            metadata={
                "code": failure.code,
                "stage": failure.stage.value,
                "effect": failure.effect.value,
                **behind,
                **marks.asked(reached),
            },
            judged=failure.judged if isinstance(failure, Refused) else None,
        )

    async def listed(self, caller: Identified, metadata: dict[str, Any], action: str | None = None) -> None:
        """An allowed list, handshake or ping: a row only where the operator asked for all of them."""
        if self.all_requests:
            await self._log.seal(
                self._event(
                    caller, phase="single", action=action, decision="allow", reason="ok", metadata=metadata
                )
            )

    async def _taken_out(self, call: Redacted) -> None:
        """Before the row that decides: a crash in between leaves no outcome whose redactions nobody knows."""
        try:
            await self.redacted(call, call.found)
        except AuditFault as unwritten:
            raise AuditFault(unwritten.detail, effect=Effect.POSSIBLE) from unwritten

    async def redacted(self, reached: Identified | Redacted, found: Findings) -> None:
        """Make durable what was taken out, by detector; of addresses only where they led."""
        reason = "url_blocked" if "url_blocked" in found.counts else "redacted"
        event = msgspec.structs.replace(
            self._event(
                reached, phase="single", action="redact_data", reason=reason, metadata=summary(found)
            ),
            event_type="redaction",
            redaction_count=sum(found.counts.values()),
        )
        await self._log.seal(event)
        self._announce(found, event.resource.removeprefix("mcp://"), event.request_id)

    async def asked(self, call: Redacted, action: str, reason: str, metadata: dict[str, Any]) -> None:
        """What a server asked of the client of a call, or what became of that."""
        denied = "denied" in metadata
        event = self._event(
            call,
            phase="single",
            action=action,
            decision="deny" if denied else "allow",
            reason=reason,
            severity="MEDIUM" if denied else "LOW",
            metadata=metadata,
        )
        await self._log.seal(event)

    async def undelivered(self, call: Redacted) -> None:
        """The answer of a call whose client went away and did not come back for it."""
        event = self._event(call, phase="single", decision="allow", reason="undelivered", severity="LOW")
        await self._log.seal(event)

    async def session_started(self, identified: Identified, sid: str) -> None:
        """A client shook hands."""
        await self._session(identified, "session_started", sid)

    async def session_ended(self, caller: Authenticated, sid: str) -> None:
        """A client closed its session."""
        await self._session(caller, "session_ended", sid)

    async def _session(self, reached: Authenticated | Identified, word: str, sid: str) -> None:
        event = self._event(reached, phase="single", decision="allow", reason=word)
        personal = msgspec.structs.replace(event.personal, session_digest=_digest(sid.encode()))
        await self._log.seal(
            msgspec.structs.replace(event, event_type="auth", action="session", personal=personal)
        )

    def _event(
        self,
        reached: Governed,
        *,
        phase: Literal["single", "intent", "outcome"],
        action: str | None = None,
        decision: Literal["allow", "deny", "error"] | None = None,
        reason: str = "",
        severity: Severity | None = None,
        metadata: dict[str, Any] | None = None,
        result: bytes | None = None,
        judged: object = None,
    ) -> Event:
        caller, identified, routed, allowed, _ = stages = unfold(reached)
        inbound, principal, snapshot = caller.inbound, caller.principal, caller.snapshot
        tool = routed.item if routed else None
        name = tool.name if tool else ""
        if tool and tool.kind != "tool":  # people name tools; a URI may hold anything
            name = self._claims(name, inbound)
        method = identified.message.method if identified else ""
        client = identified.client if identified else None
        named = method if method in METHODS else "unknown" if method else ""
        server = tool.server if tool else known_server(inbound.server, snapshot)
        route = inbound.route if server or not inbound.server else "/mcp/{server}"
        attributes: dict[str, Any] = {"method": named, "route": route, **(metadata or {})}
        if allowed and allowed.would_deny:
            attributes["would_deny"] = allowed.would_deny
        if allowed and allowed.admitted.round:
            attributes |= marks.of_round(allowed.admitted.round)
        if allowed and allowed.grant:
            attributes["grant"], severity = allowed.grant, "CRITICAL"
        if principal.subject == echo.SYNTHETIC and severity != "CRITICAL" and echo.harmless(reached):
            attributes["synthetic"] = True
        if tool:
            attributes |= marks.standing(tool)
        personal = self._personal(stages, result, judged if isinstance(judged, Allowed) else allowed)
        attributes |= marks.of_call(tool, personal.arguments, result, self.decoys)
        return Event(
            event_type="call",
            phase=phase,
            action=action or ACTIONS.get(method, "security_violation"),
            resource=f"mcp://{tool.server}/{name}" if tool else "",
            server_id=server,
            tool_name=name,
            definition_digest=tool.digest if tool else "",
            request_id=inbound.request_id,
            correlation_id=inbound.request_id,
            tenant=principal.tenant,
            identity={
                "audience": principal.audience,
                "auth": principal.auth,
                "era": client.version if client else "",
                "roles": principal.roles,
                "scopes": principal.scopes,
            },
            policy_revision=allowed.decision.revision if allowed else snapshot.policy_revision,
            lease_epoch=snapshot.leases.epoch,
            decision=decision,
            reason=reason,
            severity=severity or risk(tool.sensitivity if tool else "low"),
            latency_ms=None
            if phase == "intent"
            else int((self._clock.monotonic() - inbound.received) * 1000),
            metadata=attributes,
            personal=personal,
        )

    def _personal(self, stages: Unfolded, result: bytes | None, allowed: Allowed | None) -> Personal:
        """`allowed` has what policy was asked, also where it said no."""
        caller, identified, routed, _, redacted = stages
        inbound, principal = caller.inbound, caller.principal
        client = identified.client if identified else None
        arguments, asked = (
            (redacted.arguments, redacted.question)
            if redacted
            else kept(self._redactors.rules, routed, allowed)
        )
        if asked is not None and allowed and allowed.facts and self._inputs == "footprint":
            asked = allowed.facts(asked)
        keep = self._inputs != "none" or (allowed and allowed.grant)
        return Personal(
            issuer=principal.issuer,
            subject=principal.subject,
            actor=principal.actor,
            source_ip=inbound.source_ip,
            source_port=inbound.source_port,
            user_agent=self._claims(inbound.headers.get("user-agent") or "", inbound),
            token_id=principal.token_id,
            session_digest=_digest(client.session.encode()) if client and client.session else "",
            client_info=self._claims(msgspec.json.encode(client.info).decode(), inbound)
            if client and client.info
            else "",
            arguments=arguments,
            arguments_digest=_digest(arguments) if arguments is not None else "",
            result=result,
            input_digest=_digest(asked) if asked is not None else "",
            inputs=self._sealer.seal("inputs", asked).encode() if asked and keep else None,
        )


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()
