"""The door of the management API, wired: who asks, and the rows of those whom it turns away."""

from __future__ import annotations

from typing import Protocol

from airlock.core import ids, metrics
from airlock.core.clock import SYSTEM
from airlock.core.errors import Refused, Unauthenticated
from airlock.gateway.strangers import Strangers
from airlock.mcp.headers import Headers
from airlock.model.call import Inbound
from airlock.model.entry import Event, Personal, Receipt
from airlock.model.http import HttpRequest
from airlock.model.principal import Principal


class Log(Protocol):
    """The writer of the audit log. Raises `AuditFault` where it cannot write."""

    async def seal(self, event: Event) -> Receipt: ...


class Logger(Protocol):
    def warning(self, event: str, **fields: object) -> object: ...


class Turned:
    """Whoever the door turned away is in the log: strangers counted by network, known callers one by one."""

    def __init__(self, *, strangers: Strangers, writer: Log, log: Logger) -> None:
        self._strangers = strangers
        self._writer = writer
        self._log = log

    async def __call__(self, request: HttpRequest, principal: Principal | None, why: Refused) -> None:
        """Record it. Raises `AuditFault`."""
        correlation = ids.uuid7()
        event = "auth_failure" if isinstance(why, Unauthenticated) else "security_violation"
        self._log.warning(
            event,
            correlation_id=correlation,
            stage=why.stage.value,
            reason=why.reason,
            code=why.code,
            source_ip=request.source_ip,
        )
        if principal is None:
            metrics.auth_failed(why.reason)
            await self._strangers.refused(inbound(request), why)
        else:
            await self._writer.seal(_event(request, principal, why, correlation))


def inbound(request: HttpRequest) -> Inbound:
    """A request of the management API as the stage that authenticates takes it: its token, and no body."""
    token = request.authorization
    return Inbound(
        request_id=ids.uuid7(),
        route=request.path,
        server="",
        headers=Headers(() if token is None else ((b"authorization", token.encode("latin-1")),)),
        body=b"",
        source_ip=request.source_ip,
        source_port=0,
        received=SYSTEM.monotonic(),
    )


def _event(request: HttpRequest, principal: Principal, why: Refused, correlation: str) -> Event:
    escalation = why.reason == "admin_role_required"
    return Event(
        event_type="admin",
        action="privilege_escalation_attempt" if escalation else "admin_call",
        request_id=correlation,
        correlation_id=correlation,
        tenant=principal.tenant,
        identity={"auth": principal.auth, "roles": list(principal.roles)},
        decision="deny",
        reason=why.reason,
        severity="HIGH" if escalation else "MEDIUM",
        metadata={"method": request.method},
        personal=Personal(
            issuer=principal.issuer,
            subject=principal.subject,
            actor=principal.actor,
            source_ip=request.source_ip,
            token_id=principal.token_id,
        ),
    )
