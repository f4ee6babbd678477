"""The audit envelope around a call: what becomes a row, and in which words.

Exactly one deciding row per call (`single` for a refusal, `outcome` once something was sent), at most one
`intent` before it. Refusals before authentication go to `Strangers`, which counts them instead of filling
the log. Nothing personal stands outside `Personal`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import AuditFault, Effect, Fault, Refused, Rejected
from airlock.gateway.redact import carries_credential
from airlock.gateway.strangers import Strangers
from airlock.mcp import strict
from airlock.mcp.methods import LEGACY_METHODS, MODERN_METHODS
from airlock.model.call import (
    Admitted,
    Allowed,
    Authenticated,
    Identified,
    Inbound,
    Reached,
    Redacted,
    Reply,
    Routed,
)
from airlock.model.entry import Event, Personal, Receipt, Severity
from airlock.model.snapshot import Snapshot

ACTIONS = {
    "tools/call": "tool_call",
    "tools/list": "tools_list",
    "server/discover": "discover",
    "initialize": "initialize",
    "ping": "ping",
}
"""MCP method -> word of the audit vocabulary. What has no word of its own is a `security_violation`."""

METHODS = MODERN_METHODS | LEGACY_METHODS
"""What a row names. Any other method is the caller's own text, which may hold anything."""

DIFFERENTIALS = frozenset({"duplicate_key", "case_collision", "case_variant_key", "case_variant_argument"})
"""What two parsers of one message would understand differently."""

_ACTION_OF_REASON = {
    **dict.fromkeys(DIFFERENTIALS, "security_violation"),
    "session_unknown": "session",
    "session_hijack_attempt": "session",
    "scope_missing": "token_validate",
}
"""Refusals that say more of what was tried than the method does."""

_SEVERITY: dict[str, Severity] = {
    "cross_tenant_attempt": "CRITICAL",
    "session_hijack_attempt": "CRITICAL",
    "definition_not_approved": "CRITICAL",
    "audit_unavailable": "CRITICAL",
    "internal_error": "HIGH",
    **dict.fromkeys(DIFFERENTIALS, "HIGH"),
    "policy_denied": "MEDIUM",
}


Governed = Authenticated | Identified | Routed | Admitted | Allowed | Redacted
"""Every stage at which the caller is known."""


class Log(Protocol):
    """The writer of the audit log. `seal` returns when the event is durable, or raises `AuditFault`."""

    def healthy(self) -> str:
        """Why new calls should not be taken now; empty when all is well."""
        ...

    async def seal(self, event: Event) -> Receipt: ...


class Seal(Protocol):
    """Encrypts what is kept for replay."""

    def seal(self, purpose: str, payload: bytes, context: bytes = b"") -> str: ...


class Record:
    """Turns what a call reached into events. `all_requests` follows the configuration; no other state."""

    def __init__(
        self,
        *,
        log: Log,
        strangers: Strangers,
        clock: Clock,
        sealer: Seal,
        intent: Literal["effects", "all"],
        inputs: Literal["full", "none"],
        all_requests: bool,
    ) -> None:
        self._log = log
        self._strangers = strangers
        self._clock = clock
        self._sealer = sealer
        self._every_intent = intent == "all"
        self._inputs = inputs == "full"
        self.all_requests = all_requests

    async def intend(self, call: Redacted) -> None:
        """Make the intent durable, unless the tool was approved as read-only and low.

        Raises `AuditFault` for every call while the log could not take its outcome.
        """
        trouble = self._log.healthy()
        if trouble:
            raise AuditFault(trouble)
        tool = call.allowed.admitted.routed.tool
        demanded = call.allowed.decision.obligations.audit == "intent"
        if self._every_intent or demanded or not (tool.read_only and tool.sensitivity == "low"):
            await self._log.seal(self._event(call, phase="intent"))

    async def seal(self, call: Redacted, reply: Reply) -> None:
        """Make the outcome durable: the call was answered."""
        metadata = {"result_bytes": len(reply.body), "upstream_bytes": reply.upstream_bytes}
        if reply.is_error:
            metadata["is_error"] = True
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
        decision = "deny" if isinstance(failure, Refused) else "error"
        await self._log.seal(
            self._event(
                reached,
                phase="outcome" if isinstance(reached, Redacted) else "single",
                action=_ACTION_OF_REASON.get(failure.reason),
                decision=decision,
                reason=reason_of(failure),
                severity=_SEVERITY.get(failure.reason, "MEDIUM" if decision == "error" else "LOW"),
                metadata={"code": failure.code, "stage": failure.stage.value, "effect": failure.effect.value},
            )
        )

    async def listed(self, caller: Identified, metadata: dict[str, Any]) -> None:
        """An allowed list, handshake or ping: a row only where the operator asked for all of them."""
        if self.all_requests:
            await self._log.seal(
                self._event(caller, phase="single", decision="allow", reason="ok", metadata=metadata)
            )

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
    ) -> Event:
        caller, identified, routed, allowed, _ = _unfold(reached)
        inbound, principal, snapshot = caller.inbound, caller.principal, caller.snapshot
        tool = routed.tool if routed else None
        method = identified.message.method if identified else ""
        client = identified.client if identified else None
        named = method if method in METHODS else "unknown" if method else ""
        server = tool.server if tool else _known(inbound.server, snapshot)
        route = inbound.route if server or not inbound.server else "/mcp/{server}"
        attributes: dict[str, Any] = {"method": named, "route": route, **(metadata or {})}
        if tool:
            attributes["sensitivity"] = tool.sensitivity
            attributes["read_only"] = tool.read_only
        return Event(
            event_type="call",
            phase=phase,
            action=action or ACTIONS.get(method, "security_violation"),
            resource=f"mcp://{tool.server}/{tool.name}" if tool else "",
            server_id=server,
            tool_name=tool.name if tool else "",
            definition_digest=tool.digest if tool else "",
            request_id=inbound.request_id,
            correlation_id=inbound.request_id,
            tenant=principal.tenant,
            identity={
                "audience": list(principal.audience),
                "auth": principal.auth,
                "era": client.version if client else "",
                "roles": list(principal.roles),
                "scopes": list(principal.scopes),
            },
            policy_revision=allowed.decision.revision if allowed else snapshot.policy_revision,
            lease_epoch=snapshot.leases.epoch,
            decision=decision,
            reason=reason,
            severity=severity or _risk(tool.sensitivity if tool else "low"),
            latency_ms=None
            if phase == "intent"
            else int((self._clock.monotonic() - inbound.received) * 1000),
            metadata=attributes,
            personal=self._personal(reached, result),
        )

    def _personal(self, reached: Governed, result: bytes | None) -> Personal:
        caller, identified, routed, allowed, redacted = _unfold(reached)
        inbound, principal = caller.inbound, caller.principal
        client = identified.client if identified else None
        arguments = redacted.arguments if redacted else _canonical(routed)
        question = allowed.question if allowed else None
        return Personal(
            issuer=principal.issuer,
            subject=principal.subject,
            actor=principal.actor,
            source_ip=inbound.source_ip,
            source_port=inbound.source_port,
            user_agent=_claim(inbound.headers.get("user-agent") or "", inbound),
            token_id=principal.token_id,
            session_digest=_digest(client.session.encode()) if client and client.session else "",
            client_info=_claim(msgspec.json.encode(client.info).decode(), inbound)
            if client and client.info
            else "",
            arguments=arguments,
            arguments_digest=_digest(arguments) if arguments is not None else "",
            result=result,
            input_digest=_digest(question) if question is not None else "",
            inputs=self._sealer.seal("inputs", question).encode() if question and self._inputs else None,
        )


def reason_of(failure: Refused | Fault) -> str:
    """The stable word of a failure, with the policy's own word behind it."""
    if isinstance(failure, Rejected) and failure.reason in DIFFERENTIALS:
        return f"parser_differential: {failure.reason}"
    policy = failure.policy_reason if isinstance(failure, Refused) else None
    return f"{failure.reason}: {policy}" if policy else failure.reason


def _unfold(
    reached: Governed,
) -> tuple[Authenticated, Identified | None, Routed | None, Allowed | None, Redacted | None]:
    redacted = reached if isinstance(reached, Redacted) else None
    allowed = redacted.allowed if redacted else reached if isinstance(reached, Allowed) else None
    admitted = allowed.admitted if allowed else reached if isinstance(reached, Admitted) else None
    routed = admitted.routed if admitted else reached if isinstance(reached, Routed) else None
    identified = routed.identified if routed else reached if isinstance(reached, Identified) else None
    if identified is not None:
        return identified.caller, identified, routed, allowed, redacted
    if isinstance(reached, Authenticated):
        return reached, None, None, None, None
    raise TypeError(f"not a stage of a call: {type(reached).__name__}")


def _claim(text: str, inbound: Inbound) -> str:
    """What a client says of itself, unless it says its own token."""
    return "[withheld]" if carries_credential(text.encode(), inbound) else text


def _known(server: str, snapshot: Snapshot) -> str:
    """The name if it is one of ours: a made-up one is the caller's own text, which no entry keeps."""
    return server if server in snapshot.registry.servers else ""


def _canonical(routed: Routed | None) -> bytes | None:
    return strict.canonical(routed.arguments) if routed else None


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _risk(sensitivity: str) -> Severity:
    return "MEDIUM" if sensitivity in {"high", "critical"} else "LOW"
